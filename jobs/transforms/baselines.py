"""Baselines: what a VEN would have used had there been no event. Powers in kW, usage as reported.

A baseline is a power for each five-minute slot of an event, from the means that `ven_history` keeps for
such slots. Days and hours are local: 17:05 is the same slot on each day, also where clocks change between;
on a day on which the clock shows a time twice, its usage is the mean of both, and where it shows it not at
all there is none. A slot without samples, and one in which the VEN took part in another event, counts for
nothing. A slot that a window cuts counts by the part within.

Sources: the mean of ten similar days and the cap of 20 % on the adjustment are CAISO's (tariff, section
4.13.4, which AEMO's wholesale demand response follows as "10 of 10"), the highest five of ten NYISO's (manual
7, Emergency Demand Response Program; PJM's economic programme has the highest four of five), same-day 3+2
is in PJM's manual 11, the hour before the event was its default for emergencies. Common terms: NAESB,
business practice standards for measurement and verification of wholesale demand response.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from zoneinfo import ZoneInfo

import polars as pl
from msgspec import Struct

from jobs.ranges import Range, widened
from schemas.baselines import BASELINES, BaselineName
from schemas.tables.history import SLOT_S

SLOT = timedelta(seconds=SLOT_S)
HOUR = timedelta(hours=1)

ENOUGH = 0.8
"""This share of a window's slots must have samples for a day, or an adjustment, to count."""

FEWEST_WEEKDAYS, FEWEST_WEEKEND_DAYS = 5, 4
"""With fewer similar days there is no baseline of days (CAISO's minima)."""

TARGETS = 10
"""So many days without events are predicted from the others, to see how good a baseline is."""

DAYS_FOR_ONE = 10
"""So many eligible days are looked at for the event itself, the last ones."""

DAYS_FOR_ALL = DAYS_FOR_ONE + 1
"""And to predict each of the last `TARGETS` days, of which it cannot be one."""

EVENT, ADJUSTMENT, AROUND, BEFORE = "event", "adjustment", "around", "before"
PARTS = (EVENT, ADJUSTMENT, AROUND, BEFORE)
_KEYS = ["ven_id", "target"]


class Occasion(Struct, frozen=True):
    """An event's window, and when its VENs could know of it."""

    start: datetime
    end: datetime
    notified_at: datetime

    @property
    def window(self) -> Range:
        return Range(self.start, self.end)


class Calendar(Struct, frozen=True):
    """Where the VENs live: what a day is there, and which days are like no other."""

    time_zone: str = "UTC"
    holidays: frozenset[date] = frozenset()
    look_back_days: int = 45

    def day_of(self, instant: datetime) -> date:
        return instant.astimezone(ZoneInfo(self.time_zone)).date()

    def is_weekend(self, day: date) -> bool:
        """A holiday is like a weekend."""
        return day.weekday() >= 5 or day in self.holidays  # noqa: PLR2004 - Saturday


class DayRule(Struct, frozen=True):
    """The mean of the `highest` of the `last` similar days."""

    highest: int
    last: int


DAY_RULES = {"high-5-of-10": DayRule(5, 10), "10-of-10": DayRule(10, 10)}
ADJUSTED = "-adjusted"
"""Each of them comes as it is, and adjusted to the day of the event."""

SAME_DAY = "same-day-3+2"
LAST_SAMPLES = "last-samples"
STANDS_IN = "the hour before the event stands in"
FALL_BACK = "the hour before the event, which is no more than a fall-back"


class Prediction(Struct, frozen=True):
    """What some baselines say: of the event, and of days that had none.

    `event`: `ven_id`, `baseline`, `slot`, `baseline_kw`. `method`: `ven_id`, `baseline`, `days_used`, `note`
    (null where there is nothing to say). `errors`: what a baseline says of each hour of days without an
    event, beside what was used: `ven_id`, `baseline`, `target` (days before the event), `hour` (of the
    event's, from 0), `used_kw`, `predicted_kw`; VENs for whom a fall-back stands in have none.
    """

    event: pl.DataFrame
    method: pl.DataFrame
    errors: pl.DataFrame


