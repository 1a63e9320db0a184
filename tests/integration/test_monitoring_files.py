"""Alert rules, dashboard and scrape configuration in `deploy/` agree with the metrics of running programs."""

import json
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from deploy.dashboards import DASHBOARD, as_json, families
from local.environment import inherited_environment
from local.ports import free_ports
from schemas.alarms import ALARM_KINDS, KINDS
from tests.conftest import REPOSITORY
from tests.faults.requirement import required_program

pytestmark = pytest.mark.thorough  # programs are started, and ended

FILES = REPOSITORY / "deploy" / "prometheus"
RULES = FILES / "gridgate.rules.yml"
NAME = re.compile(r"\bgridgate_\w+")
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
NOWHERE = "mqtt://127.0.0.1:1"
READY_WITHIN_S = 120.0


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    return list(group["rules"])


@contextmanager
def program(name: str, **settings: str) -> Iterator[None]:
    running = subprocess.Popen(
        [sys.executable, "-m", name],
        cwd=REPOSITORY,
        env=inherited_environment(LOG_LEVEL="error", **settings),
    )
    try:
        yield
    finally:
        running.terminate()
        running.wait(60)


def metrics_at(url: str) -> str:
    """The answer, as soon as there is one."""
    deadline, pause = time.monotonic() + READY_WITHIN_S, threading.Event()
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - ours
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < deadline, url
            pause.wait(0.1)


@pytest.fixture(scope="module")
def scraped(module_database_url: str) -> str:
    """What the three programs answer at `/metrics`; ingest and jobs at other addresses than 127.0.0.1."""
    ports = [str(port) for port in free_ports(3)]
    with ExitStack() as stack:
        url = {"DATABASE_URL": module_database_url}
        ingest = {"MQTT_URL": NOWHERE, "INGEST_HTTP_HOST": "127.0.0.2", "INGEST_HTTP_PORT": ports[0]}
        stack.enter_context(program("ingest", **url, **ingest))
        jobs = {"JOBS_HTTP_HOST": "::1", "JOBS_HTTP_PORT": ports[1], "JOBS_ALARMS_EVERY_S": "0.2"}
        stack.enter_context(program("jobs", **url, **jobs))
        stack.enter_context(program("serving", **url, HTTP_PORT=ports[2], HTTP_AUTH="off"))
        metrics_at(f"http://127.0.0.1:{ports[2]}/api/stats/network")
        answers = [metrics_at(f"http://127.0.0.2:{ports[0]}/metrics")]
        while "gridgate_jobs_alarm_evaluated_timestamp_seconds{" not in answers[-1]:
            answers.append(metrics_at(f"http://[::1]:{ports[1]}/metrics"))
        answers.append(metrics_at(f"http://127.0.0.1:{ports[2]}/metrics"))
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/metrics", timeout=5)
    return "\n".join([answers[0], *answers[-2:]])


def series(scraped: str) -> set[str]:
    """The names of all series that these metrics have, or will have."""
    return {
        f"{family.name}{suffix}"
        for family in text_string_to_metric_families(scraped)
        for suffix in SUFFIXES.get(family.type, ("",))
    }


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def test_rules_and_dashboard_ask_for_metrics_that_exist(scraped: str) -> None:
    asked = {name for rule in rules() for name in NAME.findall(rule["expr"])}
    asked |= {
        name for panel in panels() for target in panel["targets"] for name in NAME.findall(target["expr"])
    }
    assert len(asked) > 30
    assert asked - series(scraped) == set()


def test_the_dashboard_has_a_panel_for_each_metric(scraped: str) -> None:
    shown = {panel["description"] for panel in panels()}
    found = {
        family.name
        for family in text_string_to_metric_families(scraped)
        if family.name.startswith("gridgate_") and not family.name.endswith("_created")
    }
    assert found - shown == {"gridgate_build_info"}
    assert shown == {family.name for family in families()}


def test_the_dashboard_is_what_the_code_says() -> None:
    assert DASHBOARD.read_text() == as_json(), "run .venv/bin/python -m deploy.dashboards"
    ids = [panel["id"] for panel in json.loads(DASHBOARD.read_text())["panels"]]
    assert len(set(ids)) == len(ids)


