"""What each of a server's worker processes may use of what the server may use."""

from math import ceil

from msgspec import Struct

SPARE_CONNECTIONS = 10
"""Connections beyond one for each request: for streamed responses, and for background work."""

LEAST_SPARE = 4
SHORT_QUERIES = 3
"""Most concurrent short queries of a pool; more would only compete for processors."""

LEAST_SHORT = 2
LEAST_REQUESTS = 4
SHORT_POOLS = 2
LISTENERS = 3
"""Connections that listen or watch."""


class WorkerShare(Struct, frozen=True):
    """Most concurrent requests and connections of one worker."""

    requests: int
    spare_connections: int
    short_queries: int

    @property
    def pool_size(self) -> int:
        """Connections of the pool of a database's engine."""
        return self.requests + self.spare_connections

    @property
    def connections(self) -> int:
        """Most connections to one database, of all pools and listeners."""
        return self.pool_size + SHORT_POOLS * self.short_queries + LISTENERS


def share_of(requests: int, workers: int) -> WorkerShare:
    """Return the share of one of `workers`, of a server with that many concurrent `requests`.

    A worker has a floor, so that a few slow requests do not hold up all others of its connections.
    """
    return WorkerShare(
        max(ceil(requests / workers), min(requests, LEAST_REQUESTS)),
        max(ceil(SPARE_CONNECTIONS / workers), LEAST_SPARE),
        max(ceil(SHORT_QUERIES / workers), LEAST_SHORT),
    )
