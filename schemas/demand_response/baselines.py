"""The baselines by which events are measured: names, rules, and sources."""

from types import MappingProxyType
from typing import Literal

from msgspec import Struct

BaselineName = Literal[
    "high-5-of-10-adjusted",
    "high-5-of-10",
    "10-of-10-adjusted",
    "10-of-10",
    "same-day-3+2",
    "last-samples",
    "caiso-10-of-10",
    "caiso-residential-5-of-10",
    "nyiso-5-of-10",
    "pjm-4-of-5",
    "aemo-10-of-10",
    "caiso-weather-4-of-90",
]
DayChoice = Literal["usage", "temperature"]
"""How a rule chooses days: by the highest usage, or by the nearest temperature."""

AdjustmentKind = Literal["none", "multiplicative", "additive", "by-load"]

PRIMARY: BaselineName = "10-of-10-adjusted"
"""The baseline by which events are measured first, unless a setting names another.

It does not choose the highest days: for a home these are the days on which its car was charging, and the
baseline is biased upwards (notebook 03 has the figures).
"""


class DayRule(Struct, frozen=True):
    """The mean of the `highest` of the `last` eligible days; no baseline with fewer than `fewest`.

    If days are chosen by temperature, `highest` is the number of days with the nearest temperatures.
    """

    highest: int
    last: int
    fewest: int


class Adjustment(Struct, frozen=True):
    """How a baseline of earlier days is adjusted to the day of the event.

    `kind` `multiplicative`: times usage over baseline in the window, between 1 - cap and 1 + cap. `additive`:
    plus usage less baseline in the window, at most `cap` of the event's load. `by-load`: the one that suits
    the baseline's sign and size. The window: from `from_h` to `to_h` hours before the start, earlier where
    the VEN was notified earlier; and from `after_from_h` to `after_to_h` hours after the end, where these
    differ. `cap` null: the setting `BASELINE_CAP_PERCENT`; `is_capped` false: without a cap.
    """

    kind: AdjustmentKind = "none"
    from_h: int = 4
    to_h: int = 1
    after_from_h: int = 0
    after_to_h: int = 0
    cap: float | None = None
    is_capped: bool = True


class Baseline(Struct, frozen=True, kw_only=True):
    """One baseline and its parameters.

    `weekday`, `weekend`: the rules by kind of day; null for a baseline of the event's day alone. `like_days`:
    Saturdays are compared with Saturdays, Sundays and holidays with Sundays and holidays. `holidays_count`:
    holidays are candidates on weekends. `low_usage_share`: days with less than this share of the mean are
    dropped. `chosen_by` `temperature`: days count whose maximum is nearest to that of the event's day; a day
    without temperatures is no candidate. `look_back_days` null: the setting `BASELINE_LOOK_BACK_DAYS`.
    `source_read`: whether the source was read for this implementation; `differs`: known differences from the
    source.
    """

    name: BaselineName
    meaning: str
    operator: str = ""
    source: str = ""
    source_read: bool = False
    differs: str = ""
    weekday: DayRule | None = None
    weekend: DayRule | None = None
    like_days: bool = False
    holidays_count: bool = False
    low_usage_share: float = 0.0
    chosen_by: DayChoice = "usage"
    look_back_days: int | None = None
    adjustment: Adjustment = Adjustment()


_TEN = DayRule(10, 10, 5)
_WEEKEND = DayRule(10, 10, 4)
_FOUR = DayRule(4, 4, 4)
_TWO_OF_THREE = DayRule(2, 3, 2)
_BY_LOAD = Adjustment("by-load")
_ADJUSTED = ", adjusted to what the VEN used on the day of the event before it was notified"

CAISO = Baseline(
    name="caiso-10-of-10",
    meaning="mean of the last ten weekdays, or of the last four other days, times usage over baseline in the"
    " first three of the four hours before the event, between 0.8 and 1.2",
    operator="CAISO",
    source="CAISO tariff, section 4.13.4.1, ten-in-ten methodology",
    weekday=DayRule(10, 10, 5),
    weekend=_FOUR,
    holidays_count=True,
    look_back_days=45,
    adjustment=Adjustment("multiplicative", cap=0.2),
)
"""CAISO's ten-in-ten: 45 days, four weekend days, a cap of 20 %. The tariff's text could not be read here."""

CAISO_RESIDENTIAL = Baseline(
    name="caiso-residential-5-of-10",
    meaning="mean of the five of the last ten weekdays, or of the three of the last five other days, with the"
    " highest usage, times usage over baseline in hours before and after the event, between 0.6 and 1.4",
    operator="CAISO",
    source="CAISO tariff, section 4.13.4.3, five-in-ten methodology; PG&E, Power Saver Rewards, questions and"
    " answers (powersaver.pge.com/faq), which describes its days",
    differs="weekend days weigh the same, where the source weighs them; the cap is symmetric",
    weekday=DayRule(5, 10, 5),
    weekend=DayRule(3, 5, 3),
    holidays_count=True,
    look_back_days=45,
    adjustment=Adjustment("multiplicative", from_h=4, to_h=2, after_from_h=2, after_to_h=4, cap=0.4),
)
"""CAISO's five-in-ten for homes: three of five on weekends. Its days were read in PG&E's description, not in
the tariff.
"""

