"""Settings of the jobs."""

from datetime import timedelta
from typing import Annotated

from pydantic import DirectoryPath, Field, ValidationInfo, field_validator

from jobs.alarms.rules import AlarmLimits
from jobs.events.measuring import Rules
from jobs.events.notifying import Notifier
from jobs.webhooks.policy import WebhookPolicy
from schemas.baseline_model.settings import CalendarSettings
from schemas.programs.settings import (
    Address,
    ArchiveSettings,
    AskingSettings,
    NotifierSettings,
    ProgramSettings,
    Settings,
    WebhookSettings,
)
from schemas.tables.history import RAW_S

Days = Annotated[int, Field(ge=1, le=36_500)]


class Ages(Settings):
    """The retention of each kind of rows."""

    raw_days: Days | None = Field(
        None,
        validation_alias="RETENTION_RAW_DAYS",
        description="days to keep raw rows; default: for ever",
    )
    seconds_days: Days | None = Field(
        None,
        validation_alias="RETENTION_1S_DAYS",
        description="days to keep the network's history by second; not fewer than raw rows",
    )
    minutes_days: Days | None = Field(
        None,
        validation_alias="RETENTION_1M_DAYS",
        description="days to keep the network's history by minute; default: as history by five minutes",
    )
    slots_days: Days | None = Field(
        None,
        validation_alias="RETENTION_5M_DAYS",
        description="days to keep history by five minutes; not fewer than that by second",
    )
    hours_days: Days | None = Field(
        None,
        validation_alias="RETENTION_1H_DAYS",
        description="days to keep the network's history by hour; not fewer than that by five minutes",
    )
    runs_days: Days = Field(
        30, validation_alias="RETENTION_RUNS_DAYS", description="days to keep the rows of `job_runs`"
    )
    live_hours: int = Field(
        24,
        ge=1,
        le=876_000,
        validation_alias="RETENTION_LIVE_HOURS",
        description="hours within which a client can resume a live stream",
    )

    commands_days: Days = Field(
        90,
        validation_alias="RETENTION_COMMANDS_DAYS",
        description="days to keep commands that have ended",
    )
    rejected_days: Days = Field(
        30,
        validation_alias="RETENTION_REJECTED_DAYS",
        description="days to keep rejected messages",
    )
    rejected_mb: int = Field(
        1_024,
        ge=1,
        le=1_000_000,
        validation_alias="RETENTION_REJECTED_MB",
        description="megabytes of rejected messages to keep; the oldest are deleted first",
    )
    statuses_days: Days = Field(
        366,
        validation_alias="RETENTION_STATUSES_DAYS",
        description="days to keep status transitions; the newest of each VEN stays",
    )
    webhooks_days: Days = Field(
        7,
        validation_alias="RETENTION_WEBHOOKS_DAYS",
        description="days to keep webhook deliveries that have succeeded or finally failed",
    )
    openadr_reports_days: Days = Field(
        90,
        validation_alias="RETENTION_OPENADR_REPORTS_DAYS",
        description="days to keep reports of OpenADR clients as received; their measurements stay",
    )
    alarms_days: Days = Field(
        366, validation_alias="RETENTION_ALARMS_DAYS", description="days to keep alarms that are cleared"
    )
    events_days: int | None = Field(
        None,
        ge=400,
        le=36_500,
        validation_alias="RETENTION_EVENTS_DAYS",
        description="days to keep per-VEN participation of finished events; default: for ever",
    )

    @field_validator("seconds_days", "minutes_days", "slots_days", "hours_days")
    @classmethod
    def _no_shorter_than_finer(cls, days: int | None, info: ValidationInfo) -> int | None:
        """Require coarser resolutions to be kept at least as long as finer ones, so that there is no gap."""
        finer = ["raw_days", "seconds_days", "slots_days"]
        if info.data.get("minutes_days") is not None:
            finer.append("minutes_days")
        finer_days = [info.data[name] for name in finer if name in info.data]
        if days is not None and any(finer_kept is None or finer_kept > days for finer_kept in finer_days):
            raise ValueError("must not be shorter than the retention of finer resolutions")
        return days

    def events_retention(self) -> timedelta | None:
        return None if self.events_days is None else timedelta(days=self.events_days)

    def by_resolution(self) -> dict[int, timedelta]:
        """Return the retention of each resolution, finest first; without those kept for ever."""
        days = {
            RAW_S: self.raw_days,
            1: self.seconds_days,
            60: self.slots_days if self.minutes_days is None else self.minutes_days,
            300: self.slots_days,
            3600: self.hours_days,
        }
        return {
            resolution_s: timedelta(days=kept_days)
            for resolution_s, kept_days in days.items()
            if kept_days is not None
        }


