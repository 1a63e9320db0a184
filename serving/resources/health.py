"""Are we alive; could we answer."""

import falcon
from falcon import Request, Response

from schemas.database import SCHEMA_REVISION
from schemas.http import Health, Readiness
from serving.answers import answer
from serving.description import Answer, Operation
from serving.reader import Reader


class Liveness:
    @Operation(
        id="getHealth",
        summary="The process is alive",
        tag="health",
        answers={200: Answer("It is.", Health)},
        needs_database=False,
    )
    def on_get(self, _request: Request, response: Response) -> None:
        answer(response, Health())


class DatabaseCheck:
    """Ready means: the database answers, and is at the revision that this code needs."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @Operation(
        id="getReadiness",
        summary="The database answers, at the revision that this version needs",
        tag="health",
        answers={200: Answer("Ready.", Readiness)},
    )
    def on_get(self, _request: Request, response: Response) -> None:
        readiness = self._reader.readiness()
        if readiness.revision != SCHEMA_REVISION:
            detail = (
                f"the database is at revision {readiness.revision}, this needs {SCHEMA_REVISION}: migrate it"
            )
            raise falcon.HTTPServiceUnavailable(description=detail, retry_after=5)
        answer(response, readiness)
