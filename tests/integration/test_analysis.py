"""The analysts' API equals the HTTP API, from the database and over HTTP, also by days of a zone."""

import json
import threading
import warnings
from collections import defaultdict
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from zoneinfo import ZoneInfo

import duckdb
import polars as pl
import pytest
from sqlalchemy import Engine, insert, text

from analysis import DatabaseGrid, Grid, HttpGrid, connect
from analysis.grid import ForecastWarning
from analysis.ranges import Aggregate
from local.ports import HOST
from schemas.api.events import EventCreate, EventInterval, TargetsGiven
from schemas.db.connections import engine_for
from schemas.tables.events import event_participations, event_settlements, ven_settlements
from schemas.tables.forecasts import HALF_HOUR, load_type_forecasts
from serving.app import create_app
from serving.events.rules import EventRules
from serving.events.service import EventWriter
from serving.http.paths import RAW_PATH
from serving.policy import Policy
from serving.routes import AppOptions
from tests.integration.whole_system import EDGES, EVERYTHING, GRANULARITIES, NOW, SLOTTED, WholeSystem
from tests.oracle.compare import assert_same
from tests.oracle.loop import Oracle
from tests.oracle.messages import Published, Setting, Window, random_traffic
from tests.servers import DatabaseServer, cloned_database

BERLIN = "Europe/Berlin"
Bounds = tuple[datetime | None, datetime | None]
ASKED: list[tuple[Aggregate, str]] = [
    *(("sum", every) for every in GRANULARITIES),
    *(("mean", every) for every in SLOTTED),
    *(("energy", every) for every in SLOTTED),
]
BOTH: list[tuple[Aggregate, str]] = [("sum", "13m"), ("mean", "15m"), ("energy", "1h"), ("mean", "1d")]


@pytest.fixture(scope="module")
def filled(module_database_url: str) -> tuple[str, Oracle]:
    """The name of a database with traffic, and the plain loop that has received the same."""
    traffic, engine = random_traffic(11, 600), engine_for(module_database_url, "tests")
    built = WholeSystem(engine, module_database_url)
    built.empty()
    built.ingest(traffic[:500])
    built.catch_up()
    built.ingest(traffic[500:])  # what is pending counts, too
    built.close()
    engine.dispose()
    return str(engine.url.database), built.oracle


@pytest.fixture
def system(
    postgres: DatabaseServer, filled: tuple[str, Oracle], test_engine: Engine
) -> Iterator[WholeSystem]:
    """A copy of the filled database, with all that reads and writes it."""
    template, oracle = filled
    with cloned_database(postgres, "test", template) as url:
        built = WholeSystem(test_engine, url)
        built.oracle = deepcopy(oracle)
        built.open_store()
        yield built
        built.close()
        test_engine.dispose()


@pytest.fixture
def database(system: WholeSystem) -> Iterator[DatabaseGrid]:
    with DatabaseGrid(engine_for(system.database_url, "tests"), lambda: NOW) as grid:
        yield grid


class _Quiet(WSGIRequestHandler):
    """As serving's own server: with the path as it was sent."""

    def get_environ(self) -> dict[str, str]:
        return {**super().get_environ(), RAW_PATH: self.path}

    def log_message(self, *_: object) -> None:
        """So that tests have enough messages."""


@pytest.fixture
def over_http(system: WholeSystem) -> Iterator[HttpGrid]:
    with make_server(HOST, 0, create_app(system.engine, lambda: NOW, []), handler_class=_Quiet) as server:
        serving = threading.Thread(target=server.serve_forever, args=[0.01])
        serving.start()
        yield HttpGrid(f"http://{HOST}:{server.server_port}")
        server.shutdown()
        serving.join()


def as_points(frame: pl.DataFrame, aggregate: str) -> list[dict[str, object]]:
    """As the oracle answers."""
    unit = "EnergyKwh" if aggregate == "energy" else "PowerKw"
    return [
        {
            "timestamp": f"{at:%Y-%m-%dT%H:%M:%SZ}",
            f"used{unit}": round(used, 3),
            f"shed{unit}": round(shed, 3),
        }
        for at, used, shed in frame.iter_rows()
    ]


