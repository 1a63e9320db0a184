"""The API described: for machines, and as a page on which it can be read and tried."""

from importlib.metadata import distribution
from pathlib import Path
from string import Template
from typing import Any

import falcon
import msgspec
from falcon import Request, Response

from serving.description import Answer, Operation
from serving.openapi import Document
from serving.resources.assets import Assets

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
POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
"""Nothing from elsewhere. Swagger UI sets styles of its own."""


def docs_files() -> dict[str, bytes]:
    """What the page needs, by name."""
    return {name: (SWAGGER_UI / name).read_bytes() for name in FROM_SWAGGER_UI} | {"start.js": START_JS}


class DocsPage:
    def __init__(self, assets: Assets) -> None:
        self._page = PAGE.substitute(assets=assets.url).encode()

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
