"""A tab of Chromium that only the protocol of its developer tools drives.

Playwright has the browser keep the bodies of all responses of its pages, up to 100 MB: memory that is not the
page's. Its connection to the browser serves, for a tab that it does not know.
"""

import itertools
import json
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Browser

ANSWERED_WITHIN_MS = 120_000
STEP_MS = 20


class Tab:
    def __init__(self, browser: Browser, width: int, height: int) -> None:
        self._clock = browser.new_page()
        self._browser = browser.new_browser_cdp_session()
        self._numbers = itertools.count(1)
        self._answers: dict[int, dict[str, Any]] = {}
        self._listeners: dict[str, Callable[[dict[str, Any]], None]] = {}
        context = self._browser.send("Target.createBrowserContext")["browserContextId"]
        where = {"browserContextId": context, "width": width, "height": height, "newWindow": True}
        target = self._browser.send("Target.createTarget", {"url": "about:blank", **where})["targetId"]
        self._browser.on("Target.receivedMessageFromTarget", self._receive)
        attached = self._browser.send("Target.attachToTarget", {"targetId": target, "flatten": False})
        self._session = attached["sessionId"]

    def on(self, event: str, listener: Callable[[dict[str, Any]], None]) -> None:
        self._listeners[event] = listener

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command.

        Raises:
            RuntimeError: it failed.
        """
        number = next(self._numbers)
        message = json.dumps({"id": number, "method": method, "params": parameters})
        self._browser.send("Target.sendMessageToTarget", {"sessionId": self._session, "message": message})
        self.until(lambda: number in self._answers)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return dict(answer["result"])

    def evaluate(self, expression: str) -> Any:
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"]["description"])
        return result["result"].get("value")

    def until(self, condition: Callable[[], bool], within_ms: float = ANSWERED_WITHIN_MS) -> None:
        """Wait for what messages of the browser bring."""
        for _ in range(int(within_ms / STEP_MS)):
            if condition():
                return
            self.wait(STEP_MS)
        raise TimeoutError("Chromium does not answer")

    def wait(self, duration_ms: float) -> None:
        """Let time pass, and messages come in."""
        self._clock.wait_for_timeout(duration_ms)

    def processes(self) -> list[dict[str, Any]]:
        return list(self._browser.send("SystemInfo.getProcessInfo")["processInfo"])

    def _receive(self, event: dict[str, Any]) -> None:
        message = json.loads(event["message"])
        if "id" in message:
            self._answers[message["id"]] = message
        elif listener := self._listeners.get(message["method"]):
            listener(message["params"])
