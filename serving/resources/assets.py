"""Files of the pages: read once, all under one digest, so that a browser may keep them for ever."""

import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath

import falcon
from falcon import Request, Response

from serving.description import Answer, Operation

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
FOR_EVER = "public, max-age=31536000, immutable"


class Assets:
    """The files, which may refer to each other by name; `url` is what stands before the name."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self._digest = _digest(files)
        self.url = f"/assets/{self._digest}"

    @Operation(
        id="getAsset",
        summary="A file of a page",
        tag="description",
        answers={
            200: Answer(
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
            raise falcon.HTTPNotFound(
                description=f"There is no {asset!r} of that digest; load the page anew."
            )
        response.data = content
        response.content_type = CONTENT_TYPES[PurePosixPath(asset).suffix]
        response.set_header("Cache-Control", FOR_EVER)


def _digest(files: Mapping[str, bytes]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for name, content in sorted(files.items()):
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()
