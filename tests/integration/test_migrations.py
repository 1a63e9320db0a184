"""Migrations lead to the tables that the code describes, and back; partitions come as they are needed."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, Inspector, Table, inspect
from sqlalchemy.dialects import postgresql

from ingest.storing.queries import ENSURE_PARTITIONS
from ingest.storing.store import Store
from jobs.storage.partitions import arrange_partitions
from schemas.db.connections import connect
from schemas.tables import metadata
from schemas.tables.raw import PARTITIONED
from schemas.times.slots import width_changes
from tests.conftest import REPOSITORY, migrate
from tests.integration.catching_up import catch_up
from tests.integration.published import (
    THREE,
    assert_same_rows,
    batch_of,
    description,
    rows,
    status,
    telemetry,
    value,
)

pytestmark = pytest.mark.thorough  # programs are started, and ended

RELATIONS = (
    "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
    " AND relname NOT LIKE 'invoices%'"
)
PARTITIONS = (
    "SELECT name::text FROM raw_partitions('ven_telemetry') UNION ALL"
    " SELECT name::text FROM raw_partitions('ven_load_samples') UNION ALL"
    " SELECT name::text FROM raw_partitions('ven_load_descriptions') ORDER BY 1"
)


def test_down_to_nothing_and_up_again(database_url: str, connection: psycopg.Connection) -> None:
    before = sorted(rows(connection, RELATIONS))
    connection.execute(ENSURE_PARTITIONS, [[date(2024, 7, 10)]])
    migrate(database_url, "base", "downgrade")
    assert rows(connection, RELATIONS) == [("alembic_version",)]
    assert rows(connection, "SELECT proname FROM pg_proc WHERE proname = 'ensure_raw_partitions'") == []
    migrate(database_url)
    assert sorted(rows(connection, RELATIONS)) == before


def test_events_that_run_are_not_told_again(database_url: str, connection: psycopg.Connection) -> None:
    """Participations with a command have the current end and request; others have no end."""
    migrate(database_url, "0020", "downgrade")
    connection.execute(
        "INSERT INTO events (event_id, status, start_time, end_time, requested_reduction_kw, notify_at,"
        " created_at) VALUES ('e', 'active', %(at)s, %(at)s + interval '1 hour', 3, %(at)s, %(at)s)",
        {"at": THREE},
    )
    connection.execute(
        "INSERT INTO event_participations (ven_id, event_id, status, available_kw, requested_reduction_kw,"
        " command_id, notified_at) VALUES ('told', 'e', 'notified', 2, 1, 'c', %(at)s),"
        " ('away', 'e', 'planned', 2, 0, NULL, %(at)s)",
        {"at": THREE},
    )
    connection.commit()
    migrate(database_url)
    parts = (
        "SELECT ven_id, told_end_time, asked_again_at, released_at FROM event_participations ORDER BY 1 DESC"
    )
    end = THREE + timedelta(hours=1)
    assert rows(connection, parts) == [("told", end, None, None), ("away", None, None, None)]
    assert rows(connection, "SELECT shared_reduction_kw FROM events") == [(3,)]
    connection.commit()
    migrate(database_url, "0018", "downgrade")
    assert rows(connection, "SELECT count(*) FROM event_participations") == [(2,)]
    connection.commit()
    migrate(database_url)


def test_events_keep_the_lead_time_that_they_had(database_url: str, connection: psycopg.Connection) -> None:
    """Also one that was made after its lead time had begun, or whose start had passed."""
    migrate(database_url, "0009", "downgrade")
    connection.execute(
        "INSERT INTO events (event_id, status, start_time, end_time, requested_reduction_kw, notify_at,"
        " created_at) SELECT 'e' || lead_s, 'scheduled', %(at)s, %(at)s + interval '1 hour', 1,"
        " %(at)s - lead_s * interval '1 second', %(at)s FROM unnest(array[300, 0, 7.5, -20]) lead_s",
        {"at": THREE},
    )
    connection.commit()
    migrate(database_url)
    found = rows(connection, "SELECT event_id, lead_time_s FROM events ORDER BY lead_time_s, event_id")
    assert found == [("e-20", 0), ("e0", 0), ("e7.5", 7.5), ("e300", 300)]
    connection.commit()
    migrate(database_url, "0009", "downgrade")
    assert rows(connection, "SELECT count(*) FROM events") == [(4,)]


RUNNING_EVENT = """
INSERT INTO events (event_id, status, start_time, end_time, requested_reduction_kw, priority, ven_ids,
    lead_time_s, notify_at, started_at, created_at)
