"""The form of a log event: a name, a level, a time, and fields."""

from typing import Any, Literal

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def log_options(level: str, log_format: Literal["text", "json"]) -> dict[str, Any]:
    """Arguments for `structlog.configure`: one line an event, for people or for machines."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    machine: list[Processor] = [
        structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
        structlog.processors.JSONRenderer(),
    ]
    # Traces without their locals: those hold settings, and settings hold passwords.
    plain = structlog.dev.plain_traceback
    person: list[Processor] = [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=plain)]
    return {
        "processors": shared + (machine if log_format == "json" else person),
        "wrapper_class": structlog.make_filtering_bound_logger(LEVELS[level]),
        "cache_logger_on_first_use": True,
    }
