"""An older VEN: it acts when it receives a command, and supports only `duration_s` and `restore`.

It reads no `start_ts` and no `end_ts`; an `event` without `duration_s` lasts an hour. It never sends a
status, subscribes to a topic of another cloud, and continues to name an ended event.
"""

import json
import threading
import time
from typing import Any, Self
from urllib.parse import urlsplit

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

USUAL_DURATION_S = 3600.0
CONNECTED_WITHIN_S = 10.0


class ReceiptVen:
    """One VEN with one load. `switched`: the time of each change, and whether the load sheds from then on.

    With `refuses_restore` it answers `restore` like an unknown command.
    """

    def __init__(
        self,
        mqtt_url: str,
        ven_id: str,
        *,
        power_kw: float = 3.0,
        report_every_s: float = 1.0,
        refuses_restore: bool = False,
    ) -> None:
        self.ven_id = ven_id
        self.switched: list[tuple[float, bool]] = []
        self.commands: list[dict[str, Any]] = []
        self.connections = 0
        self._where = urlsplit(mqtt_url)
        self._power_kw = power_kw
        self._report_every_s = report_every_s
        self._refuses_restore = refuses_restore
        self._event_id: str | None = None
        self._end: threading.Timer | None = None
        self._changed = threading.Condition()
        self._leaving = threading.Event()
        self._reporter = threading.Thread(target=self._report_on, name=ven_id, daemon=True)
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=ven_id)
        self._client.on_connect = self._subscribe
        self._client.on_message = self._receive

    def __enter__(self) -> Self:
        self._client.connect(self._where.hostname or "", self._where.port or 1883)
        self._client.loop_start()
        with self._changed:
            assert self._changed.wait_for(lambda: self.connections > 0, CONNECTED_WITHIN_S)
        self._reporter.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        self._reporter.join()
        if self._end is not None:
            self._end.cancel()
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def is_shedding(self) -> bool:
        return bool(self.switched) and self.switched[-1][1]

    def wait_switched(self, count: int, within_s: float) -> list[tuple[float, bool]]:
        """Wait for `count` changes, and return all."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.switched) >= count, within_s), (
                self.switched,
                self.commands,
            )
            return list(self.switched)

    def _subscribe(
        self,
        client: Client,
        _data: None,
        _flags: ConnectFlags,
        _reason: ReasonCode,
        _props: Properties | None,
    ) -> None:
        topics = (f"ven/cmd/{self.ven_id}", f"$aws/things/{self.ven_id}/shadow/update/delta")
        client.subscribe([(topic, 1) for topic in topics])
        with self._changed:
            self.connections += 1
            self._changed.notify_all()

    def _receive(self, client: Client, _data: None, message: MQTTMessage) -> None:
        command = json.loads(message.payload)
        self.commands.append(command)
        is_done = self._act(command["op"], command.get("data") or {})
        answer = {key: command.get(key) for key in ("op", "correlationId", "venId")}
        answer |= {"ok": is_done, "ts": int(time.time()), "data": {} if is_done else {"error": "unknown op"}}
        client.publish(f"ven/ack/{self.ven_id}", json.dumps(answer), qos=1)

    def _act(self, op: str, data: dict[str, Any]) -> bool:
        if op == "event":
            self._event_id = data["event_id"]
            self._shed(float(data.get("duration_s", USUAL_DURATION_S)))
        elif op == "restore" and not self._refuses_restore:
            self._switch(is_shedding=False)
        else:
            return op == "ping"
        return True

    def _shed(self, duration_s: float) -> None:
        if self._end is not None:
            self._end.cancel()
        self._end = threading.Timer(duration_s, self._switch, kwargs={"is_shedding": False})
        self._end.daemon = True
        self._end.start()
        self._switch(is_shedding=True)

    def _switch(self, *, is_shedding: bool) -> None:
        with self._changed:
            if is_shedding != self.is_shedding:
                self.switched.append((time.time(), is_shedding))
                self._changed.notify_all()

    def _report_on(self) -> None:
        while True:
            self._client.publish("volttron/metering", json.dumps(self._report()), qos=1)
            if self._leaving.wait(self._report_every_s):
                return

    def _report(self) -> dict[str, Any]:
        shed_kw = self._power_kw if self.is_shedding else 0.0
        load = {
            "id": "heater",
            "type": "water_heater",
            "currentPowerKw": self._power_kw - shed_kw,
            "shedPowerKw": shed_kw,
            "capacityKw": self._power_kw,
            "shedCapabilityKw": self._power_kw,
        }
        return {
            "venId": self.ven_id,
            "timestamp": time.time(),
            "power_kw": self._power_kw - shed_kw,
            "shed_kw": shed_kw,
            "eventId": self._event_id,
            "loads": [load],
        }
