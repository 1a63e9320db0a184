"""Settings of the jobs."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from jobs.event_queries import Rest
from schemas.settings import ProgramSettings, Settings
from schemas.tables.history import RAW_S

Days = Annotated[int, Field(ge=1, le=36_500)]


class Ages(Settings):
    """How long what is kept."""

    raw_days: Days | None = Field(
        None,
        validation_alias="RETENTION_RAW_DAYS",
        description="days that raw rows are kept; without: for ever",
    )
    seconds_days: Days | None = Field(
        None,
        validation_alias="RETENTION_1S_DAYS",
        description="days that the network's history by second is kept, no fewer than raw rows",
    )
    slots_days: Days | None = Field(
        None,
        validation_alias="RETENTION_5M_DAYS",
        description="days that history by five minutes is kept, no fewer than that by second",
    )
    hours_days: Days | None = Field(
        None,
        validation_alias="RETENTION_1H_DAYS",
        description="days that the network's history by hour is kept, no fewer than that by five minutes",
    )
    runs_days: Days = Field(
        30, validation_alias="RETENTION_RUNS_DAYS", description="days that the table `job_runs` remembers"
    )

    @field_validator("seconds_days", "slots_days", "hours_days")
    @classmethod
    def _no_shorter_than_finer(cls, days: int | None, info: ValidationInfo) -> int | None:
        """Coarser truth outlives finer truth: else there would be a gap that nothing serves."""
        known = [
            info.data[finer] for finer in ("raw_days", "seconds_days", "slots_days") if finer in info.data
        ]
        if days is not None and any(kept is None or kept > days for kept in known):
            raise ValueError("must not be shorter than what is kept in finer resolutions")
        return days

    def by_resolution(self) -> dict[int, timedelta]:
        """How long each resolution is kept, finest first; those that are kept for ever are left out."""
        days = {RAW_S: self.raw_days, 1: self.seconds_days, 300: self.slots_days, 3600: self.hours_days}
        return {resolution_s: timedelta(days=kept) for resolution_s, kept in days.items() if kept is not None}


class Cadence(Ages):
    """How often each job runs, and how long what is kept."""

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
    events_every_s: float = Field(
        0.5,
        gt=0,
        le=86_400,
        validation_alias="JOBS_EVENTS_EVERY_S",
        description="seconds between looks at the events: so late, at most, they start and end",
    )
    rest_s: float = Field(
        900,
        ge=0,
        le=86_400,
        validation_alias="EVENTS_REST_S",
        description="seconds that a VEN is left alone after an event that it took part in",
    )
    events_per_day: int = Field(
        6,
        ge=1,
        le=1_000,
        validation_alias="EVENTS_MOST_PER_DAY",
        description="events that a VEN is asked to in 24 hours",
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

    def rest(self) -> Rest:
        return Rest(timedelta(seconds=self.rest_s), self.events_per_day)


class JobsSettings(ProgramSettings, Cadence):
    """What the jobs need to know."""

    http_port: int = Field(
        0,
        ge=0,
        le=65_535,
        validation_alias="JOBS_HTTP_PORT",
        description="port of `/metrics`, on the loopback interface; 0 for none",
    )
