"""Attributes of VENs and resources that this service has fields for. Pure."""

from collections.abc import Sequence

from schemas.openadr import ValuesMap

MOST_LATITUDE_DEG, MOST_LONGITUDE_DEG = 90, 180


def place(attributes: Sequence[ValuesMap] | None) -> dict[str, float]:
    """Of `LOCATION`, which has the longitude first; nothing if there is none on Earth."""
    match _values(attributes, "LOCATION"):
        case [float() | int() as longitude, float() | int() as latitude] if (
            abs(latitude) <= MOST_LATITUDE_DEG and abs(longitude) <= MOST_LONGITUDE_DEG
        ):
            return {"latitude_deg": float(latitude), "longitude_deg": float(longitude)}
    return {}


def load_settings(attributes: Sequence[ValuesMap] | None) -> dict[str, object]:
    """Of `MAX_POWER_CONSUMPTION`, in kW, and `DESCRIPTION`."""
    settings: dict[str, object] = {}
    match _values(attributes, "MAX_POWER_CONSUMPTION"):
        case [float() | int() as capacity_kw] if not isinstance(capacity_kw, bool) and capacity_kw >= 0:
            settings["capacity_kw"] = float(capacity_kw)
    match _values(attributes, "DESCRIPTION"):
        case [str() as name] if name.isprintable() and name:
            settings["name"] = name
    return settings


def _values(attributes: Sequence[ValuesMap] | None, kind: str) -> Sequence[object]:
    return next((each.values for each in attributes or () if each.type == kind), [])