class ArchivingSettings(ArchiveSettings):
    """When closed days are archived."""

    archive_after_days: Days = Field(
        2,
        validation_alias="ARCHIVE_AFTER_DAYS",
        description="days after which a day is archived; late rows are added whenever they arrive",
    )


class Measuring(CalendarSettings):
    """How events are settled: baselines, calendar, and dates."""

    settlement_every_s: float = Field(
        5,
        gt=0,
        le=86_400,
        validation_alias="JOBS_SETTLEMENT_EVERY_S",
        description="seconds between updates of running events' progress, and checks for events to settle",
    )
    settlement_grace_s: float = Field(
        120,
        ge=0,
        le=864_000,
        validation_alias="SETTLEMENT_GRACE_S",
        description="seconds between an event's end and its settlement, for reports in transit",
    )
    settlement_revise_days: Days = Field(
        7,
        validation_alias="SETTLEMENT_REVISE_DAYS",
        description="days after an event's end within which late data lead to a new revision",
    )
    least_coverage_percent: float = Field(
        80,
        ge=0,
        le=100,
        validation_alias="SETTLEMENT_COVERAGE_PERCENT",
        description="percent of the event's time; a settlement notes figures that cover less",
    )

    def rules(self) -> Rules:
        return Rules(
            time_zone=self.time_zone,
            holidays=self.holidays,
            look_back_days=self.look_back_days,
            cap=self.adjustment_cap_percent / 100,
            primary=self.primary_baseline,
            computed=self.computed_baselines(),
            least_coverage_percent=self.least_coverage_percent,
            grace=timedelta(seconds=self.settlement_grace_s),
            revise_for=timedelta(days=self.settlement_revise_days),
        )


class AlarmSettings(Settings):
    """Thresholds of alarms."""

    alarms_every_s: float = Field(
        10,
        gt=0,
        le=86_400,
        validation_alias="JOBS_ALARMS_EVERY_S",
        description="seconds between evaluations of the conditions of alarms",
    )
    alarm_clear_after_s: float = Field(
        120,
        ge=0,
        le=86_400,
        validation_alias="ALARM_CLEAR_AFTER_S",
        description="seconds for which a value must stay below 80 % of its threshold before its alarm clears",
    )
    alarm_jobs_late_s: float = Field(
        120,
        gt=0,
        le=86_400,
        validation_alias="ALARM_JOBS_LATE_S",
        description="alarm `jobs_late`: seconds that a job has not succeeded, beyond its period",
    )
    alarm_offline_percent: float = Field(
        20,
        gt=0,
        le=100,
        validation_alias="ALARM_OFFLINE_PERCENT",
        description="alarm `vens_offline`: percent of the VENs that went offline within minutes",
    )
    alarm_offline_within_s: float = Field(
        600,
        gt=0,
        le=86_400,
        validation_alias="ALARM_OFFLINE_WITHIN_S",
        description="alarm `vens_offline`: seconds within which they went offline",
    )
    alarm_refused_per_minute: float = Field(
        60,
        gt=0,
        le=1e6,
        validation_alias="ALARM_REFUSED_PER_MINUTE",
        description="alarm `messages_refused`: rejected messages per minute, over five minutes",
    )
    alarm_underdelivery_percent: float = Field(
        30,
        gt=0,
        le=100,
        validation_alias="ALARM_UNDERDELIVERY_PERCENT",
        description="alarm `event_underdelivers`: shortfall of a running event, percent of its request",
    )
    alarm_underdelivery_after_s: float = Field(
        300,
        ge=0,
        le=86_400,
        validation_alias="ALARM_UNDERDELIVERY_AFTER_S",
        description="alarm `event_underdelivers`: seconds that an event has to reach its request",
    )
    alarm_clocks_percent: float = Field(
        5,
        gt=0,
        le=100,
        validation_alias="ALARM_CLOCKS_PERCENT",
        description="alarm `clocks_off`: percent of recently heard VENs whose clocks are wrong",
    )
    alarm_clock_offset_s: float = Field(
        60,
        ge=20,
        le=86_400,
        validation_alias="ALARM_CLOCK_OFFSET_S",
        description="alarm `clocks_off`: offset from which a VEN's clock counts as wrong, seconds",
    )
    alarm_disk_percent: float = Field(
        85,
        gt=0,
        le=100,
        validation_alias="ALARM_DISK_PERCENT",
        description="alarm `disk_full`: used percent of the disk, or of `ALARM_DATABASE_GB`",
    )
    alarm_disk_path: DirectoryPath | None = Field(
        None,
        validation_alias="ALARM_DISK_PATH",
        description="alarm `disk_full`: a directory on the disk to watch; default: none",
    )
    alarm_database_gb: float | None = Field(
        None,
        gt=0,
        le=1e6,
        validation_alias="ALARM_DATABASE_GB",
        description="alarm `disk_full`: size limit of the database, gigabytes; default: none",
    )
    alarm_ingest_silent_s: float = Field(
        300,
        gt=0,
        le=86_400,
        validation_alias="ALARM_INGEST_SILENT_S",
        description="alarm `ingest_silent`: seconds without a message; more than your VENs' report interval",
    )

    def alarm_limits(self) -> AlarmLimits:
        return AlarmLimits(
            jobs_late_s=self.alarm_jobs_late_s,
            offline_percent=self.alarm_offline_percent,
            offline_within=timedelta(seconds=self.alarm_offline_within_s),
            refused_per_minute=self.alarm_refused_per_minute,
            underdelivery_percent=self.alarm_underdelivery_percent,
            underdelivery_after=timedelta(seconds=self.alarm_underdelivery_after_s),
            clocks_percent=self.alarm_clocks_percent,
            clock_offset=timedelta(seconds=self.alarm_clock_offset_s),
            disk_percent=self.alarm_disk_percent,
            disk_path=str(self.alarm_disk_path or ""),
            database_gb=self.alarm_database_gb,
            ingest_silent_s=self.alarm_ingest_silent_s,
            clear_after=timedelta(seconds=self.alarm_clear_after_s),
        )