VALUES ('e', 'active', %(at)s, %(at)s + interval '1 hour', 5, 2, '["a"]', 60, %(at)s, %(at)s, %(at)s);
"""
PROGRESS = """
INSERT INTO event_progress (event_id, current_reduction_kw, vens_responding, avg_response_ms, refreshed_at)
VALUES ('e', 3, 1, 250, %(at)s)
"""
STREAMED = "SELECT data->>'status', data->>'priority', data->>'notes' FROM live_changes ORDER BY change_id"


def test_events_that_run_while_0018_and_0020_are_applied(
    database_url: str, connection: psycopg.Connection
) -> None:
    """They keep their values, count no VEN as passed over, and streams send the new columns."""
    migrate(database_url, "0016", "downgrade")
    connection.execute(RUNNING_EVENT, {"at": THREE})
    connection.execute(PROGRESS, {"at": THREE})
    everything = (
        "SELECT to_jsonb(e) - 'notes', to_jsonb(p) FROM events e JOIN event_progress p USING (event_id)"
    )
    before = rows(connection, everything)
    migrate(database_url, "0020")
    assert rows(connection, everything) == before
    assert rows(connection, "SELECT notes FROM events") == [(None,)]
    assert rows(connection, "SELECT * FROM event_reductions") == []
    connection.execute("DELETE FROM live_changes")
    connection.execute("UPDATE events SET notes = '[]'")
    connection.execute("UPDATE event_progress SET vens_reporting = 1")
    assert rows(connection, STREAMED) == [("active", "2", "[]")] * 2
    connection.execute("INSERT INTO event_reductions VALUES ('a', 'e', 3)")
    migrate(database_url, "0018", "downgrade")
    connection.execute("UPDATE events SET priority = 3")
    assert len(rows(connection, STREAMED)) == 2
    migrate(database_url, "0016", "downgrade")
    connection.execute("UPDATE events SET priority = 2, status = 'completed'")
    assert rows(connection, STREAMED)[2:] == [("completed", None, None)]
    connection.execute("UPDATE events SET status = 'active'")
    assert [before_and_after[0] for before_and_after in rows(connection, everything)] == [before[0][0]]
    migrate(database_url)


SHOWN_TARGETS = "SELECT data->'group_ids', data->'load_types' FROM live_changes ORDER BY change_id"


def test_vens_and_events_from_before_groups(database_url: str, connection: psycopg.Connection) -> None:
    """They have no region, tags or targets; an event with a group as target must not select all VENs."""
    migrate(database_url, "0023", "downgrade")
    connection.execute("INSERT INTO vens (ven_id, name, created_at) VALUES ('a', 'N', now())")
    connection.execute(RUNNING_EVENT, {"at": THREE})
    connection.execute(
        "INSERT INTO event_participations (ven_id, event_id, status, available_kw, requested_reduction_kw)"
        " VALUES ('a', 'e', 'notified', 1, 1)"
    )
    connection.commit()
    migrate(database_url)
    assert rows(connection, "SELECT name, region, tags FROM vens") == [("N", None, [])]
    assert rows(connection, "SELECT group_ids, load_types FROM events") == [(None, None)]
    assert rows(connection, "SELECT told_load_types FROM event_participations") == [(None,)]
    connection.execute("DELETE FROM live_changes")
    for values in ("group_ids = '[\"g\"]'", "load_types = '[\"ev\"]'", "priority = 3"):
        connection.execute(f"UPDATE events SET {values}".encode())
    assert rows(connection, SHOWN_TARGETS) == [(["g"], None), (["g"], ["ev"]), (["g"], ["ev"])]
    connection.commit()
    migrate(database_url, "0023", "downgrade")
    ended = rows(connection, "SELECT status, ended_at IS NOT NULL, priority FROM events")
    assert ended == [("cancelled", True, 3)]
    before = rows(connection, "SELECT count(*) FROM live_changes")
    connection.execute("UPDATE events SET ven_ids = '[\"b\"]'")
    assert rows(connection, "SELECT count(*) - 1 FROM live_changes") == before
    connection.commit()
    migrate(database_url)


def test_events_that_run_while_0025_is_applied(database_url: str, connection: psycopg.Connection) -> None:
    """They still request a reduction; the downgrade cancels those with an increase. Streams send both."""
    migrate(database_url, "0018", "downgrade")
    connection.execute(RUNNING_EVENT, {"at": THREE})
    connection.commit()
    migrate(database_url)
    terms = (
        "SELECT status, direction, intervals, randomize_start_s, import_limit_kw, terms_revision FROM events"
    )
    assert rows(connection, terms) == [("active", "reduce", None, 0, None, 0)]
    told = "SELECT data->>'direction', data->>'intervals', data->>'export_limit_kw' FROM live_changes"
    for number, change in enumerate(("direction = 'increase'", "intervals = '[]'", "export_limit_kw = 2")):
        connection.execute("DELETE FROM live_changes")
        connection.execute(f"UPDATE events SET {change}".encode())
        expected = ("increase", "[]" if number else None, "2" if number > 1 else None)
        assert rows(connection, told) == [expected]
    connection.commit()
    migrate(database_url, "0023", "downgrade")
    assert rows(connection, "SELECT status, ended_at IS NOT NULL FROM events") == [("cancelled", True)]
    connection.execute("DELETE FROM live_changes")
    connection.execute("UPDATE events SET priority = 7")
    assert len(rows(connection, told)) == 1
    connection.commit()
    migrate(database_url)


BY_MINUTE = """
SELECT bucket, used_power_kw_sum, shed_power_kw_sum, samples, used_samples, shed_samples
FROM network_history WHERE resolution_s = 60 ORDER BY bucket
"""


@pytest.mark.parametrize("since", [None, THREE, THREE + timedelta(seconds=1)])
def test_history_by_minute_is_made_of_that_by_second(
    since: datetime | None, engine: Engine, store: Store, database_url: str, connection: psycopg.Connection
) -> None:
    """As if the lane had written it; and where seconds have been let go, there are no minutes."""
    instants = (THREE + timedelta(seconds=7 * number - 600) for number in range(200))
    store.write(batch_of(*(telemetry("a", at, 0.5 * at.second, shedPowerKw=0.1) for at in instants)))
    catch_up(engine)
    expected = [row for row in rows(connection, BY_MINUTE) if since is None or row[0] >= since]
    assert 10 < len(expected) <= 24
    if since is not None:
        connection.execute("DELETE FROM network_history WHERE resolution_s = 1 AND bucket < %s", [since])
        connection.execute("INSERT INTO horizons VALUES (1, %s)", [since])
    migrate(database_url, "0008", "downgrade")
    assert rows(connection, BY_MINUTE) == []
    migrate(database_url)
    assert_same_rows(rows(connection, BY_MINUTE), expected)
    kept = rows(connection, "SELECT since FROM horizons WHERE resolution_s = 60")
    assert kept == ([] if since is None else [(min(row[0] for row in expected),)])


def test_loads_that_people_set_are_not_removed(database_url: str, connection: psycopg.Connection) -> None:
    """0012 adds a column: what is set stays, and nothing has left the latest values."""
    migrate(database_url, "0009", "downgrade")
    connection.execute("INSERT INTO loads (ven_id, load_id, name, updated_at) VALUES ('a', 'l', 'N', now())")
    migrate(database_url)
    assert rows(connection, "SELECT ven_id, name, removed_ts FROM loads") == [("a", "N", None)]
    connection.execute("UPDATE loads SET removed_ts = now()")
    migrate(database_url, "0009", "downgrade")
    assert rows(connection, "SELECT ven_id, name FROM loads") == [("a", "N")]
    migrate(database_url)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Offline", "offline"),
        (" ONLINE\n", "online"),
        ("True", "online"),
        ("Charging", "charging"),
        (" ", " "),
    ],
)
def test_words_of_status_are_brought_along(
    old: str, new: str, engine: Engine, store: Store, database_url: str, connection: psycopg.Connection
) -> None:
    """As if they had been decoded as they are now; a redelivery is still none."""
    store.write(batch_of(status("a", THREE, "maintenance"), status("b", THREE, "offline")))
    catch_up(engine)
    migrate(database_url, "0009", "downgrade")
    for table in ("ven_statuses", "ven_snapshots", "vens"):
        connection.execute(f"UPDATE {table} SET status = %s WHERE ven_id = 'a'".encode(), [old])
    migrate(database_url)
    for table in ("ven_statuses", "ven_snapshots", "vens"):
        found = rows(connection, f"SELECT ven_id, status FROM {table} WHERE status IS NOT NULL ORDER BY 1")
        assert found[0] == ("a", new), table
    stored = store.write(batch_of(status("a", THREE, old))) if old.strip() else None
    assert stored is None or (stored.duplicates, stored.rejected) == (1, {})


def test_settlements_and_shares_from_before_0015(database_url: str, connection: psycopg.Connection) -> None:
    """What was asked is the last share over the event's hours; an event that was stopped is shorter."""
    migrate(database_url, "0014", "downgrade")
    start = datetime(2026, 7, 1, 16, tzinfo=UTC)
    hour, half = timedelta(hours=1), timedelta(minutes=30)
    event = (
        "INSERT INTO events (event_id, status, start_time, end_time, ended_at, requested_reduction_kw,"
        " notify_at, created_at) VALUES (%s, 'completed', %s, %s, %s, 6, %s, %s)"
    )
    for event_id, ended_at in (("whole", None), ("stopped", start + half)):
        connection.execute(event.encode(), [event_id, start, start + 2 * hour, ended_at, start, start])
        for table, key in (("event_settlements", ""), ("ven_settlements", "ven_id, ")):
            ven = "'a', " if key else ""
            connection.execute(
                f"INSERT INTO {table} ({key}event_id, revision, baseline, requested_kw, delivered_kw,"
                f" coverage_percent, days_used, settled_at)"
                f" VALUES ({ven}%s, 1, '10-of-10', 6, 4.5, 50, 10, now())".encode(),
                [event_id],
            )
    part = "INSERT INTO event_participations (ven_id, event_id, status, available_kw, requested_reduction_kw,"
    part += " notified_at, opted_out_at) VALUES (%s, 'whole', 'finished', 6, %s, %s, %s)"
    for ven_id, told_at, out_at in (
        ("a", start - hour, None),
        ("b", start - hour, start + half),
        ("c", None, None),
    ):
        connection.execute(part.encode(), [ven_id, 3.0, told_at, out_at])
    migrate(database_url)
    for table in ("event_settlements", "ven_settlements"):
        found = rows(connection, f"SELECT event_id, requested_kwh, delivered_kw FROM {table} ORDER BY 1")
        assert found == [("stopped", 3.0, 4.5), ("whole", 12.0, 4.5)]
    shares = (
        "SELECT ven_id, at, requested_reduction_kw FROM event_shares WHERE event_id = 'whole' ORDER BY 1, 2"
    )
    assert rows(connection, shares) == [
        ("a", start - hour, 3.0),
        ("b", start - hour, 3.0),
        ("b", start + half, 0.0),
    ]


