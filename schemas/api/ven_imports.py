"""Imports of VENs from a file."""

from typing import Annotated

from msgspec import Meta

from schemas.api.fields import Count, Shape


class ImportProblem(Shape, frozen=True):
    """An error in a line of a file."""

    line: Annotated[int, Meta(ge=1, description="The first line, with the names of the columns, is 1.")]
    field: Annotated[str, Meta(description="The column; empty for the whole line.")]
    detail: Annotated[str, Meta(description="How to fix it.")]


class VenImport(Shape, frozen=True, kw_only=True):
    """The effect of an import on the registry; with `dryRun` the effect that it would have."""

    dry_run: bool
    rows: Annotated[Count, Meta(description="VENs in the file with valid lines.")]
    created: Annotated[Count, Meta(description="VENs that were not registered.")]
    restored: Annotated[Count, Meta(description="Retired VENs that were restored.")]
    changed: Count
    unchanged: Annotated[Count, Meta(description="VENs that had the file's values already.")]
    problem_count: Count
    problems: Annotated[list[ImportProblem], Meta(description="The first 1,000, by line.")]
