"""The fields of each row type are the columns of its statement, by name, order and type."""

import importlib
import inspect
import pkgutil
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import pytest
from sqlalchemy import CTE, ColumnElement, Integer, Text, column, select

import jobs
import schemas
import serving
from schemas.db.queries import Query, columns_of, fields_of, maker
from schemas.demand_response.candidates import AskedEvent, Rest
from schemas.demand_response.groups import Targets
from schemas.tables.registry import groups
from schemas.times.time_ranges import TimeRange
from serving.events.rules import EventRules, PlannedEvent
from serving.fleet.queries import LoadRow
from serving.page import AlarmFilter, CredentialFilter, NewestWithin, Page

NOW = datetime(2024, 7, 1, 12, tzinfo=UTC)
ARGUMENTS: Mapping[object, object] = {
    str: "one",
    int: 1,
    float: 1.0,
    datetime: NOW,
    date: NOW.date(),
    timedelta: timedelta(hours=1),
    Page: Page(10, "5"),
    NewestWithin: NewestWithin(NOW, NOW, 10),
    AlarmFilter: AlarmFilter(is_open=True),
    CredentialFilter: CredentialFilter(is_pending=True, is_enabled=True),
    bool: True,
    TimeRange: TimeRange(NOW, NOW + timedelta(days=1)),
    Rest: Rest(),
    AskedEvent: AskedEvent("one", NOW, NOW + timedelta(hours=1), 0, Targets()),
    PlannedEvent: PlannedEvent("one", NOW, NOW + timedelta(hours=1), None, NOW, 10.0, 0),
    EventRules: EventRules(),
    CTE: select(groups.c.group_id.label("ven_id")).cte("member"),
}
"""A value for each type of a parameter."""

TOLD_TYPES = {float, int, bool, bytes, list, datetime, date}
"""Of columns; a text may be a literal, a number of a sum anything."""

NEVER_NULL = {
    "serving.live.queries.after": "position",
    "serving.reports.queries.acknowledgements": "acknowledged_at",
}
"""Columns of which a statement leaves the nulls out."""


def queries() -> Iterator[tuple[str, Callable[..., Query[tuple[object, ...]]]]]:
    """Every function of the three rooms that builds a query with rows by name."""
    for room in (jobs, schemas, serving):
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            if not module.name.endswith("__main__"):
                found = importlib.import_module(module.name)
                for name, function in inspect.getmembers(found, inspect.isfunction):
                    if function.__module__ == module.name and _row_of(function) is not None:
                        yield f"{module.name}.{name}", function


def _row_of(function: Callable[..., object]) -> Any:
    """The row type that a function's annotation names, if it is a query's and has fields."""
    result = inspect.unwrap(function).__annotations__.get("return")
    [row] = get_args(result) if get_origin(result) is Query else [None]
    return row if hasattr(row, "_fields") else None


def _value(annotation: Any) -> object:
    if get_origin(annotation) in {Union, types.UnionType}:
        return next(_value(each) for each in get_args(annotation) if each is not type(None))
    if get_origin(annotation) is Sequence:
        return [_value(get_args(annotation)[0])]
    return ARGUMENTS[annotation]


def _built(function: Callable[..., Query[tuple[object, ...]]]) -> Query[tuple[object, ...]]:
    hints = get_type_hints(inspect.unwrap(function))
    parameters = inspect.signature(function).parameters.values()
    needed = [
        each for each in parameters if each.default is each.empty and each.kind is not each.VAR_POSITIONAL
    ]
    named = {each.name for each in needed if each.kind is each.KEYWORD_ONLY}
    values = {each.name: _value(hints[each.name]) for each in needed}
    return function(
        *(value for name, value in values.items() if name not in named),
        **{name: values[name] for name in named},
    )


QUERIES = dict(queries())


@pytest.mark.parametrize("name", QUERIES)
def test_fields_are_the_columns(name: str) -> None:
    query = _built(QUERIES[name])
    assert query.row is _row_of(QUERIES[name])
    assert query.row._fields == columns_of(query.statement)


@pytest.mark.parametrize("name", QUERIES)
def test_fields_have_the_types_of_the_columns(name: str) -> None:
    query = _built(QUERIES[name])
    hints = get_type_hints(query.row)
    for each in query.statement.selected_columns:
        field = hints[each.name]
        options = set(get_args(field)) if isinstance(field, types.UnionType) else {field}
        assert _fits(options, each), f"{each.name} is {field}, its column {each.type!r}"
        if getattr(each, "nullable", False) and each.name != NEVER_NULL.get(name):
            assert options & {type(None), object}, f"{each.name} may be null"


def _fits(options: set[Any], selected: ColumnElement[Any]) -> bool:
    """Whether a field of these types can hold what SQLAlchemy knows of its column."""
    kinds = {get_origin(each) or each for each in options}
    try:
        stored = selected.type.python_type
    except NotImplementedError:
        return True
    return stored not in TOLD_TYPES or bool(kinds & {stored, object})


def test_there_are_queries() -> None:
    assert len(QUERIES) > 20


class _Pair(NamedTuple):
    first: int
    second: str


def test_a_statement_with_other_columns_is_refused() -> None:
    wrong = Query(_Pair, select(column("second", Text), column("first", Integer)))
    with pytest.raises(TypeError, match="_Pair has the fields"):
        wrong.typed_rows([("a", 1)])
    with pytest.raises(TypeError, match="_Pair has the fields"):
        maker(_Pair, ("first",))


def test_rows_are_made_of_columns() -> None:
    right = Query(_Pair, select(column("first", Integer), column("second", Text)))
    assert right.typed_rows([(1, "a"), (2, "b")]) == [_Pair(1, "a"), _Pair(2, "b")]
    assert right.typed_rows(zip(*[[3], ["c"]], strict=True)) == [_Pair(3, "c")]


def test_a_field_without_its_column_is_named() -> None:
    with pytest.raises(KeyError, match="ven_id"):
        fields_of(LoadRow, groups)