def test_energy_by_wide_slots_is_computed_anew_without_them(
    engine: Engine, store: Store, database_url: str, connection: psycopg.Connection
) -> None:
    """0021 gives no VEN a width; taking it back makes what wide slots have spread stale."""
    store.write(batch_of(telemetry("a", THREE, 6.0), telemetry("b", THREE, 6.0)))
    with engine.begin() as changing:
        for statement in width_changes("a", THREE.replace(minute=0), 1_800, "people", THREE):
            changing.execute(statement)
    catch_up(engine)
    energy = "SELECT round(used_energy_kwh::numeric, 3)::float8 FROM network_energy ORDER BY bucket"
    assert rows(connection, energy) == [(1.0,), (0.5,), (0.5,), (0.5,), (0.5,), (0.5,)]
    migrate(database_url, "0018", "downgrade")
    migrate(database_url)
    assert value(connection, "SELECT count(*) FROM stale_slots") == 6
    catch_up(engine)
    assert rows(connection, energy) == [(1.0,)]


def test_what_openadr_has_enrolled_stays_without_openadr(
    database_url: str, connection: psycopg.Connection
) -> None:
    """0028 adds tables only; taken back, VENs and loads stay as they are."""
    migrate(database_url, "0018", "downgrade")
    connection.execute("INSERT INTO vens (ven_id, name, created_at) VALUES ('a', 'House', now())")
    connection.commit()
    migrate(database_url)
    connection.execute(
        "INSERT INTO openadr_vens (object_id, client_id, body, created_at, modified_at, ven_name, ven_id)"
        " VALUES ('v', 'home', '{}', now(), now(), 'a', 'a')"
    )
    connection.commit()
    assert rows(connection, "SELECT targets, is_registered_here FROM openadr_vens") == [([], False)]
    connection.commit()
    migrate(database_url, "0018", "downgrade")
    assert rows(connection, "SELECT ven_id, name FROM vens") == [("a", "House")]
    connection.commit()
    migrate(database_url)
    assert rows(connection, "SELECT count(*) FROM openadr_vens") == [(0,)]


