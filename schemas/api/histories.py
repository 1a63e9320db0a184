"""Points and rows of histories."""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from schemas.api.fields import Instant, Shape

BucketStart = Annotated[
    Instant,
    Meta(
        description="Start of the bucket: a multiple of the granularity since the Unix epoch.",
        examples=["2026-01-15T12:00:00Z"],
    ),
]
HistoryWarning = Annotated[
    str,
    Meta(description="Present if retention has deleted fine enough data; tells since when values are exact."),
]


class PowerPoint(Shape, frozen=True, gc=False):
    """One bucket of history: sums of samples, or their mean power."""

    timestamp: BucketStart
    used_power_kw: float
    shed_power_kw: float


class PowerHistory(Shape, frozen=True):
    """A history with `aggregate=sum` or `mean`, oldest first."""

    points: list[PowerPoint]
    warning: HistoryWarning | UnsetType = UNSET


class EnergyPoint(Shape, frozen=True, gc=False):
    """One bucket of history as energy."""

    timestamp: BucketStart
    used_energy_kwh: float
    shed_energy_kwh: float


class EnergyHistory(Shape, frozen=True):
    """A history with `aggregate=energy`, oldest first."""

    points: list[EnergyPoint]
    warning: HistoryWarning | UnsetType = UNSET


PointEvent = Annotated[
    str, Meta(description="Present if the VEN took part in an event: the first in the bucket.")
]
PointRequest = Annotated[float, Meta(description="The request of that event to the VEN.")]


class VenPowerPoint(PowerPoint, frozen=True, gc=False):
    """One bucket of a VEN's history, with its event."""

    event_id: PointEvent | UnsetType = UNSET
    requested_reduction_kw: PointRequest | UnsetType = UNSET


class VenPowerHistory(Shape, frozen=True):
    """A VEN's history with `aggregate=sum` or `mean`, oldest first."""

    points: list[VenPowerPoint]
    warning: HistoryWarning | UnsetType = UNSET


class VenEnergyPoint(EnergyPoint, frozen=True, gc=False):
    """One bucket of a VEN's history as energy, with its event."""

    event_id: PointEvent | UnsetType = UNSET
    requested_reduction_kw: PointRequest | UnsetType = UNSET


class VenEnergyHistory(Shape, frozen=True):
    """A VEN's history with `aggregate=energy`, oldest first."""

    points: list[VenEnergyPoint]
    warning: HistoryWarning | UnsetType = UNSET


VenIdOfPoint = Annotated[str, Meta(description="The VEN.", examples=["ven-0001"])]
GroupIdOfPoint = Annotated[str, Meta(description="The group.", examples=["north"])]
TypeOfPoint = Annotated[
    str,
    Meta(description="The type of load, as it is now; `unknown` for loads without one.", examples=["hvac"]),
]


class VenPowerRow(Shape, frozen=True, gc=False):
    """One bucket of a VEN: sums of samples, or their mean power."""

    ven_id: VenIdOfPoint
    timestamp: BucketStart
    used_power_kw: float
    shed_power_kw: float
    event_id: PointEvent | UnsetType = UNSET
    requested_reduction_kw: PointRequest | UnsetType = UNSET


class VenPowerRows(Shape, frozen=True):
    """Histories of VENs with `aggregate=sum` or `mean`, one after the other, each oldest first."""

    points: list[VenPowerRow]
    warning: HistoryWarning | UnsetType = UNSET


class VenEnergyRow(Shape, frozen=True, gc=False):
    """One bucket of a VEN: energy."""

    ven_id: VenIdOfPoint
    timestamp: BucketStart
    used_energy_kwh: float
    shed_energy_kwh: float
    event_id: PointEvent | UnsetType = UNSET
    requested_reduction_kw: PointRequest | UnsetType = UNSET


class VenEnergyRows(Shape, frozen=True):
    """Histories of VENs with `aggregate=energy`, one after the other, each oldest first."""

    points: list[VenEnergyRow]
    warning: HistoryWarning | UnsetType = UNSET


class GroupPowerRow(Shape, frozen=True, gc=False):
    """One bucket of a group: sums of samples, or their mean power."""

    group_id: GroupIdOfPoint
    timestamp: BucketStart
    used_power_kw: float
    shed_power_kw: float


class GroupPowerRows(Shape, frozen=True):
    """Histories of groups with `aggregate=sum` or `mean`, one after the other, each oldest first."""

    points: list[GroupPowerRow]
    warning: HistoryWarning | UnsetType = UNSET


class GroupEnergyRow(Shape, frozen=True, gc=False):
    """One bucket of a group: energy."""

    group_id: GroupIdOfPoint
    timestamp: BucketStart
    used_energy_kwh: float
    shed_energy_kwh: float


class GroupEnergyRows(Shape, frozen=True):
    """Histories of groups with `aggregate=energy`, one after the other, each oldest first."""

    points: list[GroupEnergyRow]
    warning: HistoryWarning | UnsetType = UNSET


class LoadPowerRow(Shape, frozen=True, gc=False):
    """One bucket of a load: sums of samples, or their mean power."""

    ven_id: VenIdOfPoint
    load_id: str
    type: TypeOfPoint
    timestamp: BucketStart
    used_power_kw: float
    shed_power_kw: float


class LoadPowerRows(Shape, frozen=True):
    """Histories of loads with `aggregate=sum` or `mean`, one after the other, each oldest first."""

    points: list[LoadPowerRow]
    warning: HistoryWarning | UnsetType = UNSET


class LoadEnergyRow(Shape, frozen=True, gc=False):
    """One bucket of a load: energy."""

    ven_id: VenIdOfPoint
    load_id: str
    type: TypeOfPoint
    timestamp: BucketStart
    used_energy_kwh: float
    shed_energy_kwh: float


class LoadEnergyRows(Shape, frozen=True):
    """Histories of loads with `aggregate=energy`, one after the other, each oldest first."""

    points: list[LoadEnergyRow]
    warning: HistoryWarning | UnsetType = UNSET


class LoadTypePowerRow(Shape, frozen=True, gc=False):
    """One bucket of all loads of a type: sums of samples, or their mean power."""

    type: TypeOfPoint
    timestamp: BucketStart
    used_power_kw: float
    shed_power_kw: float


class LoadTypePowerRows(Shape, frozen=True):
    """Histories of types of load with `aggregate=sum` or `mean`, one after the other, each oldest first."""

    points: list[LoadTypePowerRow]
    warning: HistoryWarning | UnsetType = UNSET


class LoadTypeEnergyRow(Shape, frozen=True, gc=False):
    """One bucket of all loads of a type: energy."""

    type: TypeOfPoint
    timestamp: BucketStart
    used_energy_kwh: float
    shed_energy_kwh: float


class LoadTypeEnergyRows(Shape, frozen=True):
    """Histories of types of load with `aggregate=energy`, one after the other, each oldest first."""

    points: list[LoadTypeEnergyRow]
    warning: HistoryWarning | UnsetType = UNSET
