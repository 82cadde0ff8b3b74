"""deploy/monitoring: promtool accepts the files, each alert has tests that can fail, and metrics and labels exist."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.db import connection
from django.test import Client
from pymongo.database import Database

from sync.kafka.consumer import ConsumerHeartbeat
from sync.monitoring.metrics import OF_MODELS
from sync.outbox.models import Change
from sync.tests.support import follow
from sync.tests.support.factories import leave_pending
from sync.tests.support.metrics import labels_of
from sync.verification.models import Mismatch
from sync.workers.heartbeat import CONSUMER, RELAY, WorkerHeartbeat
from sync.workers.models import Checkpoint
from tests.promql import used
from tests.servers import ROOT, MariaDB

FOLDER = ROOT / "deploy" / "monitoring"
RULES = yaml.safe_load((FOLDER / "alerts.yml").read_text())
TESTS = yaml.safe_load((FOLDER / "alerts.test.yml").read_text())["tests"]
DASHBOARD = json.loads((FOLDER / "grafana.json").read_text())
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
OF_EXPORTERS = {rule["alert"] for group in RULES["groups"] if group["name"] == "optional" for rule in group["rules"]}
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
OF_PROMETHEUS = {"job", "instance"}  # labels that Prometheus adds at the scrape
NEVER, ALWAYS = "vector(0) > 1", "vector(1)"


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool") or shutil.which("promtool", path=Path(sys.executable).parent)
    assert program, "promtool is missing: script/bootstrap dev installs it"
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)


def test_promtool_accepts_the_rules() -> None:
    done = promtool("check", "rules", FOLDER / "alerts.yml")
    assert done.returncode == 0, done.stderr


def test_each_alert_fires_and_stays_silent_as_its_tests_say() -> None:
    done = promtool("test", "rules", FOLDER / "alerts.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("expression", [NEVER, ALWAYS])
@pytest.mark.parametrize("alert", ALERTS)
def test_the_tests_of_an_alert_notice_a_wrong_expression(alert: str, expression: str, tmp_path: Path) -> None:
    changed = copy.deepcopy(RULES)
    for rule in (rule for group in changed["groups"] for rule in group["rules"] if rule["alert"] == alert):
        rule["expr"] = expression
    about = [test for test in TESTS if f'alertname="{alert}"' in json.dumps(test).replace('\\"', '"')]
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(changed))
    whole = {"rule_files": ["alerts.yml"], "evaluation_interval": "1m", "tests": about}
    (tmp_path / "alerts.test.yml").write_text(yaml.safe_dump(whole))
    done = promtool("test", "rules", tmp_path / "alerts.test.yml")
    assert done.returncode == 1
    assert alert in done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_a_test_that_fires_and_one_in_which_it_never_does(alert: str) -> None:
    fired = []
    for test in TESTS:
        of_alert = [each for each in test.get("promql_expr_test", []) if f'alertname="{alert}"' in each["expr"]]
        if of_alert:
            fired.append(any(each["exp_samples"] for each in of_alert))
    assert set(fired) == {True, False}


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_says_how_bad_it_is_and_what_to_do_next(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    for command in re.findall(r"manage\.py sync ([\w-]+)", " ".join(rule["annotations"].values())):
        assert (ROOT / "sync" / "cli" / f"{command.replace('-', '_')}.py").exists()


@pytest.fixture
def exposed(mongo: Database, client: Client, settings: Any, mariadb: MariaDB) -> Iterator[str]:
    """An answer of /metrics, of a mirror in which something of every kind has happened."""
    follow.grant()
    mariadb.sql("SET GLOBAL binlog_expire_logs_seconds = 86400")
    try:
        connection.close()  # a new one has the privileges
        leave_pending(30)
        moment = Change.objects.first().due_at
        call_command("sync", "verify")
        account = {"model": "finance.account", "due_at": moment}
        Change.objects.create(**account, key="a", failed=True, error="MongoDB: no")
        Change.objects.create(**account, key="", until="f" * 24)
        Change.objects.create(**account, key="", until="f" * 24, via="finance.customer")
        Mismatch.objects.create(model="finance.account", key="a", kind="missing", last_seen=moment)
        relay, consumer = WorkerHeartbeat("default", kind=RELAY), ConsumerHeartbeat("default", "kafka:a", CONSUMER)
        relay.count(1, [0.5])
        consumer.routes = lambda: {"consume:a": 3.0}
        for heartbeat in (relay, consumer):
            heartbeat.write()
        [file] = {row[0] for row in follow.sql("SHOW BINARY LOGS")[:1]}
        Checkpoint.objects.create(name="follow-binlog", state={"file": file, "offset": 4})
        settings.SYNC_METRICS_TOKEN = "a-token"
        yield client.get("/metrics", headers={"authorization": "Bearer a-token"}).content.decode()
    finally:
        mariadb.sql("SET GLOBAL binlog_expire_logs_seconds = 0")
        follow.revoke()
        connection.close()


@pytest.mark.django_db(transaction=True)
def test_every_metric_and_label_exists_in_an_answer_of_metrics(exposed: str) -> None:
    there = labels_of(exposed)
    expressions = [(name, rule["expr"]) for name, rule in ALERTS.items() if name not in OF_EXPORTERS] + EXPRESSIONS
    for what, expression in expressions:
        metrics, groups = used(expression)
        assert metrics, f"{what} uses no metric"
        for metric, labels in metrics.items():
            assert metric in there, f"{what}: there is no metric {metric}"
            assert labels - OF_PROMETHEUS <= there[metric], f"{what}: {metric} lacks one of these labels: {labels}"
        known = set().union(*(there[metric] for metric in metrics))
        assert groups - OF_PROMETHEUS <= known, f"{what}: no metric has all of the labels {groups}"


def test_every_metric_of_a_model_is_on_the_dashboard_and_its_labels_are_in_the_legend() -> None:
    shown = {metric for _, expression in EXPRESSIONS for metric in used(expression).metrics}
    assert {name for name, *_ in OF_MODELS} <= shown
    for panel in PANELS:
        for target in panel["targets"]:
            in_legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert in_legend <= used(target["expr"]).groups, panel["title"]


def test_promtool_accepts_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    def plain(expression: str) -> str:
        return expression.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$model", ".*")

    rules = [{"record": f"panel:{number}", "expr": plain(each)} for number, (_, each) in enumerate(EXPRESSIONS)]
    assert not [rule for rule in rules if "$" in rule["expr"]]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = promtool("check", "rules", tmp_path / "panels.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(EXPRESSIONS)} rules found" in done.stdout


def test_the_dashboard_has_no_overlapping_panels_and_one_source_of_data() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for place in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            assert place not in taken, f"{panel['title']} covers {taken[place]}"
            taken[place] = panel["title"]
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.parametrize(
    ("expression", "metrics", "groups"),
    [('sum by (a, b) (rate(m{x="y{z}", w=~"v"}[5m])) > 1', {"m": {"x", "w"}}, {"a", "b"}),
     ("time() - max without (instance) (m_1) > 8 * 86400 and on (c) n", {"m_1": set(), "n": set()}, {"instance", "c"})],
)  # fmt: skip
def test_the_reader_of_expressions_finds_metrics_and_labels(
    expression: str, metrics: dict[str, set[str]], groups: set[str]
) -> None:
    assert used(expression) == (metrics, groups)
