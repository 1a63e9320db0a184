"""Ids with slashes in a path: `/loads/a%2Fhistory` is a load, not the history of a load.

WSGI servers decode the path before the application sees it. Where they also hand over the raw path, an
encoded slash is kept apart from the others until the route is found. granian does not; then a path that no
route matches is divided so that its ids take the surplus slashes.
"""

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIEnvironment

ESCAPE = "\ufdd0"
"""Begins what stands for a character while routes are sought: a non-character, which no new id may have."""

ENCODED_SLASH, ENCODED_ESCAPE = f"{ESCAPE}1", f"{ESCAPE}0"
"""An id of an earlier version may have the escape character itself."""

RAW_PATHS = ("RAW_URI", "REQUEST_URI")
"""Where servers put the raw path, with the query string."""

_ESCAPED = re.compile(b"%2f", re.IGNORECASE)
_SLASH, _ESCAPE, _ESCAPED_ESCAPE = (each.encode() for each in (ENCODED_SLASH, ESCAPE, ENCODED_ESCAPE))
_VARIABLE = re.compile(r"\{\w+\}")


def decoded_id(text: str) -> str:
    """An id as the client meant it, out of a marked path."""
    return text.replace(ENCODED_SLASH, "/").replace(ENCODED_ESCAPE, ESCAPE)


class IdPaths:
    """Finds the ids with slashes in the paths of an application, by its route templates."""

    def __init__(self, templates: Iterable[str]) -> None:
        with_ids = [template for template in templates if _VARIABLE.search(template)]
        # The most literal template first: `/loads/{id}/history` before `/{id}/history`.
        with_ids.sort(key=lambda template: len(_VARIABLE.sub("", template)), reverse=True)
        self._exact = [_pattern(template, "([^/]+)") for template in templates]
        self._greedy = [_pattern(template, "(.+?)") for template in with_ids]

    def mark(self, env: WSGIEnvironment) -> None:
        """Put the marks into `PATH_INFO`."""
        raw = next((env[name] for name in RAW_PATHS if env.get(name)), None)
        if raw is not None:
            _mark_raw(env, raw)
            return
        env["PATH_INFO"] = env["PATH_INFO"].replace(_as_wsgi(_ESCAPE), _as_wsgi(_ESCAPED_ESCAPE))
        if "/" in env["PATH_INFO"].strip("/"):
            self._mark_surplus(env)

    def _mark_surplus(self, env: WSGIEnvironment) -> None:
        path = env["PATH_INFO"]
        if any(pattern.fullmatch(path) for pattern in self._exact):
            return
        for pattern in self._greedy:
            if match := pattern.fullmatch(path):
                env["PATH_INFO"] = _with_marks(path, match)
                return


def _as_wsgi(text: bytes) -> str:
    return text.decode("latin-1")


def _pattern(template: str, variable: str) -> re.Pattern[str]:
    literals = map(re.escape, _VARIABLE.split(template))
    return re.compile(variable.join(literals) + "/?", re.DOTALL)


def _with_marks(path: str, match: re.Match[str]) -> str:
    mark = _as_wsgi(_SLASH)
    marked, end = [], 0
    for group in range(1, (match.re.groups) + 1):
        start, stop = match.span(group)
        marked += [path[end:start], path[start:stop].replace("/", mark)]
        end = stop
    return "".join([*marked, path[end:]])


def _mark_raw(env: WSGIEnvironment, raw: str) -> None:
    path = raw.partition("?")[0].encode("latin-1", "replace")
    is_plain = _ESCAPED.search(path) is None and _as_wsgi(_ESCAPE) not in env["PATH_INFO"]
    if path.startswith(b"/") and not is_plain:
        parts = (unquote_to_bytes(part).replace(_ESCAPE, _ESCAPED_ESCAPE) for part in _ESCAPED.split(path))
        env["PATH_INFO"] = _as_wsgi(_SLASH.join(parts))
