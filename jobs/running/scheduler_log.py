"""Filters a normal warning of APScheduler: a job still running when its next cycle is due."""

import logging

import structlog
from apscheduler.events import EVENT_JOB_MAX_INSTANCES, JobSubmissionEvent
from apscheduler.schedulers.base import BaseScheduler

STILL_RUNNING = "maximum number of running instances reached"


def log_still_running_at_debug(scheduler: BaseScheduler) -> None:
    """Log a job that is still running at debug, with its name, instead of APScheduler's warning."""
    logging.getLogger("apscheduler.scheduler").addFilter(_is_remarkable)
    scheduler.add_listener(_log_still_running, EVENT_JOB_MAX_INSTANCES)


def _is_remarkable(record: logging.LogRecord) -> bool:
    return STILL_RUNNING not in record.getMessage()


def _log_still_running(event: JobSubmissionEvent) -> None:
    structlog.get_logger().debug("job_still_running", job=event.job_id)