@pytest.mark.thorough
@pytest.mark.parametrize("bounds", [EVERYTHING, *EDGES])
def test_histories_are_those_of_the_plain_loop(
    system: WholeSystem, database: DatabaseGrid, bounds: Bounds
) -> None:
    start, end = bounds
    last = None if end is None else end - timedelta(microseconds=1)
    for aggregate, every in ASKED:
        found = database.history(every, start=start, end=end, aggregate=aggregate)
        if start is not None and start == end:
            assert found.is_empty()
        else:
            expected = system.oracle.network_history(start, last, GRANULARITIES[every], aggregate)
            assert_same({"points": as_points(found, aggregate)}, expected)


@pytest.mark.thorough
@pytest.mark.parametrize("bounds", [EVERYTHING, EDGES[1], EDGES[2]])
def test_both_entrances_lead_to_the_same(
    system: WholeSystem, database: DatabaseGrid, over_http: HttpGrid, bounds: Bounds
) -> None:
    ven_id, load_id = min(system.oracle.known_loads())
    start, end = bounds
    for aggregate, every in BOTH:
        for of in ({}, {"ven_id": ven_id}, {"ven_id": ven_id, "load_id": load_id}):
            one, other = (
                grid.history(every, start=start, end=end, aggregate=aggregate, **of)
                for grid in (over_http, database)
            )
            assert_close(one, other)
        one, other = (
            grid.vens_history(every, start=start, end=end, aggregate=aggregate)
            for grid in (over_http, database)
        )
        assert_close(one, other)


def assert_close(one: pl.DataFrame, other: pl.DataFrame) -> None:
    """But for the three decimals of an answer; a day may add up 288 of them."""
    assert one.schema == other.schema
    numbers = [name for name, kind in one.schema.items() if kind.is_float()]
    assert one.drop(numbers).equals(other.drop(numbers))
    for name in numbers:
        assert ((one[name] - other[name]).abs() <= 0.2).all()


def test_the_present_is_the_same_through_both_entrances(
    system: WholeSystem, database: DatabaseGrid, over_http: HttpGrid
) -> None:
    system.catch_up()
    for ask in (Grid.network, Grid.load_types, Grid.vens, Grid.loads):
        from_database, from_http = ask(database), ask(over_http)
        assert from_database.columns == from_http.columns
        assert from_database.rows() == from_http.rows()
        assert from_database.height > 0


def settle(engine: Engine, event_id: str, ven_id: str) -> None:
    """By one baseline; the portfolio's figures are those of its VEN."""
    row: dict[str, Any] = {
        "event_id": event_id,
        "revision": 1,
        "baseline": "10-of-10",
        "requested_kw": 2.0,
        "baseline_kw": 5.0,
        "actual_kw": 3.5,
        "delivered_kw": 1.5,
        "delivered_kwh": 1.5,
        "delivered_low_kw": 1.2,
        "delivered_high_kw": 1.9,
        "performance_percent": 75.0,
        "coverage_percent": 100.0,
        "days_used": 10,
        "settled_at": NOW,
    }
    part = {"status": "finished", "available_kw": 2.0, "requested_reduction_kw": 2.0}
    with engine.begin() as connection:
        connection.execute(
            insert(event_participations).values(part | {"event_id": event_id, "ven_id": ven_id})
        )
        connection.execute(insert(event_settlements).values(row))
        connection.execute(insert(ven_settlements).values(row | {"ven_id": ven_id}))


