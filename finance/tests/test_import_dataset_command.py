"""The command line of `import_dataset`: paths, file names, reports and exit status."""

import json
import subprocess
import sys

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from finance.models import Account, Customer
from finance.tests.files import account, to_line, write


def run(*arguments):
    """The exit status and error message of the command; 0 and no message if it succeeds."""
    try:
        call_command("import_dataset", *map(str, arguments))
    except CommandError as error:
        return error.returncode, str(error)
    return 0, ""


@pytest.mark.django_db
def test_it_loads_a_folder_and_lists_skipped_files(tmp_path, capsys):
    write(tmp_path / "accounts.json.gz", to_line(account()))
    write(tmp_path / "sales.json", "{}")
    write(tmp_path / "README.md", "hello")
    assert run(tmp_path) == (0, "")
    out = capsys.readouterr().out
    assert "accounts.json.gz           1         0         0         0" in out
    assert "sales.json: skipped, its name matches no model" in out
    assert "README" not in out


@pytest.mark.django_db
def test_it_exits_with_1_and_names_the_rejects_file(tmp_path, capsys):
    write(tmp_path / "accounts.json", f"oops\n{to_line(account())}\n")
    status, message = run(tmp_path / "accounts.json", "--rejects", tmp_path / "bad.jsonl")
    assert (status, message) == (1, f"1 record was rejected: see {tmp_path}/bad.jsonl")
    (line,) = (tmp_path / "bad.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "file": str(tmp_path / "accounts.json"),
        "line": 1,
        "reason": "broken JSON: Expecting value, at character 1",
        "text": "oops",
    }
    assert (tmp_path / "bad.jsonl").stat().st_mode & 0o077 == 0
    assert "accounts.json:1: broken JSON" in capsys.readouterr().err
    assert Account.objects.count() == 1


@pytest.mark.django_db
def test_it_creates_no_rejects_file_without_rejects(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "accounts.json", to_line(account()))
    assert run("accounts.json") == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["accounts.json"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("customers-100.json", Customer),
        ("Account.jsonl", Account),
        ("sample_analytics.accounts.json", Account),
        ("accountsnapshot.json", None),
        ("accounts-of-customers.json", None),
        ("sales.json", None),
    ],
)
def test_it_infers_the_model_from_the_file_name(tmp_path, name, model):
    write(tmp_path / name, "")
    status, message = run(tmp_path / name)
    assert status == (0 if model else 2)
    assert model or "Choose the model with --model" in message


@pytest.mark.django_db
def test_it_takes_the_model_from_the_option(tmp_path):
    write(tmp_path / "dump.txt", to_line(account()))
    assert run(tmp_path / "dump.txt", "--model", "account") == (0, "")
    assert Account.objects.count() == 1


@pytest.mark.django_db
def test_it_reports_wrong_use_in_one_line(tmp_path):
    write(tmp_path / "accounts.json", to_line(account()))
    (tmp_path / "empty").mkdir()
    for arguments, words in [
        ((tmp_path / "nothing.json",), "does not exist"),
        ((tmp_path / "empty",), "has no file for"),
        ((tmp_path, "--model", "account"), "is a folder"),
        ((tmp_path / "accounts.json", "--rejects", tmp_path / "no" / "x"), "cannot be written"),
        ((tmp_path / "accounts.json", "--rejects", tmp_path), "cannot be written"),
    ]:
        status, message = run(*arguments)
        assert (status, "\n" in message) == (2, False)
        assert words in message
    assert not Account.objects.exists()


def manage(*arguments, **environment):
    command = [sys.executable, "manage.py", "import_dataset", *map(str, arguments)]
    return subprocess.run(
        command, cwd=settings.BASE_DIR, capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "SECRET_KEY": "x", "DATABASE_URL": "mysql://a:b@127.0.0.1:1/x"} | environment,
    )  # fmt: skip


def test_it_reports_an_unreachable_database_in_one_line(tmp_path):
    write(tmp_path / "accounts.json", to_line(account()))
    done = manage(tmp_path / "accounts.json")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "MySQL does not respond" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["x.json", "--model", "sale"], ["x.json", "--batch", "0"]])
def test_it_exits_with_2_for_invalid_options(arguments):
    assert manage(*arguments).returncode == 2


def test_its_help_has_examples_and_exit_statuses():
    text = manage("--help").stdout
    for words in (
        "Extended JSON",
        "examples:",
        "--rejects bad.jsonl",
        "a second run changes nothing",
        "exit status",
    ):
        assert words in text


@pytest.mark.django_db(transaction=True)
def test_it_loads_all_rows_while_mongodb_is_down_and_reports_pending_changes(tmp_path, mongod, capsys):
    write(tmp_path / "accounts.json", to_line(account()))
    mongod.kill()
    assert run(tmp_path) == (0, "")
    assert "1 change waits for the relay" in capsys.readouterr().out
    assert Account.objects.count() == 1
