"""`LOG_FORMAT=json` holds for every line: ours, libraries', warnings, and uncaught exceptions."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from typing import Any

import psycopg
import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from structlog.testing import capture_logs

from jobs.running.scheduler_log import log_still_running_at_debug
from tests.conftest import REPOSITORY
from tests.integration.published import until, value

EVERY_SOURCE = """
import logging, sys, threading, warnings
import structlog
from granian.log import LogLevels, configure_logging
from schemas.programs.logs import configure_logs, library_logging

level, log_format = sys.argv[1:]
configure_logs(level, log_format)
configure_logging(LogLevels(level), library_logging(level, log_format))  # as granian's processes do
structlog.get_logger().info("ours", ven_id="ven-1")
logging.getLogger("_granian.workers").info("Started worker-%d", 1)
logging.getLogger("apscheduler.scheduler").warning("Run time of job %s was missed", "x", extra={"a": 1})
logging.getLogger("apscheduler.scheduler").info("Running job %s", "x")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("other").exception("It failed")
warnings.warn("deprecated", DeprecationWarning)
thread = threading.Thread(target=lambda: {}["key"], name="listener")
thread.start()
thread.join()
raise ValueError("not caught, secret=hunter2")
"""


def logged(level: str, log_format: str) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-W", "always", "-c", EVERY_SOURCE, level, log_format],
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 1
    assert ran.stderr == ""
    return ran.stdout.splitlines()


@pytest.mark.parametrize("level", ["info", "debug"])
def test_every_source_logs_json(level: str) -> None:
    events: list[dict[str, Any]] = [json.loads(line) for line in logged(level, "json")]
    assert all(event.keys() >= {"event", "level", "timestamp"} for event in events)
    told = [(event["level"], event["event"].split("\n")[0]) for event in events]
    running = [("info", "Running job x")] if level == "debug" else []
    assert told[: 3 + len(running)] == [
        ("info", "ours"),
        ("info", "Started worker-1"),
        ("warning", "Run time of job x was missed"),
        *running,
    ]
    assert told[3 + len(running)] == ("error", "It failed")
    assert "DeprecationWarning: deprecated" in told[4 + len(running)][1]
    assert told[5 + len(running) :] == [("error", "uncaught_exception")] * 2
    failed, _, in_thread, at_end = events[3 + len(running) :]
    assert failed["exception"][0]["exc_type"] == "ZeroDivisionError"
    assert (in_thread["thread"], in_thread["exception"][0]["exc_type"]) == ("listener", "KeyError")
    assert at_end["exception"][0]["exc_type"] == "ValueError"
    assert "locals" not in at_end["exception"][0]["frames"][0]


def test_text_is_for_people() -> None:
    lines = logged("warning", "text")
    assert "missed" in lines[0]
    assert not any("Started worker" in line or "Running job" in line for line in lines)
    with pytest.raises(json.JSONDecodeError):
        json.loads(lines[0])


def test_a_job_that_still_runs_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    """APScheduler warned of it each two seconds while a lane was behind."""
    scheduler, is_over = BackgroundScheduler(), threading.Event()
    scheduler.add_job(is_over.wait, "interval", seconds=0.01, id="history", args=[30], max_instances=1)
    with capture_logs() as events, caplog.at_level(logging.DEBUG, "apscheduler"):
        log_still_running_at_debug(scheduler)
        scheduler.start()
        try:
            until(lambda: bool(events))
        finally:
            is_over.set()
            scheduler.shutdown()
    assert events[0] == {"event": "job_still_running", "job": "history", "log_level": "debug"}
    assert "maximum number of running instances" not in caplog.text
    assert "Scheduler started" in caplog.text


@pytest.mark.thorough
def test_each_line_of_the_jobs_is_json(database_url: str, connection: psycopg.Connection) -> None:
    environment = {"DATABASE_URL": database_url, "LOG_FORMAT": "json", "LOG_LEVEL": "debug"}
    jobs = subprocess.Popen(
        [sys.executable, "-m", "jobs"],
        cwd=REPOSITORY,
        env={**os.environ, **environment, "JOBS_SNAPSHOT_EVERY_S": "0.05", "JOBS_EVENTS_EVERY_S": "0.05"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        until(lambda: value(connection, "SELECT count(*) FROM network_snapshot") == 1, 60)
    finally:
        jobs.send_signal(signal.SIGTERM)
        told, _ = jobs.communicate(timeout=60)
    events = {json.loads(line)["event"] for line in told.splitlines()}
    assert {"scheduler_started", "Scheduler started"} <= events
