"""Each email has a text and an HTML part with the same words and links, and its subject names the portal."""

from __future__ import annotations

import re
from email.message import Message
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import allauth
import pytest
from django.core import mail
from django.core.mail import EmailMultiAlternatives
from django.test import Client
from django.utils import timezone, translation

from accounts import mails
from accounts.models import User
from accounts.tests.conftest import PASSWORD
from accounts.tests.support import register
from tests.servers import ROOT

pytestmark = [pytest.mark.quick, pytest.mark.django_db]

NAME = "Analytics Portal"
OFF = {"login_code", "password_reset_code"}  # the portal sends links, not codes
LAYOUT = {"base"}
PLACES = (ROOT / "templates", Path(allauth.__file__).parent / "templates")
MAILS = sorted(
    {
        f"{app}/email/{path.name.removesuffix('_message.txt')}"
        for place in PLACES
        for app in ("account", "accounts", "mfa")
        for path in (place / app / "email").glob("*_message.txt")
        if path.name.removesuffix("_message.txt") not in OFF | LAYOUT
    }
)
URLS = {
    name: f"https://portal.example.com/{name}/?a=1&b=2"
    for name in ("activate_url", "password_reset_url", "signup_url", "undo_url")
}


class Words(HTMLParser):
    """What an HTML part shows: its lines, and where its links lead."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.links, self.is_in_body, self.tags = "", {}, False, set[str]()
        self.target = ""
        self.feed(html)
        self.lines = [line for line in (" ".join(line.split()) for line in self.text.split("\n")) if line]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.is_in_body |= tag == "body"
        self.tags.add(tag)
        if tag in {"p", "br", "h1"}:
            self.text += "\n"
        if tag == "a":
            self.target = str(dict(attrs)["href"])
            self.links[self.target] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self.target = ""

    def handle_data(self, data: str) -> None:
        if self.is_in_body:
            self.text += data.replace("\n", " ")
        if self.target:
            self.links[self.target] += data


def composed(template: str, **more: Any) -> EmailMultiAlternatives:
    context = {
        **URLS, "email": "ada@example.com", "added": "new@example.com", "deleted_email": "old@example.com", "days": 7,
        "from_email": "old@example.com", "to_email": "new@example.com", "timestamp": timezone.now(), "ip": "192.0.2.7",
        "until": timezone.now(), "person": User(requested_role="technical_worker"),
    }  # fmt: skip
    return mails.compose(template, "ada@example.com", context | more)


def html_of(message: Any) -> str:
    [(html, kind)] = message.alternatives
    assert kind == "text/html"
    return str(html)


def text_lines(message: Any) -> list[str]:
    """The lines of the text part, without the mark that begins the footer."""
    return [line for line in message.body.splitlines() if line.strip("- ")]


@pytest.mark.parametrize("template", MAILS)
def test_both_parts_have_the_same_words_and_links(template: str) -> None:
    message = composed(template)
    heading, *lines = Words(html_of(message)).lines
    assert message.subject == f"[{NAME}] {heading}"
    assert lines == text_lines(message)
    assert lines[-1] == NAME
    links = {line: line for line in lines if line.startswith("https://")}
    assert Words(html_of(message)).links == links
    assert "https://" not in message.body.replace("\nhttps://", ""), "a link has a line of its own"


@pytest.mark.parametrize("template", MAILS)
def test_every_sentence_is_malay_if_the_reader_chose_malay(ada: User, template: str) -> None:
    english = composed(template)
    User.objects.update(language="ms")
    malay = composed(template)
    assert 'lang="ms"' in html_of(malay)
    same = {english.subject, *text_lines(english)} & {malay.subject, *text_lines(malay)}
    assert {line for line in same if not line.startswith("https://")} == {NAME}


def test_the_language_of_the_one_who_causes_an_email_does_not_count(ada: User) -> None:
    User.objects.update(language="en")
    with translation.override("ms"):
        assert composed("account/email/password_changed").subject == f"[{NAME}] Your password was changed"


def test_an_email_loads_nothing_and_has_no_colours_of_its_own() -> None:
    html = html_of(composed("account/email/email_added"))
    assert not Words(html).tags & {"img", "link", "script", "style", "iframe", "object", "svg"}
    for declaration in ("color:", "background", "url("):
        assert declaration not in html


def test_the_portals_own_forms_send_both_parts(ada: User) -> None:
    register("victim@example.com")
    browser = Client()
    browser.post("/login/", {"login": "ada", "password": PASSWORD})
    browser.post("/reauthenticate/", {"password": PASSWORD})
    browser.post("/email/", {"action_add": "", "email": "second@example.com"})
    assert len(mail.outbox) == 3
    for message in mail.outbox:
        sent: Message[str, str] = message.message()
        assert sent.get_content_type() == "multipart/alternative"
        assert [part.get_content_type() for part in sent.get_payload()] == ["text/plain", "text/html"]  # type: ignore[union-attr]
        assert sent["Auto-Submitted"] == "auto-generated"
        assert message.body.endswith(f"-- \n{NAME}\nhttp://testserver\n")


def test_no_other_code_sends_emails() -> None:
    """The mirror's alerts are apart, because sync imports no other app."""
    senders = {
        str(path.relative_to(ROOT))
        for app in ("accounts", "analytics_site", "audit", "exports", "finance", "sync")
        for path in (ROOT / app).rglob("*.py")
        if "tests" not in path.parts and re.search(r"django\.core\.mail|import mail\b|email_user", path.read_text())
    }
    assert senders == {"accounts/mails.py", "sync/monitoring/channels.py"}