def windows(occasion: Occasion) -> dict[str, list[Range]]:
    """What each part of the method looks at, on the day of the event.

    The adjustment ends an hour before the event (CAISO takes the first three of the four hours before it),
    and not after the VENs could know of it: else one could raise one's own baseline.
    """
    known_at = min(occasion.start - HOUR, occasion.notified_at)
    last = widened(Range(occasion.start, occasion.start), SLOT_S).start
    return {
        EVENT: [occasion.window],
        ADJUSTMENT: [Range(known_at - 3 * HOUR, known_at)],
        AROUND: [
            Range(occasion.start - 4 * HOUR, occasion.start - HOUR),
            Range(occasion.end + HOUR, occasion.end + 3 * HOUR),
        ],
        BEFORE: [Range(last - HOUR, last)],
    }


def slots_of(window: Range) -> pl.DataFrame:
    """The slots that a window reaches into: `slot` (their start), `hours` (of each, within the window)."""
    whole = widened(window, SLOT_S)
    slot = pl.datetime_range(whole.start, whole.end, SLOT, closed="left", eager=True, time_unit="us")
    start = pl.max_horizontal("slot", pl.lit(window.start))
    end = pl.min_horizontal(pl.col("slot") + SLOT, pl.lit(window.end))
    return pl.DataFrame({"slot": slot}, schema={"slot": pl.Datetime("us", "UTC")}).with_columns(
        hours=(end - start).dt.total_seconds(fractional=True) / 3600
    )


def similar_days(occasion: Occasion, calendar: Calendar) -> list[int]:
    """Days of the same kind as the event's first, as days before it, latest first.

    Weekdays for a weekday; Saturdays and Sundays for either, and for a holiday. A holiday is never one.
    """
    day, last_day = calendar.day_of(occasion.start), calendar.day_of(occasion.end - timedelta.resolution)
    kind, own = calendar.is_weekend(day), (last_day - day).days
    candidates = ((back, day - timedelta(days=back)) for back in range(own + 1, calendar.look_back_days + 1))
    return [
        back
        for back, then in candidates
        if then not in calendar.holidays and calendar.is_weekend(then) == kind
    ]


def needed(occasion: Occasion, calendar: Calendar) -> list[Range]:
    """The ranges of history that baselines are made of; two hours more, for where clocks change."""
    every = [window for part in windows(occasion).values() for window in part]
    first = min(window.start for window in every) - HOUR
    last = max(window.end for window in every) + HOUR
    back = (timedelta(days=days) for days in (0, *similar_days(occasion, calendar)))
    ranges = sorted((widened(Range(first - days, last - days), SLOT_S) for days in back), key=_start)
    return list(_joined(ranges))


def needed_on(
    occasion: Occasion, calendar: Calendar, days: Iterable[int], parts: Iterable[str]
) -> list[Range]:
    """The ranges of history that some parts of the method look at on some days, as days before the event.

    On earlier days at the same local time: where the clock shows a time twice both count, and so what lies
    between.
    """
    wanted, zone, parts = windows(occasion), ZoneInfo(calendar.time_zone), list(parts)
    shown = {window: _shown(window, calendar) for part in parts for window in wanted[part]}
    ranges = (
        widened(window if back == 0 else _at_same_time(times, back, zone), SLOT_S)
        for back in days
        for window, times in shown.items()
    )
    return list(_joined(sorted(ranges, key=_start)))


def _shown(window: Range, calendar: Calendar) -> tuple[datetime, datetime]:
    """The earliest and the latest that the clock shows at a slot of a window.

    Not what it shows at the ends, where it is put back in between.
    """
    times: list[datetime] = slots_of(window).select(_local("slot", calendar)).to_series().sort().to_list()
    return times[0], times[-1]


