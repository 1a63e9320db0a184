"""Answers that are ready: as exact as those that are read, and never from before a change or for ever."""

import gzip
import json
import threading
from collections.abc import Iterator, MutableMapping
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from backports import zstd
from falcon import testing
from sqlalchemy import Engine, event
from structlog.testing import capture_logs

from ingest.storing.store import Store
from schemas.db.channels import TOTALS
from schemas.db.connections import connect
from serving import worker_state
from serving.app import create_app
from serving.cache.fast_path import MAX_VARIANTS
from serving.cache.response_cache import VALID_FOR_S, ResponseCache
from serving.fleet.reader import FleetReader
from serving.worker_state import WorkerState
from tests.integration.as_served import THREAD_NAMES, client_of
from tests.integration.catching_up import catch_up
from tests.integration.published import NOW, THREE, batch_of, status, telemetry, until

READY = ("/api/stats/network", "/api/stats/loads", "/api/vens/summary")
OTHERS = ("/api/vens", "/api/vens/ven-1", "/api/vens/ven-1/loads", "/api/stats/network/history", "/health")


class Site:
    """One process of serving, with the statements that it sends."""

    def __init__(self, engine: Engine, database_url: str) -> None:
        self.state = WorkerState(engine, FleetReader(engine, lambda: NOW))
        self.client = client_of(create_app(engine, lambda: NOW, [], state=self.state))
        self.without = testing.TestClient(create_app(engine, lambda: NOW, []))
        self.listener = self.state.listener(lambda: connect(database_url, "tests"), every_s=0.3)
        self._thread: threading.Thread | None = None
        self._own_statements = 0
        event.listen(engine, "before_cursor_execute", self._count)

    def _count(self, *_: Any) -> None:
        self._own_statements += threading.current_thread().name.startswith(THREAD_NAMES)

    def start(self) -> None:
        self._thread = self.listener.start()
        until(lambda: self.state.cache.get("network") is not None)

    def stop(self) -> None:
        self.listener.stop()
        if self._thread is not None:
            self._thread.join(10)

    def statements(self, path: str, **asked: Any) -> tuple[int, testing.Result]:
        """How many statements an answer took, and the answer."""
        before = self._own_statements
        answer = self.client.simulate_get(path, **asked)
        return self._own_statements - before, answer


@pytest.fixture
def site(engine: Engine, database_url: str) -> Iterator[Site]:
    site = Site(engine, database_url)
    yield site
    site.stop()


@pytest.fixture
def some_vens(store: Store, engine: Engine) -> None:
    loads = [{"id": load_id, "type": load_id[:-1], "currentPowerKw": 0.5} for load_id in ("hvac1", "pv1")]
    store.write(batch_of(*(telemetry(f"ven-{number}", loads=loads) for number in (1, 2, 3))))
    catch_up(engine)


