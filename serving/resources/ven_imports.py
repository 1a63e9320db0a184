"""Imports and exports of VENs as CSV."""

from falcon import Request, Response

from schemas.api.ven_imports import VenImport
from serving.http.bodies import read_csv
from serving.http.operations import Operation, ResponseSpec
from serving.http.parameters.events import DRY_IMPORT, is_dry_run
from serving.http.parameters.media import CSV
from serving.http.responses import answer, answer_text
from serving.imports.service import VenImports

LONGEST_FILE_BYTES = 16 * 1_048_576
"""Longest body: more than the 100,000 lines of a file; few are received at once."""

BROKEN = b'"This answer has broken off.",\r\n'
"""Sent last if the export fails: a line with fewer cells than the others."""


class VenImportResource:
    def __init__(self, imports: VenImports) -> None:
        self._imports = imports

    @Operation(
        id="importVens",
        summary="Register and change VENs by a CSV file: all of it, or nothing",
        tag="vens",
        parameters=(DRY_IMPORT,),
        takes=str,
        takes_media=CSV,
        body_bytes=LONGEST_FILE_BYTES,
        answers={200: ResponseSpec("What was done, or would be.", VenImport)},
    )
    def on_post(self, request: Request, response: Response) -> None:
        dry_run = is_dry_run(request.params)
        answer(response, self._imports.run(read_csv(request, LONGEST_FILE_BYTES), dry_run=dry_run))


class VenExportResource:
    def __init__(self, imports: VenImports) -> None:
        self._imports = imports

    @Operation(
        id="exportVens",
        summary="All VENs as a CSV file that can be imported",
        tag="vens",
        answers={200: ResponseSpec("A line for each VEN, by id.", str, (CSV,))},
    )
    def on_get(self, _request: Request, response: Response) -> None:
        answer_text(response, CSV, self._imports.export(), BROKEN)
