"""The server that tests use: an embedded one, or the one that `TEST_DATABASE_URL` names.

On a Citus coordinator each database is made on all nodes, and our growing tables are distributed.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

NODES = """
SELECT nodename, nodeport FROM pg_dist_node WHERE isactive AND noderole = 'primary' ORDER BY groupid
"""
"""The coordinator first."""

MAINTENANCE = "postgres"
ATTEMPTS = 10
"""The server waits five seconds in each for sessions to end."""


class DatabaseServer(Protocol):
    def url(self, database: str) -> str: ...

    def ensure_database(self, database: str) -> None: ...


class GivenServer:
    """A server that others may use, too: the names of our databases begin with a prefix of this process."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._prefix = f"gridgate_tests_{os.getpid()}_"
        self.nodes = _nodes(url)

    def url(self, database: str) -> str:
        """The URL of one of our databases; of `postgres` the one that was given."""
        if database == MAINTENANCE:
            return self._url
        return _with_database(self._url, self._prefix + database.removeprefix(self._prefix))

    def ensure_database(self, database: str) -> None:
        """Create a database on this node, unless there is one of this name."""
        name = _name(self, database)
        with psycopg.connect(self._url, autocommit=True) as admin:
            exists = admin.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone()
            if exists is None:
                admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def drop_all(self) -> None:
        """Drop every database of this process."""
        with psycopg.connect(self._url) as admin:
            ours = admin.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [self._prefix]
            )
            names = [name for [name] in ours]
        for name in names:
            _drop(self, name)


@contextmanager
def cloned_database(server: DatabaseServer, database: str, template: str) -> Iterator[str]:
    """The URL of a database that is a copy of a template, as long as the context lasts.

    Nobody may be connected to the template.
    """
    name, source = _name(server, database), _name(server, template)
    clone = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
    for url in _nodes_of(server):
        with psycopg.connect(url, autocommit=True) as admin:
            if is_citus(server):
                _alone(admin, source, clone.format(sql.Identifier(name), sql.Identifier(source)))
            else:
                admin.execute(clone.format(sql.Identifier(name), sql.Identifier(source)))
    yield server.url(database)
    _drop(server, name)


def _drop(server: DatabaseServer, name: str) -> None:
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    for url in _nodes_of(server):
        with psycopg.connect(url, autocommit=True) as admin:
            if is_citus(server):
                _alone(admin, name, drop)
            else:
                admin.execute(drop)


def _alone(admin: psycopg.Connection, database: str, statement: sql.Composed) -> None:
    """Run a statement once no session is connected to a database: Citus connects by itself."""
    if admin.execute("SELECT FROM pg_database WHERE datname = %s", [database]).fetchone():
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(database)))
    for attempt in range(ATTEMPTS):
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database])
        try:
            admin.execute(statement)
        except psycopg.errors.ObjectInUse:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return


def is_citus(server: DatabaseServer) -> bool:
    return len(_nodes_of(server)) > 1


def make_cluster(server: DatabaseServer, database: str) -> None:
    """Create a database on all nodes, and have them form a cluster in it."""
    nodes, name = _nodes_of(server), _name(server, database)
    for url in nodes:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        with psycopg.connect(_with_database(url, name), autocommit=True) as node:
            node.execute("CREATE EXTENSION citus")
    coordinator, *workers = map(_host_and_port, nodes)
    with psycopg.connect(server.url(database), autocommit=True) as node:
        node.execute("SELECT citus_set_coordinator_host(%s, %s::int)", coordinator)
        for worker in workers:
            node.execute("SELECT citus_add_node(%s, %s::int)", worker)


def _nodes_of(server: DatabaseServer) -> Sequence[str]:
    return server.nodes if isinstance(server, GivenServer) else [server.url(MAINTENANCE)]


def _name(server: DatabaseServer, database: str) -> str:
    return str(conninfo_to_dict(server.url(database))["dbname"])


def _nodes(url: str) -> list[str]:
    """The URLs of all nodes, of which the server is the first."""
    with psycopg.connect(url) as connection:
        if connection.execute("SELECT FROM pg_extension WHERE extname = 'citus'").fetchone() is None:
            return [url]
        found = connection.execute(NODES).fetchall()
    user, database = urlsplit(url).username, conninfo_to_dict(url)["dbname"]
    return [f"postgresql://{user}@{host}:{port}/{database}" for host, port in found]


def _host_and_port(url: str) -> tuple[str, str]:
    parts = conninfo_to_dict(url)
    return str(parts["host"]), str(parts["port"])


def _with_database(url: str, database: str) -> str:
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}/{database}{query}"
