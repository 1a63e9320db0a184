"""The API described: for machines, and as a page on which it can be read and tried."""

import hashlib
from importlib.metadata import distribution
from pathlib import Path
from string import Template
from typing import Any

import falcon
import msgspec
from falcon import Request, Response

from serving.description import Answer, Operation
from serving.openapi import Document

SWAGGER_UI = Path(str(distribution("flask-swagger-ui").locate_file("flask_swagger_ui/dist")))
"""Swagger UI comes in a package for Flask, of which nothing is imported."""

FROM_SWAGGER_UI = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")
START_JS = b"""window.onload = () => {
  SwaggerUIBundle({
    url: "/openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null, tryItOutEnabled: true,
  });
};
"""
PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Gridgate API</title>
<link rel="icon" type="image/png" href="$favicon_32x32_png">
<link rel="stylesheet" href="$swagger_ui_css">
</head>
<body>
<div id="api"></div>
<script src="$swagger_ui_bundle_js"></script>
<script src="$start_js"></script>
</body>
</html>
""")
CONTENT_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".png": "image/png",
}
POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
"""Nothing from elsewhere. Swagger UI sets styles of its own."""

FOR_EVER = "public, max-age=31536000, immutable"


class Assets:
    """The files of the page, read once, each under the digest of its content."""

    def __init__(self) -> None:
        files = {name: (SWAGGER_UI / name).read_bytes() for name in FROM_SWAGGER_UI} | {"start.js": START_JS}
        self._files = {(_digest(content), name): content for name, content in files.items()}

    def urls(self) -> dict[str, str]:
        """Where each file is, by its name as an identifier."""
        return {_as_identifier(name): f"/docs/assets/{digest}/{name}" for digest, name in self._files}

    @Operation(
        id="getAsset",
        summary="A file of the page",
        tag="description",
        answers={
            200: Answer(
                "The file, for ever the same.", str, media=("text/javascript", "text/css", "image/png")
            )
        },
        problems=(404,),
        needs_database=False,
    )
    def on_get(self, _request: Request, response: Response, digest: str, asset: str) -> None:
        content = self._files.get((digest, asset))
        if content is None:
            raise falcon.HTTPNotFound(
                description=f"There is no {asset!r} of that digest; /docs has the present ones."
            )
        response.data = content
        response.content_type = CONTENT_TYPES[Path(asset).suffix]
        response.set_header("Cache-Control", FOR_EVER)


class DocsPage:
    def __init__(self, assets: Assets) -> None:
        self._page = PAGE.substitute(assets.urls()).encode()

    @Operation(
        id="getDocs",
        summary="A page to read and try this API",
        tag="description",
        answers={200: Answer("The page.", str, media=("text/html",))},
        needs_database=False,
    )
    def on_get(self, _request: Request, response: Response) -> None:
        response.data = self._page
        response.content_type = falcon.MEDIA_HTML
        response.set_header("Content-Security-Policy", POLICY)


class OpenApi:
    """Knows the document once all else has been described."""

    def __init__(self) -> None:
        self._document = b""

    def hold(self, document: Document) -> None:
        self._document = msgspec.json.encode(document)

    @Operation(
        id="getOpenApi",
        summary="This document",
        tag="description",
        answers={200: Answer("OpenAPI 3.1.", dict[str, Any])},
        needs_database=False,
    )
    def on_get(self, _request: Request, response: Response) -> None:
        response.data = self._document


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _as_identifier(name: str) -> str:
    return name.replace("-", "_").replace(".", "_")
