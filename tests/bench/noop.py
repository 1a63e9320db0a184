"""`python -m tests.bench.noop`: a no-op Falcon app, with the server settings of serving."""

import os

import falcon
from falcon import Request, Response
from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from serving.settings import ServingSettings


class FixedBody:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def __call__(self, req: Request, resp: Response, **_: object) -> None:  # noqa: ARG002 - Falcon's names
        resp.data = self._body


def application() -> falcon.App[Request, Response]:
    app = falcon.App()
    body = b'"' + b"x" * (int(os.environ["NOOP_BYTES"]) - 2) + b'"'
    app.add_sink(FixedBody(body), "/")
    return app


def main() -> None:
    settings = ServingSettings.from_environment()
    Granian(
        "tests.bench.noop:application",
        factory=True,
        interface=Interfaces.WSGI,
        address=settings.http_host,
        port=settings.http_port,
        workers=settings.workers,
        blocking_threads=settings.http_threads,
        log_level=LogLevels(settings.log_level),
    ).serve()


if __name__ == "__main__":
    main()