def test_reports_from_before_stay_documents(database_url: str, connection: psycopg.Connection) -> None:
    """0033 adds an empty inbox; taken back, what waits in it goes, and stored reports stay."""
    migrate(database_url, "0030", "downgrade")
    connection.execute(
        "INSERT INTO openadr_reports (object_id, client_id, body, created_at, modified_at, program_id,"
        " event_id, client_name) VALUES ('r', 'home', '{}', now(), now(), 'p', 'e', 'home')"
    )
    connection.commit()
    migrate(database_url)
    assert rows(connection, "SELECT count(*) FROM report_inbox") == [(0,)]
    connection.execute(
        "INSERT INTO report_inbox (client_id, vens, body, received_at) VALUES ('home', '[]', '{}', now())"
    )
    connection.commit()
    migrate(database_url, "0018", "downgrade")
    migrate(database_url, "0030")
    migrate(database_url)
    assert rows(connection, "SELECT count(*) FROM report_inbox") == [(0,)]


def test_subscriptions_from_before_get_webhooks(database_url: str, connection: psycopg.Connection) -> None:
    """0034: one for each operation; taken back, subscriptions stay."""
    migrate(database_url, "0018", "downgrade")
    migrate(database_url, "0033")
    connection.execute(
        "INSERT INTO openadr_clients (client_id, role, scopes, digest, created_at)"
        " VALUES ('utility', 'bl', '{read_all}', '', now()), ('home', 'ven', '{read_targets}', '', now())"
    )
    for client_id in ("utility", "home"):
        body = (
            '{"objectOperations": [{"callbackUrl": "https://a.example", "bearerToken": "t"},'
            ' {"callbackUrl": "https://b.example"}]}'
        )
        connection.execute(
            "INSERT INTO openadr_subscriptions (object_id, client_id, body, created_at, modified_at,"
            " client_name, objects) VALUES (%s, %s, %s, now(), now(), 'x', '{EVENT}')",
            [f"s{client_id}", client_id, body],
        )
    connection.commit()
    migrate(database_url)
    reads = "SELECT client_id, reads_all FROM openadr_subscriptions ORDER BY client_id"
    assert rows(connection, reads) == [("home", False), ("utility", True)]
    assert rows(
        connection, "SELECT webhook_id, url, bearer_token, kinds FROM webhooks ORDER BY webhook_id LIMIT 2"
    ) == [
        ("openadr-shome-0", "https://a.example", "t", []),
        ("openadr-shome-1", "https://b.example", None, []),
    ]
    assert value(connection, "SELECT count(DISTINCT secret) FROM webhooks WHERE enabled") == 4
    connection.commit()
    migrate(database_url, "0018", "downgrade")
    migrate(database_url)
    assert value(connection, "SELECT count(*) FROM webhooks") == 0


