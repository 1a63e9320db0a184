"""Query parameters and path ids of OpenADR."""

from collections.abc import Mapping, Sequence
from typing import get_args

from sqlalchemy import ColumnElement

from schemas.openadr import OBJECT_ID_PATTERN, ObjectType
from serving.http.parameters.rules import Parameter, checked
from serving.openadr.page import MOST, ObjectPage

Given = Mapping[str, str | list[str]]

OBJECT_ID = OBJECT_ID_PATTERN.removeprefix("^").removesuffix(r"(?!\n)$")
ID_ADVICE = "must be the id of an object: letters, digits, _ and -, at most 128 of them"
LARGEST_INT32 = 2**31 - 1
WORD = r"[^\x00]{1,128}"
WORD_ADVICE = "must have 1 to 128 characters, none of them NUL"

SKIP = Parameter(
    name="skip",
    description="How many objects to leave out at the beginning.",
    advice=f"must be a whole number from 0 to {LARGEST_INT32}",
    minimum=0,
    maximum=LARGEST_INT32,
)
LIMIT = Parameter(
    name="limit",
    description="At most so many objects; without it, all.",
    advice=f"must be a whole number from 0 to {MOST}",
    minimum=0,
    maximum=MOST,
)
TARGETS = Parameter(
    name="targets",
    description="Only objects with one of these targets. A VEN gets objects with targets only if it names"
    " some that it was granted.",
    advice=WORD_ADVICE,
    pattern=WORD,
    is_list=True,
)
PROGRAM = Parameter(
    name="programID",
    description="Only of this program.",
    advice=ID_ADVICE,
    pattern=f"(?=.{{1,128}}$){OBJECT_ID}",
)
EVENT = Parameter(
    name="eventID",
    description="Only of this event.",
    advice=ID_ADVICE,
    pattern=f"(?=.{{1,128}}$){OBJECT_ID}",
)
VEN = Parameter(
    name="venID",
    description="Only of this VEN.",
    advice=ID_ADVICE,
    pattern=f"(?=.{{1,128}}$){OBJECT_ID}",
)
CLIENT_NAME = Parameter(
    name="clientName", description="Only with this client name.", advice=WORD_ADVICE, pattern=WORD
)
VEN_NAME = Parameter(
    name="venName", description="Only the VEN of this name.", advice=WORD_ADVICE, pattern=WORD
)
RESOURCE_NAME = Parameter(
    name="resourceName", description="Only resources of this name.", advice=WORD_ADVICE, pattern=WORD
)
OBJECTS = Parameter(
    name="objects",
    description="Only subscriptions to one of these types of object.",
    advice=f"must be one of {', '.join(get_args(ObjectType))}",
    choices=get_args(ObjectType),
    is_list=True,
)
ACTIVE = Parameter(
    name="active",
    description="`true`: only events that are not over.",
    advice="must be true or false",
    choices=("true", "false"),
)
PAGE = (SKIP, LIMIT)
PATH_ID = Parameter(
    name="id",
    description="The object.",
    advice=ID_ADVICE,
    pattern=f"(?=.{{1,128}}$){OBJECT_ID}",
    where="path",
)


def object_page(given: Given) -> ObjectPage:
    """The part of a list that is asked for.

    Raises:
        falcon.HTTPBadRequest: a number is none, or too large.
    """
    skip, limit = checked(given, SKIP), checked(given, LIMIT)
    return ObjectPage(int(skip or 0), None if limit is None else int(limit))


def texts(given: Given, parameter: Parameter) -> Sequence[str] | None:
    """The values of a parameter that may be repeated; None without any.

    Raises:
        falcon.HTTPBadRequest: one of them is not allowed.
    """
    value = given.get(parameter.name)
    if value is None:
        return None
    return [parameter.check(each) for each in (value if isinstance(value, list) else [value])]


def equals(given: Given, parameter: Parameter, column: ColumnElement[str]) -> list[ColumnElement[bool]]:
    """The condition of a parameter that names one value of a column; none without it.

    Raises:
        falcon.HTTPBadRequest: it is not allowed.
    """
    text = checked(given, parameter)
    return [] if text is None else [column == text]


def path_id(text: str) -> str:
    """An id in a path.

    Raises:
        falcon.HTTPBadRequest: it can be none.
    """
    return PATH_ID.check(text)
