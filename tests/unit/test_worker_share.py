"""What workers of one server may open: in all not much more than a single one."""

import pytest

from serving.db.worker_share import share_of

DEFAULT_THREADS = 8
OF_OTHERS = 30
"""Connections of ingest with four writers (8), and of jobs (21), rounded up."""

MAX_CONNECTIONS, RESERVED = 100, 3
"""PostgreSQL's defaults: those reserved for superusers are not for us."""


@pytest.mark.parametrize(("workers", "connections"), [(1, 27), (2, 32), (3, 45), (4, 60)])
def test_default_workers_fit_postgresql_by_default(workers: int, connections: int) -> None:
    assert workers * share_of(DEFAULT_THREADS, workers).connections == connections
    assert connections + OF_OTHERS <= MAX_CONNECTIONS - RESERVED


@pytest.mark.parametrize(
    ("threads", "workers", "requests"), [(8, 1, 8), (64, 4, 16), (9, 2, 5), (8, 4, 4), (2, 4, 2), (1, 2, 1)]
)
def test_requests_are_divided_down_to_a_floor(threads: int, workers: int, requests: int) -> None:
    assert share_of(threads, workers).requests == requests