def test_events_and_what_they_delivered(
    system: WholeSystem, database: DatabaseGrid, over_http: HttpGrid
) -> None:
    ven_id = min(system.oracle.known_vens())
    wish = EventCreate(
        id="e 1",
        start_time=(NOW + timedelta(hours=1)).isoformat(),
        end_time=(NOW + timedelta(hours=2)).isoformat(),
        requested_reduction_kw=2.0,
    )
    EventWriter(system.engine, lambda: NOW, EventRules()).create(wish)
    for grid in (database, over_http):
        with pytest.raises(ValueError, match="nothing of it is measured yet"):
            grid.performance("e 1")
        with pytest.raises(LookupError, match="no event 'e 2'"):
            grid.performance("e 2")
    settle(system.engine, "e 1", ven_id)
    for grid in (database, over_http):
        assert grid.events().select("id", "status", "requested_reduction_kw").rows() == [
            ("e 1", "scheduled", 2.0)
        ]
        assert grid.events()["start_time"].to_list() == [NOW + timedelta(hours=1)]
        found = grid.performance("e 1", baseline="10-of-10", revision=1)
        assert found.select("ven_id", "delivered_kw", "days_used", "settled_at").rows() == [
            (None, 1.5, 10, NOW),
            (ven_id, 1.5, 10, NOW),
        ]
        assert found.select("delivered_low_kw", "delivered_high_kw").rows() == [(1.2, 1.9)] * 2
        with pytest.raises(LookupError, match="no revision 2"):
            grid.performance("e 1", revision=2)


def test_events_have_the_words_of_the_api(
    system: WholeSystem, database: DatabaseGrid, over_http: HttpGrid
) -> None:
    ven_id = min(system.oracle.known_vens())
    wish = EventCreate(
        id="more",
        start_time=(NOW + timedelta(hours=1)).isoformat(),
        end_time=(NOW + timedelta(hours=2)).isoformat(),
        requested_reduction_kw=2.0,
        direction="increase",
        intervals=[EventInterval(600, 1.0), EventInterval(1_200, 3.0)],
        targets=TargetsGiven(ven_ids=[ven_id]),
        import_limit_kw=9.0,
    )
    EventWriter(system.engine, lambda: NOW, EventRules()).create(wish)
    columns = (
        "direction",
        "intervals",
        "targets",
        "notes",
        "import_limit_kw",
        "export_limit_kw",
        "is_measured",
    )
    for grid in (database, over_http):
        [row] = grid.events().select(columns).to_dicts()
        assert row["direction"] == "increase"
        assert [tuple(each.values()) for each in row["intervals"]] == [(600, 1, 0), (1_200, 3, 600)]
        assert row["targets"] == {"groups": [], "load_types": [], "ven_ids": [ven_id]}
        assert row["notes"] == [{"reason": "unable to increase", "vens": 1}]
        assert (row["import_limit_kw"], row["export_limit_kw"], row["is_measured"]) == (9.0, None, False)
    opt_outs = database.raw.table("ven_opt_outs")
    assert {"ven_id", "start_time", "end_time", "reason"} <= set(opt_outs.columns)


def forecast_rows(load_type: str, kw: float | None) -> list[dict[str, Any]]:
    """Four half hours from `NOW` on; feeding in, with the P10 as the most."""
    powers = {f"used_p{share}_kw": None if kw is None else kw - 10 / share for share in (10, 50, 90)}
    powers |= {f"shed_p{share}_kw": None if kw is None else share / 7 for share in (10, 50, 90)}
    days = {"used_days": 2 if kw is None else 20, "shed_days": 3 if kw is None else 19}
    return [
        {"load_type": load_type, "half_hour": NOW + number * HALF_HOUR, "origin": NOW, **days, **powers}
        for number in range(4)
    ]