def test_the_name_is_a_setting(settings: Any) -> None:
    settings.PORTAL_NAME = "Ledger & Co"
    message = composed("account/email/email_confirmation")
    assert message.subject.startswith("[Ledger & Co] ")
    assert message.body.count("Ledger & Co") == 2
    assert settings.PORTAL_NAME in html_of(message).replace("&amp;", "&")
    page = Client().get("/login/").content.decode()
    assert "Ledger &amp; Co" in page
    assert NAME not in page


def test_a_typed_address_is_no_markup(ada: User) -> None:
    """Such an address is valid: its first part is quoted."""
    hostile = '"<img/src=x>"@example.com'
    browser = Client()
    browser.post("/login/", {"login": "ada", "password": PASSWORD})
    browser.post("/reauthenticate/", {"password": PASSWORD})
    browser.post("/email/", {"action_add": "", "email": hostile})
    [message] = [message for message in mail.outbox if message.to == ["ada@example.com"]]
    assert hostile in message.body
    assert hostile in " ".join(Words(html_of(message)).lines)
    assert "img" not in Words(html_of(message)).tags


@pytest.fixture
def typed(settings: Any, tmp_path: Path) -> str:
    """An email that consists of what somebody typed."""
    for part in ("subject", "message"):
        (tmp_path / f"typed_{part}.txt").write_text("{% autoescape off %}{{ typed }}{% endautoescape %}")
    [engine] = settings.TEMPLATES
    settings.TEMPLATES = [engine | {"DIRS": [tmp_path, *engine["DIRS"]]}]
    return "typed"


def test_a_line_break_in_a_subject_begins_no_header(typed: str) -> None:
    message = composed(typed, typed="Hello\r\nBcc: victim@example.com\r\n\r\nBody")
    assert message.message()["Subject"] == f"[{NAME}] Hello Bcc: victim@example.com Body"
    assert message.message()["Bcc"] is None
    assert message.recipients() == ["ada@example.com"]


def test_what_somebody_typed_becomes_no_link_or_markup(typed: str) -> None:
    message = composed(typed, typed='https://evil.example/\n<a href="https://evil.example">prize</a>\n"><script>')
    shown = Words(html_of(message))
    assert shown.links == {}
    assert "script" not in shown.tags
    assert '<a href="https://evil.example">prize</a>' in shown.lines
