"""Settings of the jobs."""

from pydantic import Field

from schemas.settings import ProgramSettings, Settings


class Cadence(Settings):
    """How often each job runs."""

    snapshot_every_s: float = Field(
        2,
        gt=0,
        validation_alias="JOBS_SNAPSHOT_EVERY_S",
        description="seconds between cycles of the snapshot lane: latest values, totals, network history",
    )
    history_every_s: float = Field(
        10,
        gt=0,
        validation_alias="JOBS_HISTORY_EVERY_S",
        description="seconds between cycles of the history lane: buckets by VEN and by load, energy",
    )


class JobsSettings(ProgramSettings, Cadence):
    """What the jobs need to know."""
