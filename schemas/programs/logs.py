"""The form of log lines: an event's name, a level, a time, and fields; also for lines of libraries.

Libraries log through the standard library: APScheduler, granian (also from Rust), Python's own warnings, and
uncaught exceptions. They pass through the same processors, so that `LOG_FORMAT=json` applies to every line of
a program.
"""

import logging
import logging.config
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

LogFormat = Literal["text", "json"]


def configure_logs(level: str, log_format: LogFormat) -> None:
    """Configure one format for all log lines of this process, those of libraries included."""
    # Each line is written in one call: libraries write to the same stream from other threads.
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(), **log_options(level, log_format))
    logging.config.dictConfig(library_logging(level, log_format))
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def log_options(level: str, log_format: LogFormat) -> dict[str, Any]:
    """Arguments for `structlog.configure`: one line an event, for people or for machines."""
    return {
        "processors": [*_shared(), *_renderers(log_format)],
        "wrapper_class": structlog.make_filtering_bound_logger(LEVELS[level]),
        "cache_logger_on_first_use": True,
    }


def library_logging(level: str, log_format: LogFormat) -> dict[str, object]:
    """Return a `dictConfig` that writes libraries' log records to stdout in the same form.

    Libraries log from warnings on, unless `level` is debug; granian logs by `level`. It can be pickled, for
    granian's worker processes (`Granian(log_dictconfig=...)`).
    """
    of_libraries = LEVELS[level] if level == "debug" else max(LEVELS[level], logging.WARNING)
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structlog": {"()": "schemas.programs.logs.library_formatter", "log_format": log_format}
        },
        "handlers": {
            "stdout": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stdout",
                "formatter": "structlog",
            }
        },
        "root": {"handlers": ["stdout"], "level": of_libraries},
        "loggers": {"_granian": {"level": LEVELS[level]}, "granian.access": {"level": LEVELS[level]}},
    }


def library_formatter(log_format: LogFormat) -> logging.Formatter:
    """Renders a record of the standard library as structlog renders an event."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_shared(), structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(log_format)],
    )


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _renderers(log_format: LogFormat) -> list[Processor]:
    """Return the renderers; tracebacks omit local variables, which may contain passwords of settings."""
    if log_format == "json":
        traces = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
        return [traces, structlog.processors.JSONRenderer(default=str)]
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=plain)]


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    _uncaught(error, {})


def _log_uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
        _uncaught(arguments.exc_value, {"thread": getattr(arguments.thread, "name", None)})


def _uncaught(error: BaseException, fields: Mapping[str, object]) -> None:
    structlog.get_logger().error("uncaught_exception", error=str(error), exc_info=error, **fields)