def test_labels_of_the_rules_exist(scraped: str) -> None:
    """`exported_job` is what Prometheus makes of our label `job`."""
    known = {label for family in families() for label in family.labels} | {"instance", "job", "exported_job"}
    for rule in rules():
        by = {label for labels in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in labels.split(", ")}
        matched = set(re.findall(r"(\w+)=~?\"", rule["expr"]))
        assert (by | matched) - known == set(), rule["alert"]
    assert set(re.findall(r'gridgate_jobs_alarm_threshold\{kind="(\w+)"\}', scraped)) == set(ALARM_KINDS)


def test_each_kind_of_alarm_is_an_alert() -> None:
    severities = {rule["alert"]: rule["labels"]["severity"] for rule in rules()}
    for kind in ALARM_KINDS:
        name = "Gridgate" + "".join(word.capitalize() for word in kind.split("_"))
        assert severities[name] == KINDS[kind].severity


def promtool(*arguments: str | Path, within: Path = FILES) -> subprocess.CompletedProcess[str]:
    tool = required_program("promtool", "prometheus")
    return subprocess.run([tool, *arguments], cwd=within, capture_output=True, text=True, check=False)


def test_promtool_accepts_rules_and_configuration() -> None:
    for arguments in (
        ("check", "rules", RULES.name),
        ("check", "config", "--syntax-only", "prometheus.yml"),
        ("test", "rules", "gridgate.rules.test.yml"),
    ):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_metrics(scraped: str) -> None:
    tool = required_program("promtool", "prometheus")
    for each in re.split(r"(?=# HELP gridgate_build_info )", scraped):
        done = subprocess.run(
            [tool, "check", "metrics"], input=each, capture_output=True, text=True, check=False
        )
        wrong = [line for line in (done.stdout + done.stderr).splitlines() if "error while linting" in line]
        assert wrong == []


def test_each_alert_is_tested_to_fire_and_to_be_quiet() -> None:
    tests = yaml.safe_load((FILES / "gridgate.rules.test.yml").read_text())["tests"]
    tried = [
        (each["alertname"], bool(each["exp_alerts"])) for one in tests for each in one["alert_rule_test"]
    ]
    assert sorted(tried) == sorted((rule["alert"], fires) for rule in rules() for fires in (True, False))


@pytest.mark.parametrize("number", range(len(rules())))
def test_the_tests_of_alerts_notice_what_is_wrong(number: int, tmp_path: Path) -> None:
    """An alert that never fires, and one that always does, fail their tests."""
    name = rules()[number]["alert"]
    text = RULES.read_text()
    (tmp_path / "gridgate.rules.test.yml").write_text((FILES / "gridgate.rules.test.yml").read_text())
    for expression in ("vector(1) > 1", "vector(1)"):
        start = text.index(f"- alert: {name}\n")
        changed = re.sub(r"expr: .*", f"expr: {expression}", text[start:], count=1)
        (tmp_path / RULES.name).write_text(text[:start] + changed)
        done = promtool("test", "rules", "gridgate.rules.test.yml", within=tmp_path)
        assert done.returncode != 0
        assert name in done.stdout + done.stderr


def test_compose_and_the_scrape_configuration_agree() -> None:
    services = yaml.safe_load((REPOSITORY / "deploy" / "compose.yaml").read_text())["services"]
    jobs = yaml.safe_load((FILES / "prometheus.yml").read_text())["scrape_configs"]
    targets = {job["job_name"].removeprefix("gridgate-"): job["static_configs"][0]["targets"] for job in jobs}
    assert targets["serving"] == ["serving:8000"]
    for name in ("ingest", "jobs"):
        settings = services[name]["environment"]
        assert targets[name] == [f"{name}:{settings[f'{name.upper()}_HTTP_PORT']}"]
        assert settings[f"{name.upper()}_HTTP_HOST"] == "0.0.0.0"  # noqa: S104 - within the container
        assert "ports" not in services[name]
