"""Packs of settlements: what one was made of, as files, of which it is made again to the byte."""

import hashlib
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import msgspec
import polars as pl
import psycopg
import pytest
from sqlalchemy import Engine

from ingest.storing.store import Store
from jobs.events.packs import PackError, remade, write_pack
from jobs.running.runner import Runner
from schemas.times.slots import width_changes
from tests.conftest import REPOSITORY
from tests.integration.published import rows
from tests.integration.test_settlement import (
    DAY,
    END,
    HOUR,
    LANES,
    SETTLED_AT,
    START,
    make_event,
    publish,
    report,
    sixteen_days,
    steady,
    take_part,
)
from tests.integration.test_weather import MAXIMA, record

pytestmark = pytest.mark.thorough

SETTINGS = {"EVENT_BASELINES": "all", "HOLIDAYS": "US", "TIME_ZONE": "America/New_York"}


def run_settle(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return subprocess.run(
        [sys.executable, "-m", "jobs", "settle", *arguments],
        cwd=REPOSITORY,
        env=own | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def pack(store: Store, engine: Engine, database_url: str, tmp_path: Path) -> Path:
    """Homes of each kind: measured, with half-hourly slots, new, opted out; one was in another event."""
    start, end = START + timedelta(minutes=2), END - timedelta(minutes=1)
    for number, ven_id in enumerate(("a", "slow", "out")):
        sixteen_days(store, ven_id, used_kw=3.0 + number / 3, shed_kw=2.0)
    publish(store, [report("a", START + timedelta(seconds=s), s / 50, START + HOUR) for s in (125, 250)])
    publish(store, steady("new", 1.0, START - HOUR, END))
    make_event(engine, start_time=start, end_time=end, ended_at=end)
    make_event(engine, event_id="yesterday", start_time=START - DAY, end_time=END - DAY, ended_at=END - DAY)
    take_part(engine, "a", "slow", "new")
    take_part(engine, "out", status="opted_out", opted_out_at=START - HOUR)
    take_part(engine, "a", event_id="yesterday")
    with engine.begin() as connection:
        for statement in width_changes("slow", START - 30 * DAY, 1_800, "people", START):
            connection.execute(statement)
    record(engine, "", MAXIMA, START)
    Runner(engine, lambda: SETTLED_AT).catch_up(LANES)
    folder = tmp_path / "deep" / "pack"
    made = run_settle("e", "--pack", str(folder), DATABASE_URL=database_url, **SETTINGS)
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[-1] == f"SHA-256 of the pack: {digest_of(folder)}"
    return folder


def digest_of(folder: Path) -> str:
    return (folder / "pack.sha256").read_text().split()[0]


def test_a_pack_makes_the_same_bytes_again(
    pack: Path, tmp_path: Path, connection: psycopg.Connection
) -> None:
    """Without a database; and its figures are those of the revision."""
    again = run_settle("--from", str(pack), "--pack", str(tmp_path / "again"))
    assert (again.returncode, digest_of(pack) in again.stdout) == (0, True), again.stderr
    files = sorted(path.name for path in pack.iterdir())
    assert files == sorted(path.name for path in (tmp_path / "again").iterdir())
    assert len(files) == 12
    assert [
        name for name in files if (pack / name).read_bytes() != (tmp_path / "again" / name).read_bytes()
    ] == []
    assert run_settle("--from", str(pack)).returncode == 0
    vens = pl.read_parquet(pack / "vens.parquet")
    columns = "ven_id, baseline, delivered_kw, delivered_low_kw, delivered_high_kw, rrmse_percent, note"
    revision = "(SELECT max(revision) FROM ven_settlements)"
    stored = rows(connection, f"SELECT {columns} FROM ven_settlements WHERE revision = {revision}")
    figures = {row[:2]: row[2:] for row in vens.select(columns.split(", ")).iter_rows()}
    assert figures == {
        row[:2]: tuple(
            pytest.approx(value, abs=1e-8) if isinstance(value, float) else value for value in row[2:]
        )
        for row in stored
    }
    contents = msgspec.json.decode((pack / "pack.json").read_bytes())
    assert contents["revision"] == 1
    assert "2024-07-04" in contents["parameters"]["rules"]["holidays"].split(",")
    for name in ("participants", "usage", "samples", "other_events", "wide_slots", "regions", "temperatures"):
        assert pl.read_parquet(pack / f"{name}.parquet").height > 0, name


def refusal(folder: Path) -> str:
    with pytest.raises(PackError) as error:
        remade(folder)
    return str(error.value)


def test_what_has_changed_is_refused_by_its_digest(pack: Path, tmp_path: Path) -> None:
    """Of the settlement itself only the digest counts: it is made again."""
    for name in ("usage.parquet", "samples.parquet", "pack.json"):
        folder = tmp_path / f"changed-{name}"
        shutil.copytree(pack, folder)
        content = (pack / name).read_bytes()
        (folder / name).write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        assert f"{name} has changed: its SHA-256 is" in refusal(folder)
    told = run_settle("--from", str(folder))
    assert (told.returncode, "pack.json has changed" in told.stderr) == (1, True)
    (pack / "shares.parquet").rename(tmp_path / "away")
    assert "shares.parquet: No such file" in refusal(pack)
    (tmp_path / "away").rename(pack / "shares.parquet")
    (pack / "vens.parquet").unlink()
    made = remade(pack)
    assert made.digest == digest_of(pack)
    with pytest.raises(PackError, match="is not empty"):
        write_pack(made, pack)
    forged = msgspec.json.decode((pack / "pack.json").read_bytes())
    forged["settlement"]["vens.parquet"] = "0" * 64
    forged["versions"]["polars"] = "0.1"
    (pack / "pack.json").write_bytes(msgspec.json.encode(forged))
    digest = hashlib.sha256((pack / "pack.json").read_bytes()).hexdigest()
    (pack / "pack.sha256").write_text(f"{digest}  pack.json\n")
    assert "vens.parquet came out otherwise: it was made with polars 0.1 (here " in refusal(pack)
    assert "pack.sha256: No such file" in refusal(tmp_path / "nowhere")


def test_either_an_event_or_a_pack() -> None:
    for arguments in ([], ["e", "--from", "pack"]):
        wrong = run_settle(*arguments)
        assert (wrong.returncode, "either EVENT_ID or --from DIR" in wrong.stderr) == (2, True)