def test_settlements_from_before_have_no_interval(database_url: str, connection: psycopg.Connection) -> None:
    """0026 adds their ends; taking it back loses these and the temperatures, and nothing else."""
    migrate(database_url, "0018", "downgrade")
    connection.execute(
        "INSERT INTO event_settlements (event_id, revision, baseline, requested_kw, delivered_kw,"
        " coverage_percent, days_used, settled_at) VALUES ('e', 1, '10-of-10', 4, 3, 100, 10, now())"
    )
    connection.commit()
    migrate(database_url)
    figures = "SELECT delivered_kw, delivered_low_kw, delivered_high_kw FROM event_settlements"
    assert rows(connection, figures) == [(3.0, None, None)]
    connection.execute("UPDATE event_settlements SET delivered_low_kw = 2, delivered_high_kw = 4")
    connection.execute("INSERT INTO temperatures VALUES ('', now(), 20, now())")
    connection.commit()
    migrate(database_url, "0025", "downgrade")
    migrate(database_url)
    assert rows(connection, figures) == [(3.0, None, None)]
    assert value(connection, "SELECT count(*) FROM temperatures") == 0


def test_half_hours_that_are_there_are_marked_for_the_forecast(
    database_url: str, connection: psycopg.Connection
) -> None:
    """0027 marks those that similar days may be of, for the job to sum."""
    migrate(database_url, "0018", "downgrade")
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    energy = "INSERT INTO network_energy VALUES (%s, 1, 0)"
    for ago in (timedelta(minutes=55), timedelta(minutes=35), timedelta(days=40), timedelta(days=60)):
        connection.execute(energy, [hour - ago])
    connection.commit()
    migrate(database_url)
    expected = [hour - timedelta(days=40), hour - timedelta(hours=1)]
    assert rows(connection, "SELECT bucket FROM stale_half_hours ORDER BY 1") == [(at,) for at in expected]
    connection.execute("INSERT INTO load_type_half_hours VALUES ('ev', %s, 1, 1, 0, 0)", [hour])
    connection.commit()
    migrate(database_url, "0018", "downgrade")
    assert rows(connection, "SELECT count(*) FROM network_energy") == [(4,)]
    connection.commit()
    migrate(database_url)
    assert rows(connection, "SELECT count(*) FROM load_type_half_hours") == [(0,)]


