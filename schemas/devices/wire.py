"""Messages of VENs: the JSON of `docs/ven-contract.md`, as msgspec types.

Powers are kW. An impossible number (beyond `LARGEST_KW`) is rejected here, as two of them would overflow
every sum.
"""

from typing import Annotated

from msgspec import Meta, Raw, Struct

LARGEST_KW = 1e9

Kw = Annotated[float, Meta(ge=-LARGEST_KW, le=LARGEST_KW)]
Id = Annotated[str, Meta(min_length=1, max_length=255)]
Label = Annotated[str, Meta(max_length=255)]
StatusWord = Annotated[str, Meta(min_length=1, max_length=255)]
Priority = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
WholeNumber = Priority | Annotated[float, Meta(ge=-(2**31), le=2**31 - 1)]
"""A whole number, which JSON may also write as `1.0`; readers reject `1.5`."""


class LoadEntry(Struct, rename="camel", gc=False):
    """One load in telemetry or in a load snapshot; `null` equals a missing key.

    Decoding is fastest if fields have the order in which VENs send them.
    """

    id: Id | None = None
    load_id: Id | None = None
    name: Label | None = None
    type: Label | None = None
    current_power_kw: Kw | None = None
    shed_power_kw: Kw | None = None
    capacity_kw: Kw | None = None
    shed_capability_kw: Kw | None = None
    enabled: bool | None = None
    priority: WholeNumber | None = None


class PlainLoadEntry(LoadEntry, forbid_unknown_fields=True, rename="camel", gc=False):
    """A load entry with only the contract's keys, as nearly all are: fast to decode."""


class LenientLoadEntry(Struct, rename="camel", gc=False):
    """A load entry whose descriptive fields stay undecoded, so that a bad one is rejected alone."""

    id: Id | None = None
    load_id: Id | None = None
    current_power_kw: Kw | None = None
    shed_power_kw: Kw | None = None
    name: Raw = Raw()
    type: Raw = Raw()
    capacity_kw: Raw = Raw()
    shed_capability_kw: Raw = Raw()
    enabled: Raw = Raw()
    priority: Raw = Raw()


class _Panel(Struct, rename="camel", gc=False):
    """The required part of telemetry: VEN, time and powers; `power_kw` and `shed_kw` are the older names."""

    timestamp: int | float | str
    ven_id: Id | None = None
    used_power_kw: Kw | None = None
    shed_power_kw: Kw | None = None


_OLDER_NAMES = {
    "battery_soc_upper": "batterySOC",
    "battery_soc_snake": "battery_soc",
    "power_kw": "power_kw",
    "shed_kw": "shed_kw",
    "requested_reduction_kw": "requestedReductionKw",
    "event_id": "eventId",
    "baseline_power_kw": "baselinePowerKw",
    "battery_soc": "batterySoc",
}


class PanelTelemetry(_Panel, rename=_OLDER_NAMES, gc=False):
    """Telemetry without its loads."""

    requested_reduction_kw: Kw | None = None
    event_id: Label | None = None
    baseline_power_kw: Kw | None = None
    battery_soc: Kw | None = None
    battery_soc_upper: Kw | None = None
    battery_soc_snake: Kw | None = None
    power_kw: Kw | None = None
    shed_kw: Kw | None = None


class PlainTelemetry(PanelTelemetry, gc=False):
    """Telemetry whose loads have only the contract's keys."""

    loads: list[PlainLoadEntry] | None = None


class LenientTelemetry(_Panel, rename=_OLDER_NAMES, gc=False):
    """Any telemetry: fields besides measurements stay undecoded, so that a bad value is rejected alone."""

    power_kw: Kw | None = None
    shed_kw: Kw | None = None
    requested_reduction_kw: Raw = Raw()
    event_id: Raw = Raw()
    baseline_power_kw: Raw = Raw()
    battery_soc: Raw = Raw()
    battery_soc_upper: Raw = Raw()
    battery_soc_snake: Raw = Raw()
    loads: Raw = Raw()


class LoadSnapshot(Struct, rename="camel", gc=False):
    """The full description of a VEN's loads."""

    timestamp: int | float | str
    loads: list[Raw]
    ven_id: Id | None = None
    understands: Raw = Raw()


class StatusMessage(Struct, rename="camel", gc=False):
    """A status transition; without a timestamp it is dated by its receipt."""

    status: StatusWord | bool
    ven_id: Id | None = None
    timestamp: int | float | str | None = None
    details: Raw = Raw()


ACCEPTED = ("accepted", "success")
NOT_ACCEPTED = ("rejected", "error")


Abilities = Annotated[list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(max_length=100)]
"""Optional parts of an `event` command that a VEN supports."""


class AnsweredAbilities(Struct, rename="camel", gc=False):
    """The part of an acknowledgement's `data` with a VEN's abilities."""

    understands: Abilities | None = None


class Acknowledgement(Struct, rename="camel", gc=False):
    """A VEN's acknowledgement of a command: `ok` in the older form, `status` in the newer one."""

    correlation_id: Id
    ven_id: Id | None = None
    ok: bool | None = None
    status: str | None = None
    understands: Raw = Raw()
    data: Raw = Raw()

    @property
    def is_accepted(self) -> bool | None:
        """Return whether the VEN accepts; None if it has neither field, or an unknown word."""
        word = None if self.status is None else self.status.strip().lower()
        if word is None:
            return self.ok
        return word in ACCEPTED if word in ACCEPTED + NOT_ACCEPTED else None
