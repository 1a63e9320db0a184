"""Pages and their files: the dashboard, the API's documentation, and the OpenAPI document.

The files are read once. Their URL contains a digest of all, so that browsers may cache them for ever.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path, PurePosixPath
from string import Template

import falcon
from falcon import Request, Response

from serving.http.operations import Operation, ResponseSpec

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
FOR_EVER = "public, max-age=31536000, immutable"


class AssetsResource:
    """The files, which may refer to each other by name; `url` is the prefix of the names."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self._digest = _digest(files)
        self.url = f"/assets/{self._digest}"

    @Operation(
        id="getAsset",
        summary="A file of a page",
        tag="description",
        answers={
            200: ResponseSpec(
                "The file, for ever the same.",
                str,
                media=tuple(kind.partition(";")[0] for kind in CONTENT_TYPES.values()),
            )
        },
        problems=(404,),
        needs_database=False,
    )
    def on_get(self, _request: Request, response: Response, digest: str, asset: str) -> None:
        content = self._files.get(asset)
        if content is None or digest != self._digest:
            raise falcon.HTTPNotFound(description=f"There is no {asset!r} of that digest; reload the page.")
        response.data = content
        response.content_type = CONTENT_TYPES[PurePosixPath(asset).suffix]
        response.set_header("Cache-Control", FOR_EVER)


def _digest(files: Mapping[str, bytes]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for name, content in sorted(files.items()):
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()


DASHBOARD_HTML = "index.html"
CHARTS = "plotly.min.js"
DASHBOARD_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; frame-ancestors 'none'"
)
"""Content security policy: only our own resources; charts set inline styles."""


def dashboard_files() -> dict[str, bytes]:
    """Return all files of the page, by the names with which they refer to each other."""
    ours = {
        file.name: file.read_bytes()
        for file in files("serving").joinpath("dashboard").iterdir()
        if file.name != DASHBOARD_HTML and file.is_file()
    }
    return ours | {CHARTS: files("plotly").joinpath("package_data", CHARTS).read_bytes()}


@cache
def page_assets() -> AssetsResource:
    """Return the files of the dashboard and of `/docs`: megabytes, read and digested once per process."""
    return AssetsResource(docs_files() | dashboard_files())


class DashboardResource:
    """The dashboard, which shows times in the site's time zone."""

    def __init__(self, assets: AssetsResource, time_zone: str) -> None:
        text = files("serving").joinpath("dashboard", DASHBOARD_HTML).read_text(encoding="utf-8")
        self._page = Template(text).substitute(assets=assets.url, time_zone=escape(time_zone)).encode()

    @Operation(
        id="getDashboard",
        summary="The dashboard",
        tag="description",
        answers={200: ResponseSpec("The page.", str, media=("text/html",))},
        needs_database=False,
    )
    def on_get(self, _request: Request, response: Response) -> None:
        response.data = self._page
        response.content_type = falcon.MEDIA_HTML
        response.set_header("Content-Security-Policy", DASHBOARD_POLICY)


SWAGGER_UI = Path(str(distribution("flask-swagger-ui").locate_file("flask_swagger_ui/dist")))
"""Swagger UI's files come in a package for Flask, which is not imported."""

FROM_SWAGGER_UI = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")
START_JS = b"""window.onload = () => {
  SwaggerUIBundle({
    url: "/openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null, tryItOutEnabled: true,
  });
};
"""
DOCS_HTML = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Gridgate API</title>
<link rel="icon" type="image/png" href="$assets/favicon-32x32.png">
<link rel="stylesheet" href="$assets/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="$assets/swagger-ui-bundle.js"></script>
<script src="$assets/start.js"></script>
</body>
</html>
""")
DOCS_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
)
"""Content security policy: only our own resources; Swagger UI sets inline styles."""


def docs_files() -> dict[str, bytes]:
    """Return the files of the page, by name."""
    return {name: (SWAGGER_UI / name).read_bytes() for name in FROM_SWAGGER_UI} | {"start.js": START_JS}


class DocsPageResource:
    def __init__(self, assets: AssetsResource) -> None:
        self._page = DOCS_HTML.substitute(assets=assets.url).encode()

    @Operation(
        id="getDocs",
        summary="A page to read and try this API",
        tag="description",
        answers={200: ResponseSpec("The page.", str, media=("text/html",))},
        needs_database=False,
    )
    def on_get(self, _request: Request, response: Response) -> None:
        response.data = self._page
        response.content_type = falcon.MEDIA_HTML
        response.set_header("Content-Security-Policy", DOCS_POLICY)
