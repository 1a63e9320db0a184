"""The utility of the simulated fleet: its program, the event that requests reports, and enrolments."""

from collections.abc import Iterable
from urllib.parse import urlencode

from local.openadr.client import VtnClient
from local.openadr.reports import PAYLOAD_UNITS
from schemas.openadr import OpenAdrEvent, OpenAdrProgram, OpenAdrVen

PROGRAM = "simulated-fleet"
MEASUREMENTS = "measurements"
TARGET = "simulated-fleet"
"""The target that VENs of the fleet are granted, and that events use."""

_ALWAYS = {"start": "2020-01-01T00:00:00Z", "duration": "P9999Y"}


class Utility:
    """The business logic of a utility. Idempotent."""

    def __init__(self, vtn: VtnClient) -> None:
        self._vtn = vtn

    def prepare(self, ven_names: Iterable[str]) -> None:
        """Create the program, its event, and missing enrolments.

        Each VEN's client has the name of the VEN.
        """
        program_id = self._program_id()
        self._request_reports(program_id)
        enrolled = {each.ven_name for each in self._vtn.read("/vens", list[OpenAdrVen])}
        for name in ven_names:
            if name not in enrolled:
                self._vtn.write("POST", "/vens", _enrolment(name), OpenAdrVen)

    def _program_id(self) -> str:
        programs = self._vtn.read("/programs", list[OpenAdrProgram])
        existing = next((each for each in programs if each.program_name == PROGRAM), None)
        program = existing or self._vtn.write("POST", "/programs", {"programName": PROGRAM}, OpenAdrProgram)
        return program.id

    def _request_reports(self, program_id: str) -> None:
        """Create an endless event without power, which requests measurements: reports belong to an event."""
        query = urlencode({"programID": program_id})
        events = self._vtn.read(f"/events?{query}", list[OpenAdrEvent])
        if not any(each.event_name == MEASUREMENTS for each in events):
            self._vtn.write("POST", "/events", _measurements(program_id), OpenAdrEvent)


def _measurements(program_id: str) -> dict[str, object]:
    descriptors = [
        {"payloadType": each, "readingType": "DIRECT_READ"} | ({"units": units} if units else {})
        for each, units in PAYLOAD_UNITS.items()
        if each not in {"DEMAND", "READING"}  # USAGE says it
    ]
    return {
        "programID": program_id,
        "eventName": MEASUREMENTS,
        "targets": [TARGET],
        "intervalPeriod": _ALWAYS,
        "intervals": [],
        "reportDescriptors": descriptors,
    }


def _enrolment(name: str) -> dict[str, object]:
    return {"objectType": "BL_VEN_REQUEST", "venName": name, "clientID": name, "targets": [TARGET]}