class Cadence(Ages, ArchivingSettings, Measuring, AlarmSettings, AskingSettings, NotifierSettings):
    """The periods of the jobs, and the parameters of their rules."""

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
        description="seconds between checks of presence: VENs that were heard, or have fallen silent",
    )
    events_every_s: float = Field(
        0.5,
        gt=0,
        le=86_400,
        validation_alias="JOBS_EVENTS_EVERY_S",
        description="seconds between checks of events, and so the longest delay of their start and end",
    )
    commands_every_s: float = Field(
        5,
        gt=0,
        le=86_400,
        validation_alias="JOBS_COMMANDS_EVERY_S",
        description="seconds between searches of telemetry for the execution of acknowledged commands",
    )
    forecast_every_s: float = Field(
        300,
        gt=0,
        le=86_400,
        validation_alias="JOBS_FORECAST_EVERY_S",
        description="seconds between updates of the forecast by load type, where half hours have changed",
    )
    silent_intervals: float = Field(
        3,
        ge=1,
        le=1_000,
        validation_alias="PRESENCE_INTERVALS",
        description="presence time of a VEN in report intervals of its own; silent for longer, it is offline",
    )
    silent_at_least_s: float = Field(
        60,
        gt=0,
        le=316_224_000,
        validation_alias="PRESENCE_AT_LEAST_S",
        description="shortest presence time of a VEN, seconds",
    )

    def notifier(self) -> Notifier:
        return Notifier(has_mqtt=bool(self.openadr_mqtt_uris))


class WebhookSenderSettings(WebhookSettings):
    """Timeouts and retries of webhooks."""

    webhook_timeout_s: float = Field(
        10,
        gt=0,
        le=60,
        validation_alias="WEBHOOK_TIMEOUT_S",
        description="timeout of one delivery of a webhook, seconds",
    )
    webhook_retry_s: float = Field(
        5,
        gt=0,
        le=3_600,
        validation_alias="WEBHOOK_RETRY_S",
        description="seconds until a failed delivery is retried; doubles with each failure, up to an hour",
    )
    webhook_disable_after_s: float = Field(
        259_200,
        gt=0,
        le=31_622_400,
        validation_alias="WEBHOOK_DISABLE_AFTER_S",
        description="seconds of consecutive failures after which a webhook is disabled, with an alarm",
    )

    def webhook_policy(self) -> WebhookPolicy:
        return WebhookPolicy(
            networks=self.allowed_networks(),
            timeout_s=self.webhook_timeout_s,
            retry=timedelta(seconds=self.webhook_retry_s),
            disable_after=timedelta(seconds=self.webhook_disable_after_s),
        )


class JobsSettings(ProgramSettings, Cadence, WebhookSenderSettings):
    """Settings of `python -m jobs`."""

    http_port: int = Field(
        0,
        ge=0,
        le=65_535,
        validation_alias="JOBS_HTTP_PORT",
        description="port of `/metrics` and `/health`, which need no key; 0 for none",
    )
    http_host: Address = Field(
        "127.0.0.1",
        validation_alias="JOBS_HTTP_HOST",
        description="IP address of that port; behind a firewall, `0.0.0.0` lets another host scrape it",
    )
