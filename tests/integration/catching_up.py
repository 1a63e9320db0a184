"""Running the jobs whose results are in answers."""

from datetime import datetime

from sqlalchemy import Engine

from jobs.running.runner import Runner
from jobs.running.schedule import Job, schedule
from jobs.settings import Cadence
from tests.integration.published import NOW

UPKEEP = {"retention", "trim", "quotas", "sessions", "partitions", "statistics"}
"""Jobs that change no answer, and cost more than all others: they make partitions, for one."""


def answering(cadence: Cadence) -> tuple[Job, ...]:
    return tuple(job for job in schedule(cadence) if job.name not in UPKEEP)


ANSWERING = answering(Cadence())


def catch_up(engine: Engine, now: datetime = NOW, jobs: tuple[Job, ...] = ANSWERING) -> None:
    """Run them until no batch is pending."""
    Runner(engine, lambda: now).catch_up(jobs)
