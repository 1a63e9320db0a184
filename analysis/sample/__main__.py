"""`python -m analysis.sample`: a database with the sample in it, until Ctrl-C or while a command runs."""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
from rich.console import Console
from rich.progress import Progress

from analysis.sample.loading import Loader, moments
from local.data_dir import locked
from local.environment import MIGRATIONS, REPOSITORY, inherited_environment
from local.options import data_dir_of
from local.postgres import EmbeddedPostgres
from local.service import StartError
from schemas.db.connections import SCHEMA_REVISION
from schemas.programs.command_line import program_parser
from schemas.programs.logs import configure_logs

VERSION = 1
"""Increment it with every change of the sample: databases of older versions are not reused."""

DATABASE = f"sample_{VERSION}_{SCHEMA_REVISION}"
LOADING = "sample_loading"


def main() -> int:
    options = _parser().parse_args()
    configure_logs("warning", "text")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with locked(options.data_dir), EmbeddedPostgres(options.data_dir, durable=False) as postgres:
        _ensure_loaded(postgres, Console(stderr=True, highlight=False))
        url = postgres.url(DATABASE)
        if options.command:
            return subprocess.run(
                options.command, env={**os.environ, "DATABASE_URL": url}, check=False
            ).returncode
        print(f"export DATABASE_URL='{url}'", flush=True)
        signal.pause()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = program_parser(
        "analysis.sample",
        "A database with two weeks of a simulated fleet, until Ctrl-C or while a command runs.",
        [],
        ["", "jupyter lab notebooks"],
    )
    default = data_dir_of("gridgate-sample")
    parser.add_argument(
        "--data-dir", type=Path, metavar="D", default=default, help="data and logs (%(default)s)"
    )
    parser.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        metavar="COMMAND",
        help="run this with DATABASE_URL set, then stop",
    )
    return parser


def _ensure_loaded(postgres: EmbeddedPostgres, console: Console) -> None:
    """Load the sample unless it is there. A database gets its final name when it is complete."""
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        if admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            return
        admin.execute(f"DROP DATABASE IF EXISTS {LOADING} WITH (FORCE)")
        postgres.ensure_database(LOADING)
        migrate(postgres.url(LOADING))
        with Progress(console=console) as progress:
            task = progress.add_task("loading the sample", total=len(list(moments())))
            Loader(postgres.url(LOADING)).load(lambda _moment: progress.advance(task))
        admin.execute(f"ALTER DATABASE {LOADING} RENAME TO {DATABASE}")


def migrate(database_url: str) -> None:
    environment = inherited_environment(DATABASE_URL=database_url)
    command = [sys.executable, "-m", "alembic", "-c", str(MIGRATIONS), "upgrade", "head"]
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(0)
    except StartError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
