"""Frame models of histories: sums, or energies with the hours of the slots that have samples."""

from schemas.db.frame_models import pa
from schemas.tables.metadata import Frame, Utc


class SumsFrame(Frame):
    """Sums of samples, kW."""

    bucket: Utc
    used_power_kw: float
    shed_power_kw: float


class VenSumsFrame(SumsFrame):
    ven_id: str


class EnergiesFrame(Frame):
    """Energies, kWh, and the hours of the slots with samples."""

    bucket: Utc
    used_energy_kwh: float
    shed_energy_kwh: float
    hours: float = pa.Field(gt=0)


class VenEnergiesFrame(EnergiesFrame):
    ven_id: str
