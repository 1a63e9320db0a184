"""The dashboard while 10,000 VENs report and an event runs: memory, processor and frames of the page.

`BENCH_PAGE_VENS`: how many (10,000). `BENCH_PAGE_S`: how long (240; 3,600 by `make page`).
Needs chromium and mosquitto.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from playwright.sync_api import Browser

from local.environment import REPOSITORY
from tests.bench.chromium_tab import Tab
from tests.e2e.stack import running_stack, until
from tests.e2e.test_dashboard import DESK, ask, browser

__all__ = ["browser"]
pytestmark = pytest.mark.bench

VENS = int(os.environ.get("BENCH_PAGE_VENS", "10000"))
LASTS_S = float(os.environ.get("BENCH_PAGE_S", "240"))
ROUNDS = 6
REPORT_EVERY_S = 60
ONLINE_WITHIN_S = 600
LONGEST_FRAME_MS = 100
"""Of CPU time, as by the clock a busy machine makes any frame long."""

MOST_GROWTH = 1.25
"""Of what is flat: the last round against the second; the first one fills caches."""

MOST_NEW_NODES = 500
FRAMES = """
window.longFrames = [];
new PerformanceObserver((list) => {
  for (const { startTime, duration, scripts } of list.getEntries()) {
    const longest = scripts.toSorted((one, other) => other.duration - one.duration)[0];
    const where = longest ? `${longest.invoker} ${Math.round(longest.duration)} ms` : "";
    window.longFrames.push({ startTime, duration, where });
  }
}).observe({ type: "long-animation-frame", buffered: true });
"""


class Measured(NamedTuple):
    """What a round has cost; frames longer than 50 ms, each with its longest script."""

    heap_mib: float
    memory_mib: float
    nodes: int
    cpu_percent: float
    longest_task_ms: float
    long_frames: Sequence[tuple[float, str]]

    def __str__(self) -> str:
        longest_ms, where = max(self.long_frames, default=(0, ""))
        return (
            f"heap {self.heap_mib:.1f} MiB, memory {self.memory_mib:.0f} MiB, {self.nodes} nodes,"
            f" {self.cpu_percent:.1f} % of a core; longest task {self.longest_task_ms:.0f} ms of CPU time,"
            f" longest frame {longest_ms:.0f} ms by the clock ({where})"
        )


class Renderer:
    """The process of a tab."""

    def __init__(self, tab: Tab) -> None:
        self._tab = tab
        self._main_threads = set[tuple[int, int]]()
        tab.send("Performance.enable")
        tab.on("Tracing.dataCollected", self._note_tasks)
        tab.on("Tracing.tracingComplete", lambda _: setattr(self, "_is_tracing", False))
        self._begin()

    def measure(self) -> Measured:
        """Since the last call."""
        now_s = (time.monotonic(), self._cpu_s())
        wall_s, cpu_s = (now - before for now, before in zip(now_s, self._before_s, strict=True))
        self._end_tracing()
        self._tab.send("HeapProfiler.collectGarbage")
        self._tab.send("Memory.simulatePressureNotification", level="critical")
        metrics = {
            each["name"]: each["value"] for each in self._tab.send("Performance.getMetrics")["metrics"]
        }
        frames = self._tab.evaluate("window.longFrames.splice(0)")
        measured = Measured(
            metrics["JSHeapUsedSize"] / 2**20,
            self._memory_bytes() / 2**20,
            int(metrics["Nodes"]),
            100 * cpu_s / wall_s,
            self._longest_task_us / 1000,
            [(each["duration"], each["where"]) for each in frames],
        )
        self._begin()
        return measured

    def _begin(self) -> None:
        self._longest_task_us, self._is_tracing = 0, True
        self._tab.send("Tracing.start", categories="toplevel", transferMode="ReportEvents")
        self._before_s = (time.monotonic(), self._cpu_s())

    def _end_tracing(self) -> None:
        self._tab.send("Tracing.end")
        self._tab.until(lambda: not self._is_tracing)

    def _note_tasks(self, data: dict[str, Any]) -> None:
        """Tasks of the main thread of any renderer, by the CPU time that they took."""
        for each in data["value"]:
            if each["name"] == "thread_name" and each["args"]["name"] == "CrRendererMain":
                self._main_threads.add((each["pid"], each["tid"]))
        tasks = [
            each
            for each in data["value"]
            if "tdur" in each and (each["pid"], each["tid"]) in self._main_threads
        ]
        self._longest_task_us = max([self._longest_task_us, *(each["tdur"] for each in tasks)])

    def _process(self) -> dict[str, Any]:
        """The renderer that has worked most: others are spare, or have an empty page."""
        renderers = [each for each in self._tab.processes() if each["type"] == "renderer"]
        return max(renderers, key=lambda each: float(each["cpuTime"]))

    def _cpu_s(self) -> float:
        return float(self._process()["cpuTime"])

    def _memory_bytes(self) -> int:
        pages = Path(f"/proc/{self._process()['id']}/statm").read_text().split()
        return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with running_stack(tmp_path_factory.mktemp("page"), "--broker", "mosquitto") as ready:
        yield ready


@contextmanager
def fleet(stack: dict[str, Any]) -> Iterator[None]:
    command = [sys.executable, "-m", "local.fleet", "--mqtt-url", stack["mqtt_url"], "--vens", str(VENS)]
    process = subprocess.Popen([*command, "--interval", str(REPORT_EVERY_S)], cwd=REPOSITORY)
    try:
        until(lambda: ask(stack, "/api/stats/network")["onlineVens"] == VENS, ONLINE_WITHIN_S)
        yield
    finally:
        process.terminate()
        process.wait(60)


def start_event(url: str) -> str:
    """An event of all VENs, longer than the test."""
    now = datetime.now(UTC)
    body = {
        "startTime": now.isoformat(),
        "endTime": (now + timedelta(seconds=LASTS_S + 1_200)).isoformat(),
        "requestedReductionKw": VENS / 10,
    }
    made = httpx.post(f"{url}/api/events", json=body, timeout=120)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def most_respond(stack: dict[str, Any], event_id: str) -> bool:
    return bool(ask(stack, f"/api/events/{event_id}")["vensResponding"] > VENS / 2)


def look_at(tab: Tab, view: str, ready: str, lasts_s: float) -> None:
    tab.evaluate(f"location.hash = {view!r}")
    tab.until(lambda: bool(tab.evaluate(f"document.querySelector({ready!r})?.checkVisibility() ?? false")))
    tab.wait(lasts_s * 1000)


def open_page(browser: Browser, url: str) -> Tab:
    tab = Tab(browser, **DESK)
    tab.send("Page.enable")
    tab.send("Page.addScriptToEvaluateOnNewDocument", source=FRAMES)
    tab.send("Page.navigate", url=url)
    return tab


def test_a_page_of_ten_thousand_vens_stays_as_it_is(browser: Browser, stack: dict[str, Any]) -> None:
    with fleet(stack):
        event_id = start_event(stack["http_url"])
        until(partial(most_respond, stack, event_id), ONLINE_WITHIN_S)
        tab = open_page(browser, stack["http_url"])
        renderer = Renderer(tab)
        views = {
            "#/": "#history-caption",
            "#/vens": "#vens-rows tr",
            f"#/events/{event_id}": "#event-vens-rows tr",
        }
        rounds: list[Measured] = []
        for number in range(ROUNDS):
            for view, ready in views.items():
                look_at(tab, view, ready, LASTS_S / ROUNDS / len(views))
            rounds.append(renderer.measure())
            print(f"\ndashboard: {VENS} VENs, round {number + 1} of {ROUNDS}: {rounds[-1]}", end="")
    _, settled, *_, last = rounds
    assert last.heap_mib < MOST_GROWTH * settled.heap_mib
    assert last.memory_mib < MOST_GROWTH * settled.memory_mib
    assert last.nodes < settled.nodes + MOST_NEW_NODES
    assert last.cpu_percent < MOST_GROWTH * settled.cpu_percent + 1
    assert max(each.longest_task_ms for each in rounds[1:]) < LONGEST_FRAME_MS