def test_a_forecast_is_the_same_through_both_entrances(
    system: WholeSystem, database: DatabaseGrid, over_http: HttpGrid
) -> None:
    rows = [*forecast_rows("ev", -2.0), *forecast_rows("a,b", 3.0), *forecast_rows("", 1.0)]
    with system.engine.begin() as connection:
        connection.execute(insert(load_type_forecasts), rows)
    second = NOW + HALF_HOUR
    expected_columns = ["type", "timestamp", "used_p10_kw", "used_p50_kw", "used_p90_kw", "used_days"]
    questions: list[dict[str, Any]] = [
        {},
        {"load_type": "a,b"},
        {"load_type": "ev", "start": second, "end": second + HALF_HOUR},
        {"by": "total", "end": second},
        {"start": second, "end": second},
    ]
    for question in questions:
        one, other = database.forecast(**question), over_http.forecast(**question)
        assert one.schema == other.schema
        assert one.equals(other)
    assert one.is_empty()
    for grid in (database, over_http):
        assert grid.forecast().columns[:6] == expected_columns
        assert grid.forecast().height == 8
        found = grid.forecast("ev", start=second, end=second + HALF_HOUR)
        assert found.select("timestamp", "used_p10_kw", "used_p90_kw", "shed_capability_days").rows() == [
            (second, -3.0, -2.111, 19)
        ]
        total = grid.forecast(by="total", end=second)
        assert total.columns[0] == "timestamp"
        assert total["used_p50_kw"].to_list() == [0.8]
        with pytest.raises(LookupError, match="There is no forecast of 'hvac'; the types are a,b, ev"):
            grid.forecast("hvac")
        with pytest.raises(ValueError, match="by is 'all': expected one of total, type"):
            grid.forecast(by="all")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="leave out load_type"):
            grid.forecast("ev", by="total")
        with pytest.raises(ValueError, match="load_type is ''"):
            grid.forecast("")
        with pytest.raises(ValueError, match="start is 'soon'"):
            grid.forecast(start="soon")


def test_a_forecast_that_is_missing_is_warned_of(
    system: WholeSystem, database: DatabaseGrid, over_http: HttpGrid
) -> None:
    for grid in (database, over_http):
        with pytest.warns(ForecastWarning, match="There is no forecast yet"):
            assert grid.forecast().is_empty()
    with system.engine.begin() as connection:
        connection.execute(insert(load_type_forecasts), forecast_rows("ev", None))
    for grid in (database, over_http):
        with pytest.warns(ForecastWarning, match="Too few similar days for the usage of ev"):
            assert grid.forecast()["used_p50_kw"].null_count() == 4


def test_the_summary_can_be_verified(system: WholeSystem, database: DatabaseGrid) -> None:
    system.catch_up()
    assert database.verify().is_empty()
    history = database.raw.table("ven_history")
    with system.engine.begin() as connection:
        connection.execute(text("UPDATE ven_history SET samples = samples + 1"))
    found = database.verify()
    assert found.filter(pl.col("table") == "ven_history").height == history.height > 0


def test_what_is_not_there_and_what_cannot_be_meant(database: DatabaseGrid, over_http: HttpGrid) -> None:
    for grid in (database, over_http):
        with pytest.raises(LookupError, match="There is no VEN 'nobody'"):
            grid.history("5m", ven_id="nobody")
        for wrong in ("5", "0m", "1 h", "1.5h"):
            with pytest.raises(ValueError, match="granularity"):
                grid.history(wrong)
        with pytest.raises(ValueError, match="multiple of 5m"):
            grid.history("7s", aggregate="mean")
        with pytest.raises(ValueError, match="must not be after end"):
            grid.history("5m", start="2024-07-11", end="2024-07-10")
        with pytest.raises(ValueError, match="of a ven_id"):
            grid.history("5m", load_id="hvac1")


