"""Programs."""

from falcon import Request, Response

from schemas.openadr import OpenAdrProgram, ProgramRequest
from serving.openadr.auth.access import MAY_READ_TARGETS, WRITE_PROGRAMS
from serving.openadr.http.nouns import Collection, OneObject, creation, deletion, reading, replacement, search
from serving.openadr.http.parameters import TARGETS

TAG = "programs"
SHAPES = (ProgramRequest, OpenAdrProgram)
MAY_WRITE = (WRITE_PROGRAMS,)


class ProgramsResource(Collection[ProgramRequest]):
    takes = ProgramRequest

    @search("searchAllPrograms", TAG, OpenAdrProgram, MAY_READ_TARGETS, (TARGETS,))
    def on_get(self, request: Request, response: Response) -> None:
        self.answer_listed(request, response, [], has_targets=True)

    @creation("createProgram", TAG, SHAPES, MAY_WRITE)
    def on_post(self, request: Request, response: Response) -> None:
        super().on_post(request, response)


class OneProgramResource(OneObject[ProgramRequest]):
    takes = ProgramRequest

    @reading("searchProgramByProgramId", TAG, OpenAdrProgram, MAY_READ_TARGETS)
    def on_get(self, request: Request, response: Response, object_id: str) -> None:
        super().on_get(request, response, object_id)

    @replacement("updateProgram", TAG, SHAPES, MAY_WRITE)
    def on_put(self, request: Request, response: Response, object_id: str) -> None:
        super().on_put(request, response, object_id)

    @deletion("deleteProgram", TAG, OpenAdrProgram, MAY_WRITE)
    def on_delete(self, request: Request, response: Response, object_id: str) -> None:
        super().on_delete(request, response, object_id)
