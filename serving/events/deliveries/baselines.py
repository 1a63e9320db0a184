"""The baselines by which events are measured, with their parameters."""

from schemas.api.baselines import AdjustmentShown, BaselineMethod, DayRuleShown
from schemas.demand_response.baselines import METHODS, Adjustment, Baseline, DayRule
from serving.events.rules import EventRules


def baseline_methods(rules: EventRules) -> list[BaselineMethod]:
    """Return all baselines with their parameters, by default those of the site."""
    return [_shown(method, rules) for method in METHODS.values()]


def _shown(method: Baseline, rules: EventRules) -> BaselineMethod:
    return BaselineMethod(
        name=method.name,
        meaning=method.meaning,
        is_primary=method.name == rules.baseline,
        is_computed=method.name in rules.computed,
        operator=method.operator,
        source=method.source,
        source_read=method.source_read,
        differs=method.differs,
        weekday=_day_rule(method.weekday),
        weekend=_day_rule(method.weekend),
        like_days=method.like_days,
        holidays_count=method.holidays_count,
        low_usage_percent=100 * method.low_usage_share,
        chosen_by=method.chosen_by,
        look_back_days=method.look_back_days or rules.look_back_days,
        adjustment=_adjustment(method.adjustment, rules.cap_percent),
    )


def _day_rule(rule: DayRule | None) -> DayRuleShown | None:
    return None if rule is None else DayRuleShown(rule.highest, rule.last, rule.fewest)


def _adjustment(adjustment: Adjustment, site_percent: float) -> AdjustmentShown:
    cap_percent = site_percent if adjustment.cap is None else 100 * adjustment.cap
    after = [adjustment.after_from_h, adjustment.after_to_h]
    is_adjusted = adjustment.kind != "none"
    return AdjustmentShown(
        kind=adjustment.kind,
        from_hours_before=adjustment.from_h if is_adjusted else 0,
        to_hours_before=adjustment.to_h if is_adjusted else 0,
        hours_after=after if after[0] < after[1] else [],
        cap_percent=cap_percent if is_adjusted and adjustment.is_capped else None,
    )
