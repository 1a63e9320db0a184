"""How many processes a program starts by itself."""

import os
import sys

MOST_BY_DEFAULT = 4
"""Each opens connections, and PostgreSQL often shares the machine; more of them were not measured."""


def processes_for(setting: int | None) -> int:
    """Return a setting; without one, the number of cores that this process may use, up to four."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return setting or min(cores, MOST_BY_DEFAULT)
