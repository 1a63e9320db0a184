"""The rules of a parameter, and the check of its values."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import falcon
from msgspec import Struct

ID = r"[^\x00-\x1f]+"


class Parameter(Struct, frozen=True, kw_only=True):
    """One parameter: its meaning and its rules, for both the check and the OpenAPI document."""

    name: str
    description: str
    advice: str = ""
    """The rule in words, for the error message."""
    pattern: str | None = None
    """A regular expression for the whole text, in the common dialect of Python and ECMA 262."""
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    """Of a whole number; without a maximum the value is a text."""
    default: str | None = None
    examples: tuple[str, ...] = ()
    where: Literal["query", "path", "header"] = "query"
    is_instant: bool = False
    is_required: bool = False
    is_list: bool = False
    """Whether it may be repeated."""
    key: str = ""
    """Its component name in OpenAPI, if several share a name."""

    def check(self, text: str) -> str:
        """Return the text, if it obeys the rules.

        Raises:
            falcon.HTTPBadRequest: it does not.
        """
        if self.pattern is not None and not re.fullmatch(self.pattern, text):
            raise bad_parameter(self.name, self.advice)
        if self.choices and text not in self.choices:
            raise bad_parameter(self.name, self.advice)
        if self.maximum is not None and not (
            re.fullmatch("[0-9]{1,10}", text) and self._is_within(int(text))
        ):
            raise bad_parameter(self.name, self.advice)
        return text

    def _is_within(self, number: int) -> bool:
        return (self.minimum or 0) <= number <= (self.maximum or 0)


LIST = r"[^\x00-\x1f,]+(,[^\x00-\x1f,]+)*"


def several(parameters: Mapping[str, str | list[str]], parameter: Parameter) -> Sequence[str]:
    """Parse a parameter with several values: separated by commas, or repeated."""
    values = parameters.get(parameter.name, [])
    if isinstance(values, str):
        return parameter.check(values).split(",")
    if not all(re.fullmatch(ID, each) for each in values):
        raise bad_parameter(parameter.name, parameter.advice)
    return values


def checked(parameters: Mapping[str, str | list[str]], parameter: Parameter) -> str | None:
    """Return the checked value of a parameter, or its default."""
    value = parameters.get(parameter.name)
    if isinstance(value, list):
        raise bad_parameter(parameter.name, "must be given once")
    return parameter.default if value is None else parameter.check(value)


def bad_parameter(name: str, advice: str) -> falcon.HTTPBadRequest:
    return falcon.HTTPBadRequest(title="Bad request", description=f"{name} {advice}")
