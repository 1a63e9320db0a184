"""Running the jobs whose results are in answers."""

from datetime import datetime

from sqlalchemy import Engine

from jobs.running.runner import Runner
from jobs.running.schedule import schedule
from jobs.settings import Cadence
from tests.integration.published import NOW

UPKEEP = {"retention", "trim", "quotas", "sessions", "partitions"}
"""Jobs that change no answer, and cost more than all others: they make partitions, for one."""

ANSWERING = tuple(job for job in schedule(Cadence()) if job.name not in UPKEEP)


def catch_up(engine: Engine, now: datetime = NOW) -> None:
    """Run them until no batch is pending."""
    Runner(engine, lambda: now).catch_up(ANSWERING)
