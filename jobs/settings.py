"""Settings of the jobs."""

from pydantic import Field

from schemas.settings import ProgramSettings, Settings


class Cadence(Settings):
    """How often each job runs."""

    snapshot_every_s: float = Field(
        2,
        gt=0,
        le=86_400,
        validation_alias="JOBS_SNAPSHOT_EVERY_S",
        description="seconds between cycles of the snapshot lane: latest values, totals, network history",
    )
    history_every_s: float = Field(
        10,
        gt=0,
        le=86_400,
        validation_alias="JOBS_HISTORY_EVERY_S",
        description="seconds between cycles of the history lane: buckets by VEN and by load, energy",
    )
    presence_every_s: float = Field(
        5,
        gt=0,
        le=86_400,
        validation_alias="JOBS_PRESENCE_EVERY_S",
        description="seconds between looks at who has fallen silent",
    )
    silent_intervals: float = Field(
        3,
        ge=1,
        le=1_000,
        validation_alias="PRESENCE_INTERVALS",
        description="report intervals of its own after which a silent VEN is offline",
    )
    silent_at_least_s: float = Field(
        60,
        gt=0,
        le=86_400,
        validation_alias="PRESENCE_AT_LEAST_S",
        description="seconds that any VEN may be silent",
    )


class JobsSettings(ProgramSettings, Cadence):
    """What the jobs need to know."""
