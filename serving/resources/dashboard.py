"""The page of whoever is on duty: files as they are, and the chart library out of its package."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from string import Template

import falcon
import plotly
from falcon import Request, Response

FILES = files("serving").joinpath("dashboard")
CHARTS = files("plotly").joinpath("package_data", "plotly.min.js")
CHARTS_PATH = f"/dashboard/plotly-{plotly.__version__}.js"
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Dashboard:
    """The page itself, which names the present version of the chart library."""

    def __init__(self) -> None:
        text = FILES.joinpath("index.html").read_text(encoding="utf-8")
        self._page = Template(text).substitute(plotly=CHARTS_PATH).encode()

    def on_get(self, _request: Request, response: Response) -> None:
        response.content_type = falcon.MEDIA_HTML
        response.data = self._page


class DashboardFile:
    """Style, scripts and icon."""

    def __init__(self) -> None:
        found = (each for each in FILES.iterdir() if PurePosixPath(each.name).suffix in MEDIA_TYPES)
        self._files = {each.name: each for each in found}

    def on_get(self, _request: Request, response: Response, name: str) -> None:
        if name not in self._files:
            raise falcon.HTTPNotFound
        _send(response, self._files[name])


class ChartLibrary:
    """Its path changes with its version, so it may be kept for ever."""

    def on_get(self, _request: Request, response: Response) -> None:
        _send(response, CHARTS)
        response.cache_control = ["public", "max-age=31536000", "immutable"]


def _send(response: Response, file: Traversable) -> None:
    response.content_type = MEDIA_TYPES[PurePosixPath(file.name).suffix]
    response.data = file.read_bytes()
