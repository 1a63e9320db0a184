"""Errors that a client is answered with. `serving/http/problems.py` gives each class its status code.

The class says what happened; the message says what to do about it.
"""


class RequestError(Exception):
    """A request that cannot be carried out."""


class NotFoundError(RequestError, LookupError):
    """There is no such VEN, load, group, event, revision, command or alarm."""


class InvalidRequestError(RequestError, ValueError):
    """The values of a request contradict each other, or what this service allows."""


class ConflictError(RequestError):
    """The request is valid, but the present state of what it concerns does not allow it."""


class ForbiddenError(RequestError):
    """The caller may not do this."""


class TooManyPointsError(InvalidRequestError):
    """A history would have more points than one answer may have."""


class TooSlowError(InvalidRequestError):
    """A history took longer than one query may take, and another granularity would be quicker."""


class TooManyStreamsError(RequestError):
    """As many live streams are open as the settings allow."""


class NotReadyError(RequestError):
    """A database lacks a migration or is not up to date: send requests to another instance."""


def no_ven(ven_id: str) -> str:
    return f"There is no VEN {ven_id!r}."


def no_group(group_id: str) -> str:
    return f"There is no group {group_id!r}."


def no_load(ven_id: str, load_id: str) -> str:
    return f"VEN {ven_id!r} has no load {load_id!r}."
