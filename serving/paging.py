"""Pages of a list, and the way from each to the next."""

from collections.abc import Iterator
from typing import Protocol, TypeVar

from falcon import Request, Response
from falcon.uri import encode_value

from serving.windows import Page


class Entry(Protocol):
    """What a list is sorted by, or at least what names its entries."""

    @property
    def id(self) -> str: ...


Listed = TypeVar("Listed", bound=Entry)


def paged(
    request: Request, response: Response, asked: Page, entries: Iterator[Listed]
) -> list[Listed] | Iterator[Listed]:
    """A page, with the way to the next one; or the whole list."""
    if asked.limit is None:
        return entries
    listed = list(entries)
    if len(listed) == asked.limit:
        path = "/".join(map(encode_value, request.path.split("/")))
        following = f"{path}?limit={asked.limit}&after={encode_value(listed[-1].id)}"
        if "format" in request.params:
            following += f"&format={request.params['format']}"
        response.append_header("Link", f'<{following}>; rel="next"')
    return listed
