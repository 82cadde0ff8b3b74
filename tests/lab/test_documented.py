"""The documentation of the lab is true: the README's picture of the topology, and the commands of its page."""

import re

import pytest

from tests.lab.__main__ import parser
from tests.lab.portal import FRONT, HOSTS, LINKS, picture
from tests.servers import ROOT

PAGE = (ROOT / "docs" / "how-to" / "lab.md").read_text()


def test_the_readme_has_the_picture_of_the_lab() -> None:
    assert f"```mermaid\n{picture()}\n```" in (ROOT / "README.md").read_text()


def test_every_host_is_in_the_picture() -> None:
    linked = {host for some, others, _ in LINKS for host in (*some, *others)}
    assert linked == set(HOSTS)


@pytest.mark.parametrize("command", re.findall(r"script/lab ([a-z].*?)(?:`|$)", PAGE, re.MULTILINE))
def test_its_page_has_only_commands_and_hosts_that_exist(command: str) -> None:
    options = vars(parser().parse_args(command.split()))
    assert {options[key] for key in ("host", "sender", "receiver") if key in options} <= set(HOSTS)


def test_its_page_has_the_address_of_nginx() -> None:
    assert set(re.findall(r"10\.77\.0\.\d+", PAGE)) == {f"10.77.0.{HOSTS.index(FRONT) + 1}"}
