"""Compares late rows of a dropped day with the archive's: new, duplicate or conflicting. Pure."""

import json

import polars as pl
from msgspec import Struct

from schemas.devices.content import same_content

ENTRY_CONTENT = (
    "load_type",
    "name",
    "used_power_kw",
    "shed_power_kw",
    "capacity_kw",
    "shed_capability_kw",
    "enabled",
    "priority",
    "metadata",
)
OF_REPORT = ["ven_id", "ts", "batch_id"]
"""The columns that a sample shares with its report."""


class WeighedRows(Struct, frozen=True):
    """Late rows that the archive lacks, or has with other content; the others are duplicates."""

    new: pl.DataFrame
    conflicting: pl.DataFrame


def weighed_reports(late: pl.DataFrame, archived: pl.DataFrame) -> WeighedRows:
    """Compare rows of `ven_telemetry`; archived rows have `ven_id`, `ts` and `payload`, as in the table."""
    return _weighed(late, archived, ["ven_id", "ts"], ["payload"])


def weighed_entries(late: pl.DataFrame, archived: pl.DataFrame) -> WeighedRows:
    """Compare load entries without a report; archived rows have key and content."""
    return _weighed(late, archived, ["ven_id", "load_id", "ts"], list(ENTRY_CONTENT))


def weighed_samples(
    late: pl.DataFrame, archived: pl.DataFrame, reports: pl.DataFrame, new_reports: pl.DataFrame
) -> WeighedRows:
    """Compare samples: one with a report is new if and only if the report is; others by their own key."""
    with_new_report = late.join(new_reports, on=OF_REPORT, how="semi")
    alone = weighed_entries(late.join(reports, on=OF_REPORT, how="anti"), archived)
    return WeighedRows(pl.concat([with_new_report, alone.new]), alone.conflicting)


def _weighed(late: pl.DataFrame, archived: pl.DataFrame, key: list[str], content: list[str]) -> WeighedRows:
    both = late.join(archived, on=key, how="inner", suffix="_archived", maintain_order="left")
    same = [
        same_content(_text(row, content), _text(row, [f"{name}_archived" for name in content]))
        for row in both.iter_rows(named=True)
    ]
    conflicting = both.filter(~pl.Series(same, dtype=pl.Boolean)).select(late.columns)
    return WeighedRows(late.join(archived, on=key, how="anti"), conflicting)


def _text(row: dict[str, object], content: list[str]) -> str:
    """Return the content as JSON, as ingest compares it."""
    if len(content) == 1:
        return str(row[content[0]])
    *fields, metadata = (row[name] for name in content)
    return json.dumps([*fields, None if metadata is None else json.loads(str(metadata))])
