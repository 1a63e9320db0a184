"""What was changed, and by whom."""

from falcon import Request, Response

from serving.access import require_operator
from serving.answers import answer
from serving.audit import AuditLog
from serving.parameters import audit_page


class AuditTrail:
    """The newest first."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    def on_get(self, request: Request, response: Response) -> None:
        require_operator(request)
        limit, after = audit_page(request.params)
        entries = self._log.entries(limit, after)
        if len(entries) == limit:
            following = f"/api/audit?limit={limit}&after={entries[-1].id}"
            response.append_header("Link", f'<{following}>; rel="next"')
        answer(response, entries)
