"""The page of whoever is on duty: our own files, and the chart library out of its package."""

from importlib.resources import files
from string import Template

import falcon
from falcon import Request, Response

from serving.description import Answer, Operation
from serving.resources.assets import Assets

PAGE = "index.html"
CHARTS = "plotly.min.js"


def dashboard_files() -> dict[str, bytes]:
    """All that the page needs, under the names by which its parts call each other."""
    ours = {
        file.name: file.read_bytes()
        for file in files("serving").joinpath("dashboard").iterdir()
        if file.name != PAGE and file.is_file()
    }
    return ours | {CHARTS: files("plotly").joinpath("package_data", CHARTS).read_bytes()}


class Dashboard:
    def __init__(self, assets: Assets) -> None:
        text = files("serving").joinpath("dashboard", PAGE).read_text(encoding="utf-8")
        self._page = Template(text).substitute(assets=assets.url).encode()

    @Operation(
        id="getDashboard",
        summary="A page for whoever is on duty",
        tag="description",
        answers={200: Answer("The page.", str, media=("text/html",))},
        needs_database=False,
    )
    def on_get(self, _request: Request, response: Response) -> None:
        response.data = self._page
        response.content_type = falcon.MEDIA_HTML
        response.set_header("Content-Security-Policy", POLICY)


POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; frame-ancestors 'none'"
)
"""Nothing from elsewhere. Charts set styles of their own."""
