"""Counts and sums of the database's rows, and checks of its consistency."""

from collections.abc import Iterator

import psycopg

from tests.faults.sums import Sums

_DISAGREEMENTS = {
    "batches whose row in the ledger counts other telemetry than they have": """
        SELECT count(*) FROM ingest_batches
        FULL JOIN (SELECT batch_id, count(*) AS n FROM ven_telemetry GROUP BY 1) AS stored USING (batch_id)
        WHERE telemetry_rows IS DISTINCT FROM coalesce(n, 0)""",
    "batches whose row in the ledger counts other samples than they have": """
        SELECT count(*) FROM ingest_batches
        FULL JOIN (SELECT batch_id, count(*) AS n FROM ven_load_samples GROUP BY 1) AS stored USING (batch_id)
        WHERE sample_rows IS DISTINCT FROM coalesce(n, 0)""",
    "samples without the telemetry of their batch": """
        SELECT count(*) FROM ven_load_samples
        WHERE NOT EXISTS (SELECT FROM ven_telemetry AS t WHERE t.ven_id = ven_load_samples.ven_id
                          AND t.ts = ven_load_samples.ts AND t.batch_id = ven_load_samples.batch_id)""",
    "batches that are not pending for both lanes": """
        SELECT count(*) FROM ingest_batches
        FULL JOIN (SELECT batch_id, count(*) AS n FROM pending_batches GROUP BY 1) AS pending USING (batch_id)
        WHERE messages IS NULL OR n IS DISTINCT FROM 2""",
    "VENs of telemetry that are not registered": """
        SELECT count(DISTINCT ven_id) FROM ven_telemetry WHERE ven_id NOT IN (SELECT ven_id FROM vens)""",
}
_STORED = "SELECT coalesce(sum(telemetry_rows), 0) FROM ingest_batches"
_VENS = "SELECT ven_id, count(*), sum(used_power_kw) FROM ven_telemetry GROUP BY 1"
_LOADS = "SELECT ven_id, load_id, count(*), sum(used_power_kw) FROM ven_load_samples GROUP BY 1, 2"


class Tally:
    """Queries one database."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._connection: psycopg.Connection | None = None

    def stored(self) -> int:
        """Telemetry messages stored so far; -1 while the database is away.

        It is polled, so it keeps its connection: a new one costs the server more than the query.
        """
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=5)
            row = self._connection.execute(_STORED).fetchone()
        except psycopg.OperationalError:
            self.close()
            return -1
        return int(row[0]) if row else 0

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def sums(self) -> Sums:
        with psycopg.connect(self._url) as connection:
            vens = {ven_id: (n, kw) for ven_id, n, kw in connection.execute(_VENS)}
            loads = {(ven_id, load_id): (n, kw) for ven_id, load_id, n, kw in connection.execute(_LOADS)}
        return Sums(vens, loads)

    def refused(self) -> int:
        """How many messages were refused, a redelivery counted each time."""
        with psycopg.connect(self._url) as connection:
            [count] = connection.execute("SELECT count(*) FROM rejected_messages").fetchone() or (0,)
        return int(count)

    def rejected(self) -> set[tuple[str, bytes]]:
        """Reasons and payloads of refused messages, as a set: without a key, a redelivery is stored twice."""
        with psycopg.connect(self._url) as connection:
            return {
                (reason, bytes(payload))
                for reason, payload in connection.execute("SELECT reason, payload FROM rejected_messages")
            }

    def disagreements(self) -> Iterator[str]:
        """A line for each inconsistency within the database."""
        with psycopg.connect(self._url) as connection:
            for what, query in _DISAGREEMENTS.items():
                row = connection.execute(query.encode()).fetchone()
                if row is None or row[0]:
                    yield f"{row and row[0]} {what}"
