"""Errors that are reported to clients. `serving/http/problems.py` maps each class to a status code.

The class tells what happened; the message tells what to do about it.
"""


class RequestError(Exception):
    """A request cannot be executed."""


class NotFoundError(RequestError, LookupError):
    """There is no such VEN, load, group, event, revision, command or alarm."""


class InvalidRequestError(RequestError, ValueError):
    """The values of a request contradict each other, or this service's rules."""


class ConflictError(RequestError):
    """The request is valid, but conflicts with the current state of the resource."""


class ForbiddenError(RequestError):
    """The caller is not allowed to do this."""


class TooManyPointsError(InvalidRequestError):
    """A history would have more points than a response may have."""


class TooSlowError(InvalidRequestError):
    """A history exceeded the time limit of queries, and another granularity would be faster."""


class TooManyStreamsError(RequestError):
    """The limit of live streams is reached."""


class NotReadyError(RequestError):
    """A database lacks a migration, or is not up to date: send requests to another instance."""


def no_ven(ven_id: str) -> str:
    return f"There is no VEN {ven_id!r}."


def no_group(group_id: str) -> str:
    return f"There is no group {group_id!r}."


def no_load(ven_id: str, load_id: str) -> str:
    return f"VEN {ven_id!r} has no load {load_id!r}."
