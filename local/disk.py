"""The space that a data directory needs, and the error message when there is too little."""

import errno
import os
import shutil
from pathlib import Path

from local.fleet.backfill import backfill_length
from local.service import StartError, UnusableError

MB = 1_000_000
EMPTY_MB = 200
"""A database without rows, its first WAL files, and logs."""

BYTES_OF_MESSAGE = 6_000
"""Rows with their indexes, summaries, and the WAL of both, for a report of the simulated fleet."""

FULL = os.strerror(errno.ENOSPC)


def needed_mb(vens: int, backfill_hours: float, interval_s: float) -> int:
    """Space for a fleet's past reports and for its first hour."""
    messages = backfill_length(vens, backfill_hours, interval_s) + vens * 3_600 / interval_s
    return EMPTY_MB + round(messages * BYTES_OF_MESSAGE / MB)


def require_space(data_dir: Path, megabytes: int) -> None:
    """Check that a directory that exists has room.

    Raises:
        UnusableError: it has not.
    """
    if shutil.disk_usage(data_dir).free < megabytes * MB:
        raise UnusableError(too_full(data_dir, megabytes))


def too_full(data_dir: Path, megabytes: int) -> str:
    """A sentence with the directory, the space that is free there, and the space needed."""
    there = next(each for each in (data_dir, *data_dir.absolute().parents) if each.exists())
    free_mb = shutil.disk_usage(there).free // MB
    return (
        f"The disk of {data_dir} has {free_mb} MB free, and {megabytes} MB are needed:"
        " make room, or choose a folder on another disk with --data-dir"
    )


def with_cause(error: StartError, data_dir: Path, megabytes: int) -> str:
    """The message of an error; if the disk was full, a sentence that says so comes last."""
    message = str(error)
    return f"{message}\n{too_full(data_dir, megabytes)}" if FULL in message else message