@pytest.mark.thorough
@pytest.mark.parametrize(("day", "hours"), [("2024-03-31", 23), ("2024-10-27", 25), ("2024-07-10", 24)])
def test_days_of_a_zone(engine: Engine, database_url: str, day: str, hours: int) -> None:
    """A kilowatt all day long, and the days around it, reported every ten minutes: 23, 24 or 25 kWh."""
    built = WholeSystem(engine, database_url)
    built.empty()
    begin = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(BERLIN)).astimezone(UTC) - timedelta(hours=30)
    reports = [begin + timedelta(minutes=5 * count) for count in range(12 * 24 * 3)]
    built.ingest([reported(at, 1.0) for at in reports])
    built.catch_up()
    expected = defaultdict[object, int](int)
    for at in reports:
        expected[at.astimezone(ZoneInfo(BERLIN)).date()] += 1
    with DatabaseGrid(engine_for(database_url, "tests"), lambda: NOW, zone=BERLIN) as grid:
        energy = grid.history("1d", aggregate="energy")
        assert {at.date(): kwh for at, kwh, _ in energy.iter_rows()} == pytest.approx(
            {date: count / 12 for date, count in expected.items()}
        )
        one = grid.history(
            "1d", start=day, end=datetime.fromisoformat(day) + timedelta(days=1), aggregate="energy"
        )
        assert one["used_energy_kwh"].to_list() == pytest.approx([hours])
        mean = grid.history("1d", start=day, aggregate="mean")
        assert mean["used_power_kw"].to_list() == pytest.approx([1.0] * mean.height)
        assert mean["timestamp"][0] == datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(BERLIN))
    built.close()


def reported(at: datetime, kw: float) -> Published:
    payload = {"venId": "ven-1", "timestamp": at.timestamp(), "usedPowerKw": kw}
    return Published("oadr/meter/ven-1", json.dumps(payload).encode())


@pytest.fixture
def fortnight(engine: Engine, database_url: str) -> Iterator[WholeSystem]:
    """Traffic of two weeks, without VENs whose clock is years off: raw rows are fetched a day at a time."""
    built = WholeSystem(engine, database_url)
    built.empty()
    built.ingest(random_traffic(11, 400, Setting(window=Window(outliers=False))))
    yield built
    built.close()


def test_raw_rows_are_lazy_and_complete(fortnight: WholeSystem) -> None:
    with DatabaseGrid(engine_for(fortnight.database_url, "tests"), lambda: NOW) as database:
        check_raw_rows(database, fortnight.oracle.row_counts()["ven_load_samples"])


def check_raw_rows(database: DatabaseGrid, expected: int) -> None:
    samples = database.raw.load_samples()
    assert samples.select(pl.len()).collect().item() == expected > 0
    columns = samples.select("ven_id", "used_power_kw").filter(pl.col("used_power_kw") > 1).collect()
    whole = samples.collect()
    assert columns.height == whole.filter(pl.col("used_power_kw") > 1).height
    assert samples.limit(5).collect().height == 5
    start, end = EDGES[1]
    within = database.raw.telemetry(start, end).collect()
    assert (
        within.height
        == database.raw.telemetry().filter(pl.col("ts") >= start, pl.col("ts") < end).collect().height
    )
    assert json.loads(within["payload"][0])
    assert database.raw.batches()["messages"].sum() > 0


def test_an_empty_database_has_frames_without_rows(engine: Engine) -> None:
    with DatabaseGrid(engine, lambda: NOW, zone=BERLIN) as grid, warnings.catch_warnings(action="error"):
        for every in ("5m", "1d"):
            assert grid.history(every, aggregate="mean").schema == {
                "timestamp": pl.Datetime("us", BERLIN),
                "used_power_kw": pl.Float64,
                "shed_power_kw": pl.Float64,
            }
        assert grid.raw.telemetry().collect().is_empty()
        assert grid.vens().is_empty()
        for frame in (grid.vens(), grid.load_types(), grid.loads(), grid.events()):
            assert frame.columns, "an empty frame still has its columns"


def test_the_default_is_the_mean_and_a_sum_says_that_it_is_one(
    database: DatabaseGrid, over_http: HttpGrid
) -> None:
    """A sum of kilowatts was once the default, under the name of a power."""
    for grid in (database, over_http):
        assert grid.history("1h").equals(grid.history("1h", aggregate="mean"))
        assert grid.vens_history("1h").equals(grid.vens_history("1h", aggregate="mean"))
        for every in ("1h", "1d"):
            sums = grid.history(every, aggregate="sum")
            assert sums.columns == ["timestamp", "used_power_kw_sum", "shed_power_kw_sum"]
        with pytest.raises(ValueError, match="expected one of energy, mean, sum"):
            grid.vens_history("1h", aggregate="avg")  # type: ignore[arg-type]


