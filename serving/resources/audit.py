"""What was changed, and by whom."""

from falcon import Request, Response

from schemas.http import AuditEntry
from serving.access import require_operator
from serving.answers import answer_list
from serving.audit import AuditLog
from serving.description import Answer, Operation
from serving.paging import paged
from serving.parameters import NUMBERED_PAGE, numbered_page


class AuditTrail:
    """The newest first."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    @Operation(
        id="listAudit",
        summary="What was changed, and by whom; the newest first",
        tag="access",
        parameters=NUMBERED_PAGE,
        answers={200: Answer("All of it, or a page.", list[AuditEntry], headers=("Link",))},
        problems=(403,),
    )
    def on_get(self, request: Request, response: Response) -> None:
        require_operator(request)
        part = numbered_page(request.params)
        answer_list(response, paged(request, response, part, self._log.entries(part)))
