"""The baselines by which events are measured: their names, and what each means."""

from types import MappingProxyType
from typing import Literal

BaselineName = Literal[
    "high-5-of-10-adjusted",
    "high-5-of-10",
    "10-of-10-adjusted",
    "10-of-10",
    "same-day-3+2",
    "last-samples",
]

PRIMARY: BaselineName = "10-of-10-adjusted"
"""What events are measured by first, unless a setting says otherwise.

Not the highest days: picked for each home, they are the days on which its car was charging, and promise what
nobody would have used (notebook 03 has the figures).
"""

_ADJUSTED = ", scaled to what the VEN used on the day of the event before it knew of it, within a cap"

BASELINES = MappingProxyType[BaselineName, str](
    {
        "high-5-of-10-adjusted": "mean of the five of the last ten similar days with the highest usage"
        f"{_ADJUSTED}",
        "high-5-of-10": "mean of the five of the last ten similar days with the highest usage",
        "10-of-10-adjusted": f"mean of the last ten similar days{_ADJUSTED}",
        "10-of-10": "mean of the last ten similar days",
        "same-day-3+2": "mean of the three hours that end one hour before the event and the two that begin"
        " one hour after it",
        "last-samples": "mean of the hour before the event: what stands in where another has too little data",
    }
)
"""What each baseline of a VEN is at a time of day; the portfolio's is the sum over its VENs."""
