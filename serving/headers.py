"""What browsers are told about our answers: what they are, who may frame them, and to come by https."""

from falcon import Request, Response

from serving.policy import PAGE_POLICY, Policy

A_YEAR_S = 31_536_000
HTML = "text/html"


class SecurityHeaders:
    """Falcon middleware. Data needs little; pages get the policy for pages."""

    def __init__(self, policy: Policy, *, varies_by_origin: bool) -> None:
        self._always = {"X-Content-Type-Options": "nosniff"}
        if policy.is_https:
            self._always["Strict-Transport-Security"] = f"max-age={A_YEAR_S}"
        self._page = {
            "Content-Security-Policy": policy.page_policy or PAGE_POLICY,
            "Referrer-Policy": "no-referrer",
            "X-Frame-Options": "DENY",
        }
        self._varies_by_origin = varies_by_origin
        self._overrides = policy.page_policy is not None

    def process_response(
        self,
        request: Request,
        response: Response,
        _resource: object,
        _succeeded: bool,  # noqa: FBT001 - Falcon's
    ) -> None:
        response.set_headers(self._always)
        if self._varies_by_origin or request.get_header("Origin") is not None:
            response.append_header("Vary", "Origin")
        if (response.content_type or "").startswith(HTML):
            self._tell_of_page(response)

    def _tell_of_page(self, response: Response) -> None:
        for name, value in self._page.items():
            if self._overrides or response.get_header(name) is None:
                response.set_header(name, value)