def alembic(database_url: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "DATABASE_URL": database_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_alembic_finds_nothing_to_do(database_url: str, connection: psycopg.Connection) -> None:
    connection.execute(ENSURE_PARTITIONS, [[date(2024, 7, 10)]])
    check = alembic(database_url, "check")
    told, _ = check.communicate(timeout=60)
    assert check.returncode == 0, told


def test_two_migrators_at_once(empty_database_url: str) -> None:
    migrators = [alembic(empty_database_url, "upgrade", "head") for _ in range(2)]
    told = [migrator.communicate(timeout=60)[0] for migrator in migrators]
    assert [migrator.returncode for migrator in migrators] == [0, 0], told
    with connect(empty_database_url, "tests") as connection:
        assert value(connection, "SELECT count(*) FROM alembic_version") == 1


def test_the_database_has_the_tables_of_the_code(engine: Engine) -> None:
    found = inspect(engine)
    partitions = {f"{table.name}_{name}" for table in PARTITIONED for name in ("before_2020", "default")}
    theirs = {name for name in found.get_table_names() if name.startswith("invoices")}
    assert len(theirs) == 5
    assert set(found.get_table_names()) - theirs == {*metadata.tables, *partitions, "alembic_version"}
    for table in metadata.sorted_tables:
        assert_same_table(found, table)


def assert_same_table(found: Inspector, table: Table) -> None:
    dialect: Any = postgresql.dialect()  # type: ignore[no-untyped-call]
    assert {
        (column["name"], column["type"].compile(dialect), column["nullable"])
        for column in found.get_columns(table.name)
    } == {(column.name, column.type.compile(dialect), column.nullable) for column in table.c}, table
    assert found.get_pk_constraint(table.name)["constrained_columns"] == [c.name for c in table.primary_key]
    assert {index["name"] for index in found.get_indexes(table.name)} == {i.name for i in table.indexes}


def test_partitions_are_made_once(connection: psycopg.Connection) -> None:
    days = [date(2024, 7, 10), date(2024, 7, 11), date(2024, 7, 10)]
    before = len(rows(connection, PARTITIONS))
    for _ in range(2):
        connection.execute(ENSURE_PARTITIONS, [days])
        assert len(rows(connection, PARTITIONS)) == before + 2 * len(PARTITIONED)
    connection.execute(ENSURE_PARTITIONS, [[]])


def test_partitions_are_made_by_many_at_once(database_url: str, connection: psycopg.Connection) -> None:
    days = [date(2024, 7, 1) + timedelta(days=ahead) for ahead in range(6)]

    def make(first: int) -> None:
        with connect(database_url, "tests") as own:
            own.execute(ENSURE_PARTITIONS, [days[first:] + days[:first]])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(make, range(6)))
    made = [name for [name] in rows(connection, PARTITIONS) if name.startswith("ven_telemetry_p")]
    assert made == [f"ven_telemetry_p{day:%Y%m%d}" for day in days]


