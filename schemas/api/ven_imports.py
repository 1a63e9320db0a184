"""Imports of VENs from a file."""

from typing import Annotated

from msgspec import Meta

from schemas.api.fields import Count, Shape


class ImportProblem(Shape, frozen=True):
    """What is wrong with a line of a file."""

    line: Annotated[int, Meta(ge=1, description="The first line, with the names of the columns, is 1.")]
    field: Annotated[str, Meta(description="The column; empty where it is the whole line.")]
    detail: Annotated[str, Meta(description="What would be right.")]


class VenImport(Shape, frozen=True, kw_only=True):
    """What an import has done to the registry, or with `dryRun` what it would do."""

    dry_run: bool
    rows: Annotated[Count, Meta(description="VENs in the file whose lines are right.")]
    created: Annotated[Count, Meta(description="VENs that were not registered.")]
    restored: Annotated[Count, Meta(description="VENs that were retired, and are back.")]
    changed: Count
    unchanged: Annotated[Count, Meta(description="VENs that were as the file says.")]
    problem_count: Count
    problems: Annotated[list[ImportProblem], Meta(description="The first 1,000, by line.")]