def test_what_is_not_there_is_answered_with_what_there_is(
    system: WholeSystem, database: DatabaseGrid, over_http: HttpGrid
) -> None:
    wish = EventCreate(
        id="heat-wave",
        start_time=(NOW + timedelta(hours=1)).isoformat(),
        end_time=(NOW + timedelta(hours=2)).isoformat(),
        requested_reduction_kw=2.0,
    )
    EventWriter(system.engine, lambda: NOW, EventRules()).create(wish)
    for grid in (database, over_http):
        with pytest.raises(LookupError, match="no event 'heat-wav': expected one of heat-wave"):
            grid.performance("heat-wav")
        with pytest.raises(ValueError, match="baseline is 'best': expected one of"):
            grid.performance("heat-wave", baseline="best")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="revision is 0"):
            grid.performance("heat-wave", revision=0)
    with pytest.raises(ValueError, match=r"table is 'ven_histories'.*ven_history"):
        database.raw.table("ven_histories")
    with pytest.raises(ValueError, match="start is 'soon'"):
        database.raw.telemetry("soon").collect()


def test_a_server_of_something_else() -> None:
    def page(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b"<html>"]

    with make_server(HOST, 0, page, handler_class=_Quiet) as server:
        serving = threading.Thread(target=server.serve_forever, args=[0.01])
        serving.start()
        with pytest.raises(ConnectionError, match=r"is no service of Gridgate: .* answered 200 text/html"):
            HttpGrid(f"http://{HOST}:{server.server_port}").vens()
        server.shutdown()
        serving.join()


def test_a_key_that_is_missing_is_asked_for(system: WholeSystem) -> None:
    app = create_app(system.engine, lambda: NOW, [], AppOptions(policy=Policy(needs_keys=True)))
    with make_server(HOST, 0, app, handler_class=_Quiet) as server:
        serving = threading.Thread(target=server.serve_forever, args=[0.01])
        serving.start()
        with pytest.raises(PermissionError, match="key="):
            HttpGrid(f"http://{HOST}:{server.server_port}").vens()
        server.shutdown()
        serving.join()


def test_other_tools_take_a_frame_by_one_line_each(system: WholeSystem, database: DatabaseGrid) -> None:
    """As docs/analysis.md has them."""
    system.catch_up()
    history = database.vens_history("1h")
    by_ven = history.group_by("ven_id").agg(pl.col("used_power_kw").max()).sort("ven_id")

    in_duckdb = duckdb.sql("SELECT ven_id, max(used_power_kw) FROM history GROUP BY ven_id ORDER BY ven_id")
    assert in_duckdb is not None
    assert in_duckdb.fetchall() == by_ven.rows()

    in_pandas = history.to_pandas()
    assert in_pandas.groupby("ven_id")["used_power_kw"].max().tolist() == by_ven["used_power_kw"].to_list()
    assert str(in_pandas["timestamp"].dt.tz) == "UTC"

    lazily = history.lazy().filter(pl.col("used_power_kw") > 1).select(pl.len()).collect()
    assert lazily.item() == history.filter(pl.col("used_power_kw") > 1).height
    telemetry = database.raw.telemetry().select("ven_id").collect()
    counted = duckdb.sql("SELECT count(*) FROM telemetry")
    assert counted is not None
    assert counted.fetchall() == [(telemetry.height,)]


def test_connecting(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    with connect(zone=BERLIN) as grid:
        assert isinstance(grid, DatabaseGrid)
        assert grid.history().is_empty()
    assert isinstance(connect("http://127.0.0.1:8000"), HttpGrid)
    with pytest.raises(ValueError, match="no http"):
        HttpGrid("ftp://example")