def test_days_before_2020_share_the_archive(connection: psycopg.Connection) -> None:
    before = rows(connection, PARTITIONS)
    connection.execute(ENSURE_PARTITIONS, [[date(2019, 12, 31), date(1970, 1, 1), date(1, 1, 1)]])
    assert rows(connection, PARTITIONS) == before


@pytest.mark.parametrize(
    "at", ["2000-01-01", "2019-12-31T23:59:59.999999", "2020-01-01", "2024-02-29T23:59:59"]
)
def test_a_row_of_any_age_is_accepted(at: str, database_url: str, connection: psycopg.Connection) -> None:
    ts = datetime.fromisoformat(at).replace(tzinfo=UTC)
    messages = telemetry("a", ts, loads=[{"id": "l"}]), description("a", ts, {"id": "l"})
    with connect(database_url, "ingest") as own:
        stored = Store(own, "tests").write(batch_of(*messages))
    assert (stored.telemetry_rows, stored.sample_rows, stored.description_rows) == (1, 1, 1)
    partition = "before_2020" if ts.year < 2020 else "default"
    for table in PARTITIONED:
        query = f"SELECT ts, tableoid::regclass::text FROM {table.name}"
        assert rows(connection, query) == [(ts, f"{table.name}_{partition}")]


def test_a_partition_holds_a_day_of_utc(connection: psycopg.Connection) -> None:
    """Whatever zone the session is in that makes it."""
    connection.execute("SET timezone = 'Pacific/Kiritimati'")
    connection.execute(ENSURE_PARTITIONS, [[THREE.date()]])
    connection.execute("SET timezone = 'UTC'")
    bounds = "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'ven_telemetry_p20240710'"
    assert value(connection, bounds) == (
        "FOR VALUES FROM ('2024-07-10 00:00:00+00') TO ('2024-07-11 00:00:00+00')"
    )


