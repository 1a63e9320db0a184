"""What a message takes while it is hot: bytes on disk and CPU of COPY, of the raw tables and of thinner ones.

Reports have 1.2 kB and eight loads, of ten VENs on one day; other numbers do not change bytes a message. Each
variant has the keys and indexes of the raw tables, and gets the same rows in the order of their arrival.
"""

from datetime import timedelta
from itertools import islice

import psycopg
import pytest
from msgspec import Struct

from ingest.storing.batch import Batch
from ingest.storing.queries import ENSURE_PARTITIONS
from ingest.storing.store import Store
from schemas.db.connections import connect
from tests.bench.conftest import MakeDatabase
from tests.bench.cost import server_cpu_s
from tests.bench.test_bench_archive import DAY, blocks, noisy
from tests.integration.published import value

pytestmark = pytest.mark.bench

REPORTS = 20_000
TELEMETRY = (
    "ven_id, ts, used_power_kw, shed_power_kw, requested_reduction_kw, event_id, baseline_power_kw,"
    " battery_soc, payload, received_at, batch_id"
)
SAMPLES = (
    "ven_id, load_id, ts, load_type, name, used_power_kw, shed_power_kw, capacity_kw, shed_capability_kw,"
    " enabled, priority, metadata, batch_id"
)


class _Table(Struct, frozen=True):
    """Bytes a message of a table and of its indexes, these when built again; CPU of COPY, microseconds."""

    heap_b: float
    key_b: float
    reindexed_b: float
    cpu_us: float


class _Measured(Struct, frozen=True):
    tables: list[_Table]

    @property
    def all_b(self) -> float:
        return sum(table.heap_b + table.key_b for table in self.tables)

    @property
    def reindexed_b(self) -> float:
        return sum(table.heap_b + table.reindexed_b for table in self.tables)

    @property
    def cpu_us(self) -> float:
        return sum(table.cpu_us for table in self.tables)


class Variant(Struct, frozen=True):
    """Replacements in the columns of both tables."""

    name: str
    telemetry: dict[str, str] = {}
    samples: dict[str, str] = {}
    has_samples: bool = True


NUMBER = {
    "ven_id": "right(ven_id, 4)::int AS ven_id",
    "load_id": "(hashtext(load_id) % 1000) AS load_id",
}
OF_REGISTRY = dict.fromkeys(("load_type, name, ", "capacity_kw, ", "enabled, ", "priority, metadata, "), "")
ARRAYS = ", ".join(
    f"(SELECT array_agg({column}) FROM ven_load_samples s WHERE (ven_id, ts) = (t.ven_id, t.ts)) AS {column}s"
    for column in ("used_power_kw", "shed_capability_kw")
)
VARIANTS = (
    Variant("as it is"),
    Variant("payload without its loads", {"payload,": "payload::jsonb - 'loads' AS payload,"}),
    Variant("no payload", {"payload, ": ""}),
    Variant("samples without what the registry knows", samples=OF_REGISTRY),
    Variant("numbers for the ids of VENs and loads", NUMBER, NUMBER),
    Variant(
        "payload without its loads, thin samples",
        {"payload,": "payload::jsonb - 'loads' AS payload,"},
        OF_REGISTRY,
    ),
    Variant("all of these, no payload", {"payload, ": "", **NUMBER}, {**OF_REGISTRY, **NUMBER}),
    Variant("one row a report, loads in arrays, no payload", {"payload,": ARRAYS + ","}, has_samples=False),
)


def test_bytes_and_cycles_of_a_message(make_database: MakeDatabase) -> None:
    with connect(make_database(), "bench") as connection:
        _store(connection)
        titles = ("telemetry", "its key", "samples", "their key", "reindexed", "in all", "CPU of COPY, us")
        print(f"\n{'bytes a message':48}", *(f"{title:>15}" for title in titles))
        measured = [_measured(connection, *each) for each in enumerate(VARIANTS)]
        for variant, each in zip(VARIANTS, measured, strict=True):
            figures = [figure for table in each.tables for figure in (table.heap_b, table.key_b)]
            print(
                f"{variant.name:48}",
                *(f"{figure:15,.0f}" for figure in [*figures, *[0] * (4 - len(figures)), each.reindexed_b]),
                f"{each.all_b:8,.0f} ({each.all_b / measured[0].all_b:.2f})",
                f"{each.cpu_us:8,.1f} ({each.cpu_us / measured[0].cpu_us:.2f})",
            )


def _store(connection: psycopg.Connection) -> None:
    connection.execute(ENSURE_PARTITIONS, [[DAY.date()]])
    store = Store(connection, "bench")
    for block in blocks(islice(noisy(), REPORTS)):
        store.write(Batch.of(block, timedelta(days=4_000)))
    connection.execute("VACUUM ANALYZE")
    assert value(connection, "SELECT count(*) FROM ven_telemetry") == REPORTS


def _measured(connection: psycopg.Connection, number: int, variant: Variant) -> _Measured:
    columns = _replaced(TELEMETRY, variant.telemetry)
    tables = [_copied(connection, f"telemetry_{number}", columns, "ven_telemetry t", "ven_id, ts")]
    if variant.has_samples:
        columns = _replaced(SAMPLES, variant.samples)
        tables += [
            _copied(connection, f"samples_{number}", columns, "ven_load_samples", "ven_id, load_id, ts")
        ]
    return _Measured(tables)


def _replaced(columns: str, replacements: dict[str, str]) -> str:
    for old, new in replacements.items():
        columns = columns.replace(old, new, 1)
    return columns


def _copied(connection: psycopg.Connection, name: str, columns: str, table: str, key: str) -> _Table:
    select = f"SELECT {columns} FROM {table}"
    connection.execute(f"CREATE TABLE {name} AS {select} WITH NO DATA".encode())
    connection.execute(f"ALTER TABLE {name} ADD PRIMARY KEY ({key})".encode())
    for column in ("batch_id", "ts"):
        connection.execute(f"CREATE INDEX ON {name} USING brin ({column})".encode())
    content = _content(connection, f"COPY ({select} ORDER BY batch_id, {key}) TO STDOUT")
    before_s = server_cpu_s(connection.info.backend_pid)
    with connection.cursor().copy(f"COPY {name} FROM STDIN".encode()) as copy:
        copy.write(content)
    cpu_s = server_cpu_s(connection.info.backend_pid) - before_s
    heap, key_b = _size(connection, name, "table"), _size(connection, name, "indexes")
    connection.execute(f"REINDEX TABLE {name}".encode())
    return _Table(heap, key_b, _size(connection, name, "indexes"), 1e6 * cpu_s / REPORTS)


def _size(connection: psycopg.Connection, name: str, kind: str) -> float:
    size: int = value(connection, f"SELECT pg_{kind}_size('{name}')")
    return size / REPORTS


def _content(connection: psycopg.Connection, statement: str) -> bytes:
    with connection.cursor().copy(statement.encode()) as copy:
        return b"".join(bytes(block) for block in copy)