def _at_same_time(shown: tuple[datetime, datetime], back: int, zone: ZoneInfo) -> Range:
    start, end = (
        [(time - timedelta(days=back)).replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
        for time in shown
    )
    return Range(min(start), max(end) + SLOT)


def _start(window: Range) -> datetime:
    return window.start


def _joined(ranges: Iterable[Range]) -> Iterator[Range]:
    current: Range | None = None
    for window in ranges:
        if current is None or window.start > current.end:
            if current is not None:
                yield current
            current = window
        else:
            current = Range(current.start, max(current.end, window.end))
    if current is not None:
        yield current


def predict(
    history: pl.DataFrame,
    taken: pl.DataFrame,
    occasion: Occasion,
    calendar: Calendar,
    cap: float,
    *,
    only: BaselineName | None = None,
) -> Prediction:
    """What each baseline says, with the mean of the last samples where another has too little to go by.

    Args:
        history: mean power of VENs in slots: `ven_id`, `slot`, `used_kw` (never null).
        taken: events in which a VEN took part, not this one: `ven_id`, `start`, `end`. Their local days are
            no baseline days.
        occasion: the event.
        calendar: days and holidays.
        cap: the adjustment is between 1 - `cap` and 1 + `cap`.
        only: one baseline, of the event alone; without, all of them, and of days without an event as well,
            which takes ten times as long.
    """
    seen = observed(_without_events(history, taken), occasion, calendar)
    pool = eligible_days(seen, _busy(taken, occasion, calendar), occasion)
    targets = _targets(seen, pool.clear() if only else pool)
    fewest = FEWEST_WEEKEND_DAYS if calendar.is_weekend(calendar.day_of(occasion.start)) else FEWEST_WEEKDAYS
    slots = slots_of(occasion.window)
    around = flat(seen, AROUND, _slot_count(occasion, AROUND) * ENOUGH)
    by_rules = [
        _by_rule(name, chosen_days(pool, targets, rule, fewest), seen, cap, occasion)
        for name, rule in DAY_RULES.items()
        if only in {None, name, name + ADJUSTED}
    ]
    parts = [
        *chain.from_iterable(by_rules),
        _over(slots, around, SAME_DAY, None),
        _over(slots, flat(seen, BEFORE, 1), LAST_SAMPLES, FALL_BACK),
    ]
    own = pl.concat([part.select(_COLUMNS) for part in parts]).join(targets, on=_KEYS, how="semi")
    names = [name for name in BASELINES if only in {None, name}]
    return Prediction(*_with_fall_back(own, pool, fewest, names), hourly_errors(own, seen, occasion))


def days_found(
    history: pl.DataFrame, taken: pl.DataFrame, occasion: Occasion, calendar: Calendar
) -> pl.DataFrame:
    """How many eligible days there are in some history: `ven_id`, `days`; VENs without any are left out."""
    seen = observed(_without_events(history, taken), occasion, calendar, [EVENT])
    pool = eligible_days(seen, _busy(taken, occasion, calendar), occasion)
    return pool.group_by("ven_id").agg(days=pl.len())


_COLUMNS = ["ven_id", "target", "baseline", "slot", "baseline_kw", "days_used", "note"]


def observed(
    history: pl.DataFrame, occasion: Occasion, calendar: Calendar, parts: Collection[str] = PARTS
) -> pl.DataFrame:
    """What was used in the windows of the event, on its day and at the same local time of similar days.

    Returns:
        `ven_id`, `back` (days before the event; 0 is its day), `part`, `slot` (of the event's day), `hours`,
        `used_kw`.
    """
    wanted = pl.concat(
        [
            slots_of(window).with_columns(part=pl.lit(part))
            for part, part_windows in windows(occasion).items()
            for window in part_windows
            if part in parts
        ]
    ).with_columns(_local("slot", calendar).alias("local"))
    days = pl.DataFrame({"back": similar_days(occasion, calendar)}, schema={"back": pl.Int64})
    by_clock = _by_clock(history, calendar)
    earlier = wanted.join(days, how="cross").with_columns(pl.col("local") - pl.duration(days="back"))
    today = wanted.join(history, on="slot").with_columns(back=pl.lit(0, pl.Int64))
    columns = ["ven_id", "back", "part", "slot", "hours", "used_kw"]
    return pl.concat([today.select(columns), earlier.join(by_clock, on="local").select(columns)])


def _by_clock(history: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """By what the clock shows: `ven_id`, `local`, `used_kw`; the mean where it shows a time twice."""
    clock = history.select("slot").unique().with_columns(_local("slot", calendar).alias("local"))
    shown = history.join(clock, on="slot")
    if not clock.get_column("local").is_duplicated().any():
        return shown
    return shown.group_by("ven_id", "local").agg(pl.col("used_kw").mean())


def eligible_days(seen: pl.DataFrame, busy: pl.DataFrame, occasion: Occasion) -> pl.DataFrame:
    """Similar days with enough samples in the event's hours and without an event of the VEN.

    Args:
        seen: as `observed` gives it.
        busy: `ven_id`, `back` of days with an event.
        occasion: the event.

    Returns:
        `ven_id`, `back`, `mean_kw` in the event's hours; latest first.
    """
    enough = _slot_count(occasion, EVENT) * ENOUGH
    return (
        seen.filter(pl.col("part") == EVENT, pl.col("back") > 0)
        .group_by("ven_id", "back")
        .agg(_mean_kw("used_kw").alias("mean_kw"), pl.len().alias("slots"))
        .filter(pl.col("slots") >= enough)
        .join(busy, on=["ven_id", "back"], how="anti")
        .select("ven_id", "back", "mean_kw")
        .sort("ven_id", "back")
    )


def chosen_days(pool: pl.DataFrame, targets: pl.DataFrame, rule: DayRule, fewest: int) -> pl.DataFrame:
    """For each target the last eligible days but itself, and of these the ones with the highest usage.

    Args:
        pool: as `eligible_days` gives it.
        targets: `ven_id`, `target`: the event's day, 0, or a day that is to be predicted.
        rule: how many days.
        fewest: with fewer there is no baseline.

    Returns:
        `ven_id`, `target`, `back`. Of days with the same usage the later one counts as the higher.
    """
    others = targets.join(pool, on="ven_id").filter(pl.col("back") != pl.col("target"))
    recent = others.sort("back").filter(pl.int_range(pl.len()).over(_KEYS) < rule.last)
    enough = recent.filter(pl.len().over(_KEYS) >= fewest)
    highest = enough.sort("mean_kw", "back", descending=[True, False])
    return highest.filter(pl.int_range(pl.len()).over(_KEYS) < rule.highest).select(*_KEYS, "back")


def _by_rule(
    name: str, chosen: pl.DataFrame, seen: pl.DataFrame, cap: float, occasion: Occasion
) -> Iterator[pl.DataFrame]:
    means = by_days(seen, chosen)
    event = means.filter(pl.col("part") == EVENT)
    factors = adjustments(means.filter(pl.col("part") == ADJUSTMENT), seen, cap, occasion)
    yield event.with_columns(baseline=pl.lit(name), note=pl.lit(None, pl.String))
    yield adjusted(event, factors).with_columns(baseline=pl.lit(name + ADJUSTED))


def by_days(seen: pl.DataFrame, chosen: pl.DataFrame) -> pl.DataFrame:
    """The mean of the chosen days in each slot, of those that have samples there.

    Returns:
        `ven_id`, `target`, `part` (the event, or what the adjustment looks at), `slot`, `hours`,
        `baseline_kw`, `days_used`.
    """
    days = chosen.group_by(_KEYS).agg(pl.len().cast(pl.Int32).alias("days_used"))
    return (
        seen.filter(pl.col("part").is_in([EVENT, ADJUSTMENT]))
        .join(chosen, on=["ven_id", "back"])
        .group_by(*_KEYS, "part", "slot")
        .agg(pl.col("used_kw").mean().alias("baseline_kw"), pl.col("hours").first())
        .join(days, on=_KEYS)
    )


def adjusted(event: pl.DataFrame, factors: pl.DataFrame) -> pl.DataFrame:
    """A baseline times its factor, or as it is where there is none, with a `note` that says so."""
    unknown = pl.col("factor").is_null()
    return event.join(factors, on=_KEYS, how="left").with_columns(
        pl.col("baseline_kw") * pl.col("factor").fill_null(1.0),
        note=pl.when(unknown).then(pl.lit("not adjusted: too little to compare with")),
    )


def adjustments(expected: pl.DataFrame, seen: pl.DataFrame, cap: float, occasion: Occasion) -> pl.DataFrame:
    """The ratio of usage to baseline in the hours before the event, within the cap.

    None where too few slots have both, or where the baseline there is not positive, as of an exporter: a
    ratio would mean nothing.

    Returns:
        `ven_id`, `target`, `factor`.
    """
    enough = _slot_count(occasion, ADJUSTMENT) * ENOUGH
    used = seen.filter(pl.col("part") == ADJUSTMENT).select("ven_id", "slot", "used_kw", target="back")
    compared = expected.join(used, on=[*_KEYS, "slot"]).group_by(_KEYS)
    ratio = pl.col("used") / pl.col("expected")
    return (
        compared.agg(
            _mean_kw("used_kw").alias("used"), _mean_kw("baseline_kw").alias("expected"), slots=pl.len()
        )
        .filter(pl.col("slots") >= enough, pl.col("expected") > 0)
        .select(*_KEYS, ratio.clip(1 - cap, 1 + cap).alias("factor"))
    )


def flat(seen: pl.DataFrame, part: str, enough: float) -> pl.DataFrame:
    """One power for the whole event: the mean over a part, where enough of its slots have samples.

    Returns:
        `ven_id`, `target`, `baseline_kw`.
    """
    return (
        seen.filter(pl.col("part") == part)
        .group_by("ven_id", pl.col("back").alias("target"))
        .agg(_mean_kw("used_kw").alias("baseline_kw"), pl.len().alias("slots"))
        .filter(pl.col("slots") >= enough)
        .select(*_KEYS, "baseline_kw")
    )


def hourly_errors(own: pl.DataFrame, seen: pl.DataFrame, occasion: Occasion) -> pl.DataFrame:
    """What was used beside what was predicted, on days without an event; by the hours of the event.

    By the hour, as PJM tests its baselines: of five minutes of one home nobody can tell anything.
    """
    used = seen.filter(pl.col("part") == EVENT).rename({"back": "target"})
    first = widened(occasion.window, SLOT_S).start
    hour = ((pl.col("slot") - pl.lit(first)).dt.total_minutes() // 60).alias("hour")
    return (
        own.filter(pl.col("target") > 0)
        .join(used, on=[*_KEYS, "slot"])
        .with_columns(hour)
        .group_by(*_KEYS, "baseline", "hour")
        .agg(_mean_kw("used_kw"), _mean_kw("baseline_kw").alias("predicted_kw"))
        .sort(*_KEYS, "baseline", "hour")
    )


def _targets(seen: pl.DataFrame, pool: pl.DataFrame) -> pl.DataFrame:
    event = seen.select("ven_id").unique().with_columns(target=pl.lit(0, pl.Int64))
    recent = pool.filter(pl.int_range(pl.len()).over("ven_id") < TARGETS)
    return pl.concat([event, recent.select("ven_id", target="back")])


def _over(slots: pl.DataFrame, flat_kw: pl.DataFrame, name: str, note: str | None) -> pl.DataFrame:
    return flat_kw.join(slots, how="cross").with_columns(
        baseline=pl.lit(name), days_used=pl.lit(0, pl.Int32), note=pl.lit(note, pl.String)
    )


def _with_fall_back(
    own: pl.DataFrame, pool: pl.DataFrame, fewest: int, names: list[BaselineName]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The event's predictions and their methods, with the last samples for those who have no other."""
    event = own.filter(pl.col("target") == 0)
    last = event.filter(pl.col("baseline") == LAST_SAMPLES)
    event = event.filter(pl.col("baseline").is_in(names))
    every = last.drop("baseline").join(pl.DataFrame({"baseline": names}), how="cross")
    missing = every.join(event, on=["ven_id", "baseline"], how="anti").join(
        pool.group_by("ven_id").agg(days=pl.len()), on="ven_id", how="left"
    )
    days = pl.col("days").fill_null(0)
    short = pl.format("{} similar days, fewer than {}: {}", days, pl.lit(fewest), pl.lit(STANDS_IN))
    around = pl.lit(f"too few samples in the hours around the event: {STANDS_IN}")
    stand_in = missing.with_columns(
        note=pl.when(pl.col("baseline") == SAME_DAY).then(around).otherwise(short)
    )
    complete = pl.concat([event.select(_COLUMNS), stand_in.select(_COLUMNS)])
    method = complete.group_by("ven_id", "baseline").agg(pl.col("days_used", "note").first())
    return complete.select("ven_id", "baseline", "slot", "baseline_kw"), method


def _without_events(history: pl.DataFrame, taken: pl.DataFrame) -> pl.DataFrame:
    us = SLOT_S * 1_000_000
    first = (pl.col("start").dt.epoch("us") // us * us).cast(pl.Datetime("us", "UTC"))
    busy = taken.select(
        "ven_id",
        slot=pl.datetime_ranges(first, "end", SLOT, closed="left"),
    ).explode("slot")
    return history.join(busy, on=["ven_id", "slot"], how="anti")


def _busy(taken: pl.DataFrame, occasion: Occasion, calendar: Calendar) -> pl.DataFrame:
    """Days, as days before the event, on which the VEN took part in another: `ven_id`, `back`."""
    last = pl.col("end") - timedelta.resolution
    days = taken.select(
        "ven_id",
        day=pl.date_ranges(_date(pl.col("start"), calendar), _date(last, calendar)),
    ).explode("day")
    looked_at = {
        calendar.day_of(instant)
        for part in (EVENT, ADJUSTMENT)
        for window in windows(occasion)[part]
        for instant in (window.start, window.end - timedelta.resolution)
    }
    back = [
        {"day": day - timedelta(days=back), "back": back}
        for first, last_day in [(min(looked_at), max(looked_at))]
        for day in (first + timedelta(days=n) for n in range((last_day - first).days + 1))
        for back in similar_days(occasion, calendar)
    ]
    calendar_days = pl.DataFrame(back, schema={"day": pl.Date, "back": pl.Int64})
    return days.join(calendar_days, on="day").select("ven_id", "back").unique()


def _local(column: str, calendar: Calendar) -> pl.Expr:
    return pl.col(column).dt.convert_time_zone(calendar.time_zone).dt.replace_time_zone(None)


def _date(instant: pl.Expr, calendar: Calendar) -> pl.Expr:
    return instant.dt.convert_time_zone(calendar.time_zone).dt.date()


def _slot_count(occasion: Occasion, part: str) -> int:
    return sum(slots_of(window).height for window in windows(occasion)[part])


def _mean_kw(column: str) -> pl.Expr:
    """The mean over time, each slot by the hours of it that count."""
    return (pl.col(column) * pl.col("hours")).sum() / pl.col("hours").sum()
