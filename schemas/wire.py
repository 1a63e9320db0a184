"""What VENs publish: the JSON of `docs/ven-contract.md`, as msgspec types.

Powers are kW. A number that no site can have (beyond `LARGEST_KW`) is refused here, for two of them
would overflow every sum they enter.
"""

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

LARGEST_KW = 1e9

Kw = Annotated[float, Meta(ge=-LARGEST_KW, le=LARGEST_KW)]
Id = Annotated[str, Meta(min_length=1, max_length=255)]
Label = Annotated[str, Meta(max_length=255)]
StatusWord = Annotated[str, Meta(min_length=1, max_length=255)]
Priority = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]


class LoadEntry(Struct, rename="camel", gc=False):
    """One load in telemetry or in a load snapshot; `null` says as little as leaving the key out."""

    id: Id | None = None
    load_id: Id | None = None
    name: Label | None = None
    type: Label | None = None
    current_power_kw: Kw | None = None
    shed_power_kw: Kw | None = None
    capacity_kw: Kw | None = None
    shed_capability_kw: Kw | None = None
    enabled: bool | None = None
    priority: Priority | None = None


class PlainLoadEntry(LoadEntry, forbid_unknown_fields=True, rename="camel", gc=False):
    """A load entry with nothing but the contract's keys: what nearly all are, and quick to read."""


class _Panel(Struct, rename="camel", gc=False):
    timestamp: int | float | str
    ven_id: Id | None = None
    used_power_kw: Kw | None = None
    shed_power_kw: Kw | None = None
    requested_reduction_kw: Kw | None = None
    event_id: Label | None = None
    baseline_power_kw: Kw | None = None
    battery_soc: Kw | None = None


class _Legacy(
    _Panel, gc=False, rename={"battery_soc_upper": "batterySOC", "battery_soc_snake": "battery_soc"}
):
    battery_soc_upper: Kw | None = None
    battery_soc_snake: Kw | None = None
    power_kw: Kw | None = None
    shed_kw: Kw | None = None


class PlainTelemetry(_Legacy, gc=False):
    """Telemetry whose loads say nothing beyond the contract."""

    loads: list[PlainLoadEntry] | None = None


class Telemetry(_Legacy, gc=False):
    """Any telemetry: loads stay as they came, so that a bad one does not take the others down."""

    loads: list[Raw] | None = None


class LoadSnapshot(Struct, rename="camel", gc=False):
    """The full description of a VEN's loads."""

    timestamp: int | float | str
    loads: list[Raw]
    ven_id: Id | None = None


class StatusMessage(Struct, rename="camel", gc=False):
    """A status transition; one without a timestamp is dated when it comes."""

    status: StatusWord
    ven_id: Id | None = None
    timestamp: int | float | str | None = None
    details: Raw = Raw()


class Acknowledgement(Struct, rename="camel", gc=False):
    """A VEN's answer to a command: `ok` in the older form, `status` in the newer one."""

    correlation_id: Id
    ven_id: Id | None = None
    ok: bool | None = None
    status: Literal["accepted", "success", "rejected", "error"] | None = None

    @property
    def is_accepted(self) -> bool | None:
        """The VEN's word; None where it says neither."""
        return self.ok if self.status is None else self.status in {"accepted", "success"}