@pytest.mark.usefixtures("some_vens")
def test_what_is_ready_is_what_is_read_and_asks_nobody(site: Site) -> None:
    site.start()
    for path in READY:
        expected = site.without.simulate_get(path)
        site.client.simulate_get(path)
        statements, answer = site.statements(path)
        assert (statements, answer.content) == (0, expected.content)
        assert answer.headers["etag"] == expected.headers["etag"]
        statements, again = site.statements(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (statements, again.status_code, again.content) == (0, 304, b"")


WORDS: tuple[dict[str, str], ...] = (
    {},
    {"Accept": "application/json, text/csv;q=0.5"},
    {"Accept": "text/csv"},
    {"Accept": "image/png"},
    {"Accept-Encoding": "gzip, zstd"},
    {"Accept-Encoding": "gzip"},
    {"If-None-Match": "*"},
    {"If-None-Match": '"nothing", "of this"'},
    {"Origin": "https://elsewhere.example"},
)


def told(answer: testing.Result) -> tuple[int, dict[str, str], bytes]:
    return answer.status_code, dict(answer.headers), answer.content


@pytest.mark.thorough
@pytest.mark.usefixtures("some_vens")
@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_said_again_it_is_answered_in_the_same_words(method: str, words: dict[str, str], site: Site) -> None:
    """Whether Falcon answers or what stands before it."""
    site.start()
    for path in READY:
        answers = [site.client.simulate_request(method, path, headers=words) for _ in range(3)]
        expected = told(site.without.simulate_request(method, path, headers=words))
        assert [told(answer) for answer in answers] == [expected] * 3


@pytest.mark.thorough
@pytest.mark.usefixtures("some_vens")
@pytest.mark.parametrize("words", WORDS)
def test_head_is_told_what_get_is(words: dict[str, str], site: Site) -> None:
    """All but the body, of what is ready, read, or streamed."""
    site.start()
    for path in (*READY, *OTHERS, "/nothing", "/api/events/none/stop"):
        got = [site.client.simulate_get(path, headers=words) for _ in range(2)][-1]
        head = site.client.simulate_head(path, headers=words)
        assert (head.status_code, dict(head.headers), head.content) == (
            got.status_code,
            dict(got.headers),
            b"",
        )


@pytest.mark.usefixtures("some_vens")
def test_who_has_the_one_before_gets_the_new_one(site: Site, store: Store, engine: Engine) -> None:
    site.start()
    known = {"If-None-Match": site.client.simulate_get(READY[0]).headers["etag"]}
    assert [site.client.simulate_get(READY[0], headers=known).status_code for _ in range(3)] == [304] * 3
    store.write(batch_of(telemetry("ven-1", THREE + timedelta(seconds=1), used_kw=70.0)))
    catch_up(engine)
    until(lambda: site.client.simulate_get(READY[0], headers=known).status_code == 200, within_s=2)
    new = site.client.simulate_get(READY[0], headers=known)
    assert (new.status_code, new.content) == (200, site.without.simulate_get(READY[0]).content)


@pytest.mark.usefixtures("some_vens")
def test_words_are_kept_only_so_many(site: Site) -> None:
    """Strange ones do not keep others from being repeated."""
    site.start()
    with capture_logs() as events:
        for number in range(2 * MAX_VARIANTS):
            site.client.simulate_get(READY[0], headers={"If-None-Match": f'"{number}"'})
        cached = site.state.cache.peek("network")
        assert cached is None or len(cached.sent) <= MAX_VARIANTS
        until(lambda: site.client.simulate_get(READY[0]).status_code == 200 and _is_repeated(events))


def _is_repeated(events: list[MutableMapping[str, Any]]) -> bool:
    return bool(events[-1]["log_level"] == "debug")


@pytest.mark.usefixtures("some_vens")
def test_what_is_ready_is_counted_and_not_told_line_by_line(site: Site) -> None:
    with capture_logs() as events:
        site.start()
        for _ in range(5):
            site.client.simulate_get("/api/stats/network")
    levels = [event["log_level"] for event in events if event["event"] == "request"]
    assert (levels.count("info"), levels.count("debug")) in {(1, 4), (2, 3)}
    metrics = site.client.simulate_get("/metrics").text
    for counted in (
        'gridgate_serving_requests_total{method="GET",route="/api/stats/network",status="200"} 5.0',
        'gridgate_serving_request_seconds_count{route="/api/stats/network"} 5.0',
        'gridgate_serving_request_seconds_bucket{le="30.0",route="/api/stats/network"} 5.0',
    ):
        assert counted in metrics


@pytest.mark.usefixtures("some_vens")
def test_pages_and_other_media_are_read(site: Site) -> None:
    site.start()
    for query in ("limit=2", "after=ven-1", "format=csv"):
        statements, answer = site.statements("/api/vens/summary", query_string=query)
        assert statements > 0
        assert answer.content == site.without.simulate_get("/api/vens/summary", query_string=query).content


@pytest.mark.usefixtures("some_vens")
def test_news_shows_within_a_cycle(site: Site, store: Store, engine: Engine) -> None:
    site.start()
    for number in range(1, 4):
        store.write(batch_of(telemetry("ven-1", THREE + timedelta(seconds=number), used_kw=10.0 * number)))
        catch_up(engine)
        expected = {path: site.without.simulate_get(path).content for path in READY}
        for path, content in expected.items():
            until(lambda p=path, c=content: site.client.simulate_get(p).content == c, within_s=2)  # type: ignore[misc]


@pytest.mark.usefixtures("some_vens")
def test_a_change_of_the_registry_shows(site: Site, connection: psycopg.Connection) -> None:
    """Whoever made it; it notifies, and the totals may stay as they are."""
    site.start()
    site.client.simulate_get("/api/vens/summary")
    with connection.transaction():
        connection.execute("UPDATE vens SET name = 'Home' WHERE ven_id = 'ven-2'")
        connection.execute("SELECT pg_notify(%s, '')", [TOTALS])
    until(lambda: b'"Home"' in site.client.simulate_get("/api/vens/summary").content, within_s=2)


@pytest.mark.usefixtures("some_vens")
def test_who_changes_something_sees_it_at_once(site: Site) -> None:
    site.start()
    for path in READY:
        site.client.simulate_get(path)
    assert site.client.simulate_delete("/api/events/none").status_code == 404
    assert all(site.statements(path)[0] > 0 for path in READY)


@pytest.mark.thorough
@pytest.mark.usefixtures("some_vens")
def test_cut_off_it_reads_again(site: Site, connection: psycopg.Connection) -> None:
    """A listener that the database has thrown out, with no way back: nothing stale is served."""
    site.start()
    for path in READY:
        site.client.simulate_get(path)
    site.stop()
    connection.execute("UPDATE vens SET name = 'Home' WHERE ven_id = 'ven-2'")
    until(lambda: b'"Home"' in site.client.simulate_get("/api/vens/summary").content, VALID_FOR_S + 3)
    assert all(site.statements(path)[0] > 0 for path in READY)


def test_nothing_stands_longer_than_the_database_is_heard() -> None:
    now_s, said = [0.0], [b"one"]
    cache = ResponseCache({"a": lambda: said[0]}, lambda: 1, lambda: now_s[0])
    assert cache.get("a") is None, "nobody listens yet"
    cache.poll()
    assert (found := cache.get("a"))
    assert found.body == b"one"
    said[0] = b"two"
    now_s[0] = VALID_FOR_S
    assert (found := cache.get("a"))
    assert found.body == b"one"
    now_s[0] += 0.1
    assert cache.get("a") is None
    cache.poll()
    cache.refresh()
    assert (found := cache.get("a"))
    assert found.body == b"two"
    cache.expire()
    assert cache.get("a") is None


def test_what_was_read_before_a_change_is_not_kept() -> None:
    """The change comes while the answer is being read: the reader has it from before, the next does not."""
    values = iter([b"old", b"new"])

    def read() -> bytes:
        value = next(values)
        if value == b"old":
            cache.clear()
        return value

    cache = ResponseCache({"a": read}, lambda: 1)
    cache.poll()
    assert [cached.body for cached in (cache.get("a"), cache.get("a"), cache.get("a")) if cached] == [
        b"old",
        b"new",
        b"new",
    ]


@pytest.mark.usefixtures("some_vens")
def test_a_very_long_list_is_not_held(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_state, "MAX_CACHED_VENS", 2)
    site.start()
    assert site.state.cache.get("summaries") is None
    expected = site.without.simulate_get("/api/vens/summary").content
    assert site.client.simulate_get("/api/vens/summary").content == expected


# Compressed


def unpack(answer: testing.Result) -> bytes:
    unpacked = {"gzip": gzip.decompress, "zstd": zstd.decompress}.get(
        answer.headers.get("content-encoding", "")
    )
    return answer.content if unpacked is None else unpacked(answer.content)


@pytest.mark.usefixtures("some_vens")
@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_compressed_for_who_asks(encoding: str, site: Site) -> None:
    site.start()
    for path in (*READY, *OTHERS):
        plain = site.client.simulate_get(path)
        packed = site.client.simulate_get(path, headers={"Accept-Encoding": encoding})
        assert packed.headers["content-encoding"] == encoding
        assert "Accept-Encoding" in packed.headers["vary"]
        assert "Accept-Encoding" in plain.headers["vary"]
        assert unpack(packed) == plain.content
        assert packed.headers["etag"] != plain.headers["etag"]
        assert packed.headers["content-length"] == str(len(packed.content))
        known = {"Accept-Encoding": encoding, "If-None-Match": packed.headers["etag"]}
        again = site.client.simulate_get(path, headers=known)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", packed.headers["etag"])
        assert (
            site.client.simulate_get(path, headers={"If-None-Match": packed.headers["etag"]}).status_code
            == 200
        )


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_streams_are_compressed_block_by_block(
    encoding: str, site: Site, store: Store, engine: Engine
) -> None:
    store.write(batch_of(*(status(f"ven-{number:04}", THREE, "online") for number in range(2_500))))
    catch_up(engine)
    plain = site.without.simulate_get("/api/vens")
    packed = site.without.simulate_get("/api/vens", headers={"Accept-Encoding": encoding})
    assert packed.headers["content-encoding"] == encoding
    assert len(packed.content) < len(plain.content) / 5
    assert json.loads(unpack(packed)) == plain.json
    assert engine.pool.status().endswith("Current Checked out connections: 0")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate, br", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("*", "zstd"),
        ("*;q=0.1, identity", None),
        ("gzip;q=0", None),
        ("zstd;q=0, *", "gzip"),
        ("identity", None),
        ("", None),
        ("br", None),
        ("GZIP ; q=0.3", "gzip"),
        ("gzip;q=nonsense", None),
    ],
)
def test_what_a_client_likes_best(accepted: str, encoding: str | None, site: Site) -> None:
    answer = site.client.simulate_get("/health", headers={"Accept-Encoding": accepted})
    assert answer.headers.get("content-encoding") == encoding
    assert json.loads(unpack(answer)) == {"status": "ok"}
