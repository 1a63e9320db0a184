"""Packs: a settlement and all that it was made of as files, from which it can be made again, to the byte.

A pack is a folder: `pack.json` has the event, the rules, the parameters of the baselines, versions, and the
digest of each file; `pack.sha256` the digest of `pack.json`, which so stands for the whole; the others are
Parquet. Figures are rounded to nine decimals, so that they do not depend on how a processor adds.
"""

import hashlib
import io
import platform
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from msgspec import Struct

from jobs.events.measuring import Rules, measured
from jobs.events.recorded import INPUTS, RecordedRecords, Recorder
from jobs.events.records import MeasuredEvent
from jobs.transforms.events.intervals import DRAWS, SEED
from schemas.demand_response.baselines import METHODS, Baseline
from schemas.programs.version import VERSION
from schemas.tables.events import INTERVAL_PERCENT
from schemas.times.time_ranges import TimeRange

FORMAT = 1
PACK, DIGEST = "pack.json", "pack.sha256"
VERSIONS = {
    "gridgate": VERSION,
    "python": platform.python_version(),
    "numpy": np.__version__,
    "polars": pl.__version__,
}
DECIMALS = 9


class PackError(Exception):
    """A pack cannot be read or written, or is not what its digests say."""


class Parameters(Struct, frozen=True):
    """What a settlement depends on besides its frames. `sampled`: where raw rows cut slots."""

    event: MeasuredEvent
    rules: Rules
    sampled: list[TimeRange]
    baselines: list[Baseline]
    interval_percent: int = INTERVAL_PERCENT
    draws: int = DRAWS
    seed: int = SEED


class Contents(Struct, frozen=True):
    """`pack.json`: `inputs` and `settlement` are digests by file."""

    revision: int
    parameters: Parameters
    inputs: dict[str, str]
    settlement: dict[str, str]
    versions: dict[str, str]
    format: int = FORMAT


class Pack(Struct, frozen=True):
    """A settlement with what it was made of: the bytes of each file, `pack.json` and its digest last."""

    contents: Contents
    files: dict[str, bytes]

    @property
    def digest(self) -> str:
        return _digest(self.files[PACK])


def pack_of(recorder: Recorder, event: MeasuredEvent, rules: Rules, revision: int) -> Pack:
    """The pack of a settlement whose records were kept while it was made."""
    rules = with_listed_holidays(rules, event)
    parameters = Parameters(event, rules, recorder.sampled, [METHODS[name] for name in rules.computed])
    inputs = {_file(name): _parquet(frame) for name, frame in recorder.frames().items()}
    return _pack(revision, parameters, inputs)


def with_listed_holidays(rules: Rules, event: MeasuredEvent) -> Rules:
    """The rules with each holiday as a date: the days of `US` may change with the library's version."""
    days = sorted(rules.calendar(event.window.start).holidays)
    return msgspec.structs.replace(rules, holidays=",".join(day.isoformat() for day in days))


def _pack(revision: int, parameters: Parameters, inputs: dict[str, bytes]) -> Pack:
    frames = {name: pl.read_parquet(io.BytesIO(inputs[_file(name)])) for name in INPUTS}
    records = RecordedRecords(frames, parameters.sampled)
    vens, portfolio = measured(records, parameters.event, parameters.rules)
    settlement = {
        "vens.parquet": _parquet(_rounded(vens)),
        "portfolio.parquet": _parquet(_rounded(portfolio)),
    }
    contents = Contents(revision, parameters, _digests(inputs), _digests(settlement), VERSIONS)
    described = msgspec.json.format(msgspec.json.encode(contents), indent=2) + b"\n"
    sums = f"{_digest(described)}  {PACK}\n".encode()
    return Pack(contents, inputs | settlement | {PACK: described, DIGEST: sums})


def write_pack(pack: Pack, folder: Path) -> None:
    """Write all files of a pack.

    Raises:
        PackError: the folder is not empty, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise PackError(f"{folder} is not empty: choose another folder")
        for name, content in pack.files.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise PackError(f"{folder}: {error.strerror}") from None


def remade(folder: Path) -> Pack:
    """The settlement of a pack, made again of its inputs, without a database.

    Raises:
        PackError: a file is missing, its digest is wrong, or the settlement differs.
    """
    contents = _contents(folder)
    inputs = {name: _checked(folder, name, digest) for name, digest in sorted(contents.inputs.items())}
    own = Parameters(
        contents.parameters.event,
        contents.parameters.rules,
        contents.parameters.sampled,
        [METHODS[each.name] for each in contents.parameters.baselines],
    )
    if own != contents.parameters:
        raise PackError(f"{folder}: this version has other parameters of baselines{_versions(contents)}")
    pack = _pack(contents.revision, own, inputs)
    differing = [
        name for name, digest in pack.contents.settlement.items() if contents.settlement.get(name) != digest
    ]
    if differing:
        raise PackError(f"{folder}: {' and '.join(differing)} came out otherwise{_versions(contents)}")
    return pack


def _versions(contents: Contents) -> str:
    """Versions that differ from those that made a pack, as the end of a sentence."""
    others = [
        f"{name} {version} (here {VERSIONS.get(name, 'none')})"
        for name, version in contents.versions.items()
        if VERSIONS.get(name) != version
    ]
    return f": it was made with {', '.join(others)}" if others else "; versions are the same"


def _contents(folder: Path) -> Contents:
    wanted = _read(folder, DIGEST).split()
    described = _checked(folder, PACK, wanted[0].decode("ascii", "replace") if wanted else "")
    try:
        contents = msgspec.json.decode(described, type=Contents)
    except msgspec.MsgspecError as error:
        raise PackError(f"{folder / PACK} is no pack of this version: {error}") from None
    if contents.format != FORMAT or contents.inputs.keys() != {_file(name) for name in INPUTS}:
        raise PackError(f"{folder / PACK} is no pack of this version")
    return contents


def _checked(folder: Path, name: str, digest: str) -> bytes:
    content = _read(folder, name)
    if _digest(content) != digest:
        raise PackError(f"{folder / name} has changed: its SHA-256 is {_digest(content)}, not {digest}")
    return content


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise PackError(f"{folder / name}: {error.strerror}") from None


def _file(name: str) -> str:
    return f"{name}.parquet"


def _rounded(figures: pl.DataFrame) -> pl.DataFrame:
    """Adding 0.0 makes -0.0 the same bytes as 0.0."""
    ordered = figures.sort("baseline", *(name for name in ("ven_id",) if name in figures.columns))
    return ordered.with_columns(pl.col(pl.Float64).round(DECIMALS) + 0.0)


def _parquet(frame: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.write_parquet(file, compression="zstd")
    return file.getvalue()


def _digests(files: dict[str, bytes]) -> dict[str, str]:
    return {name: _digest(content) for name, content in sorted(files.items())}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