DAYS_OF_2024 = (
    "SELECT ensure_raw_partitions(ARRAY(SELECT date '2023-12-20' + n FROM generate_series(0, 69, 3) n))"
)
OLD_BATCH = """
WITH batch AS (
    INSERT INTO ingest_batches (worker, received_at, messages, telemetry_rows, sample_rows, description_rows,
        status_rows, first_ts, last_ts)
    SELECT 'old', now(), 3, 3, 3, 0, 0, '2019-05-01 10:00Z', '2024-02-24 10:00Z' RETURNING batch_id
), report AS (
    INSERT INTO ven_telemetry (ven_id, ts, used_power_kw, shed_power_kw, payload, received_at, batch_id)
    SELECT 'a', ts, 2, 0, '{}', now(), batch_id
    FROM batch, unnest('{2019-05-01 10:00Z,2023-12-20 10:00Z,2024-02-24 10:00Z}'::timestamptz[]) ts
    RETURNING ven_id, ts, batch_id
), sample AS (
    INSERT INTO ven_load_samples (ven_id, load_id, ts, used_power_kw, batch_id)
    SELECT ven_id, 'l', ts, 2, batch_id FROM report
)
INSERT INTO pending_batches SELECT lane, batch_id FROM batch, unnest(ARRAY['snapshot', 'history']) lane
"""
EACH_ROW = "SELECT ven_id, ts, batch_id FROM ven_telemetry ORDER BY ts"


def test_days_of_an_older_version_are_taken_over(
    database_url: str, engine: Engine, connection: psycopg.Connection
) -> None:
    """With batches that were pending, partitions with gaps between them, and back again."""
    migrate(database_url, "0009", "downgrade")
    assert value(connection, "SELECT to_regclass('ven_telemetry_default')") is None
    connection.execute(DAYS_OF_2024)
    connection.execute("INSERT INTO vens (ven_id, created_at) VALUES ('a', now())")
    connection.execute(OLD_BATCH)
    before = rows(connection, EACH_ROW)
    migrate(database_url)
    with connect(database_url, "ingest") as own:
        Store(own, "tests").write(batch_of(telemetry("a", THREE - timedelta(days=900), loads=[{"id": "l"}])))
    catch_up(engine)
    counted = "SELECT sum(samples) FROM ven_history WHERE resolution_s = 300"
    assert value(connection, counted) == len(before) + 1
    while arrange(engine):
        pass
    found = rows(connection, EACH_ROW)
    assert [row for row in found if row in before] == before
    assert len(found) == len(before) + 1
    assert len(rows(connection, PARTITIONS)) <= 3 * 30
    assert value(connection, "SELECT count(*) FROM ven_telemetry_default") == 0
    migrate(database_url, "0009", "downgrade")
    assert rows(connection, EACH_ROW) == found
    where = "SELECT ts, tableoid::regclass::text FROM ven_telemetry"
    assert {(f"{ts:%Y%m%d}", name) for ts, name in rows(connection, where)} == {
        ("20190501", "ven_telemetry_before_2020"),
        *((day, f"ven_telemetry_p{day}") for day in ("20220122", "20231220", "20240224")),
    }
    connection.execute(DAYS_OF_2024)
    migrate(database_url)
    assert rows(connection, EACH_ROW) == found


def arrange(engine: Engine) -> int:
    with engine.begin() as connection:
        return arrange_partitions(connection, datetime.now(UTC))


OPEN_COMMANDS = """
INSERT INTO commands (ven_id, command_id, op, data, status, created_at, next_attempt_at, sent_at, expires_at)
SELECT 'a', status, 'ping', '{}', status, now(), now(), sent_at, now() + interval '1 hour'
FROM (VALUES ('pending', NULL), ('sent', %(sent_at)s), ('acknowledged', %(sent_at)s)) AS v (status, sent_at)
"""


def test_commands_that_were_sent_before_0014_may_still_be_queued(
    database_url: str, connection: psycopg.Connection
) -> None:
    migrate(database_url, "0009", "downgrade")
    connection.execute(OPEN_COMMANDS, {"sent_at": THREE})
    migrate(database_url)
    found = dict(rows(connection, "SELECT status, queued_since FROM commands"))
    assert found == {"pending": None, "sent": THREE, "acknowledged": None}
    assert rows(connection, "SELECT DISTINCT interruptions FROM commands") == [(0,)]
    migrate(database_url, "0009", "downgrade")
    assert sorted(rows(connection, "SELECT status FROM commands")) == [
        ("acknowledged",),
        ("pending",),
        ("sent",),
    ]