NYISO = Baseline(
    name="nyiso-5-of-10",
    meaning="mean of the five of the last ten weekdays, or of the two of the last three Saturdays or Sundays,"
    " with the highest usage, times usage over baseline in the two hours that begin four hours before the"
    " event, between 0.8 and 1.2",
    operator="NYISO",
    source="NYISO manual 7, Emergency Demand Response Program, section 5.2, average day baseline with the"
    " weather sensitive adjustment",
    differs="days with events are no weekend days either, where the source excludes none; the mean of the"
    " days, not the highest hour of the month, says which days are low",
    weekday=DayRule(5, 10, 5),
    weekend=_TWO_OF_THREE,
    like_days=True,
    holidays_count=True,
    low_usage_share=0.25,
    look_back_days=30,
    adjustment=Adjustment("multiplicative", from_h=4, to_h=2, cap=0.2),
)
"""NYISO's average day baseline: two of three on weekends, low days dropped. The manual could not be read."""

PJM = Baseline(
    name="pjm-4-of-5",
    meaning="mean of the four of the last five weekdays, or of the two of the last three Saturdays or"
    " Sundays, with the highest usage, plus usage less baseline in the first three of the four hours"
    " before the event",
    operator="PJM",
    source="PJM manual 11, section 10.4.2, three day types with symmetric additive adjustment",
    differs="a baseline may be negative, as that of a home that exports",
    weekday=DayRule(4, 5, 4),
    weekend=_TWO_OF_THREE,
    like_days=True,
    holidays_count=True,
    low_usage_share=0.25,
    look_back_days=45,
    adjustment=Adjustment("additive", is_capped=False),
)
"""PJM's economic baseline: days below a quarter of the mean are dropped. The manual could not be read."""

AEMO = Baseline(
    name="aemo-10-of-10",
    meaning="mean of the last ten weekdays, or of the last four other days, plus usage less baseline in the"
    " first three of the four hours before the event, at most a fifth of the event's load",
    operator="AEMO",
    source="AEMO, Wholesale Demand Response Guidelines, baseline methodology register; WattClarity, 'Will"
    " your 10 out of 10 baseline be eligible?' (2021), which describes its days",
    weekday=DayRule(10, 10, 5),
    weekend=_FOUR,
    holidays_count=True,
    look_back_days=45,
    adjustment=Adjustment("additive", cap=0.2),
)
"""AEMO's ten of ten with a capped additive adjustment. Its days were read in WattClarity's description; the
guidelines could not be read here.
"""

CAISO_WEATHER = Baseline(
    name="caiso-weather-4-of-90",
    meaning="mean of the four similar days of the last ninety whose highest temperature is nearest to that of"
    " the event's day, times usage over baseline in hours before and after the event, between 0.6 and 1.4",
    operator="CAISO",
    source="California ISO, Baseline Accuracy Work Group Proposal (Bode, Ciccone, 2017), residential weather"
    " matching baseline; CAISO tariff, section 4.13.4",
    differs="the temperatures are those of each VEN's region, where the source weighs weather stations by"
    " their participants; the cap is symmetric",
    weekday=DayRule(4, 90, 4),
    weekend=DayRule(4, 90, 4),
    chosen_by="temperature",
    holidays_count=True,
    look_back_days=90,
    adjustment=CAISO_RESIDENTIAL.adjustment,
)
"""CAISO's weather matching for homes: four days of ninety by the daily maximum.

Of the work group's proposal only the table of contents could be read here, not the process in its appendix.
"""

_ALL = (
    Baseline(
        name="high-5-of-10-adjusted",
        meaning="mean of the five of the last ten similar days with the highest usage" + _ADJUSTED,
        weekday=DayRule(5, 10, 5),
        weekend=DayRule(5, 10, 4),
        adjustment=_BY_LOAD,
    ),
    Baseline(
        name="high-5-of-10",
        meaning="mean of the five of the last ten similar days with the highest usage",
        weekday=DayRule(5, 10, 5),
        weekend=DayRule(5, 10, 4),
    ),
    Baseline(
        name="10-of-10-adjusted",
        meaning="mean of the last ten similar days" + _ADJUSTED,
        weekday=_TEN,
        weekend=_WEEKEND,
        adjustment=_BY_LOAD,
    ),
    Baseline(name="10-of-10", meaning="mean of the last ten similar days", weekday=_TEN, weekend=_WEEKEND),
    Baseline(
        name="same-day-3+2",
        meaning="mean of the three hours that end one hour before the event and the two that begin one hour"
        " after it",
        operator="PJM",
        source="PJM manual 11, section 10.4.2, same day (3+2)",
    ),
    Baseline(
        name="last-samples",
        meaning="mean of the hour before the event: what stands in where another has too little data",
    ),
    CAISO,
    CAISO_RESIDENTIAL,
    NYISO,
    PJM,
    AEMO,
    CAISO_WEATHER,
)

METHODS = MappingProxyType[BaselineName, Baseline]({baseline.name: baseline for baseline in _ALL})
"""The baselines of a VEN; the portfolio's is the sum over its VENs."""

BASELINES = MappingProxyType[BaselineName, str]({name: METHODS[name].meaning for name in METHODS})
"""The meaning of each baseline, in words."""

BY_TEMPERATURE = frozenset(name for name in METHODS if METHODS[name].chosen_by == "temperature")
"""Baselines that need temperatures."""

GENERIC: tuple[BaselineName, ...] = tuple(name for name in METHODS if METHODS[name].look_back_days is None)
"""Generic baselines, which depend on the site's settings and are computed by default."""
