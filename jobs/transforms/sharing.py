"""Allocates the shares of an event's request to VENs with available power. Powers in kW.

Each gives the same fraction of its available power: that is fair, and when one drops out, little is missing.
VENs are notified again as seldom as possible: every change is a message to a home.
"""

import polars as pl

MOST_EXCESS = 0.05
"""Fraction of the request by which shares may exceed it before all are cut back."""

NEGLIGIBLE = 1e-6


def changed_shares(
    parts: pl.DataFrame,
    newcomers: pl.DataFrame,
    requested_kw: float,
    most_excess: float = MOST_EXCESS,
    *,
    is_fair: bool = False,
) -> pl.DataFrame:
    """Return the share of each VEN, so that the shares sum to the request, or to all that is available.

    A newcomer gets its fair share. What is still missing, because a VEN has dropped out, is added to the VENs
    with the most unused power, so that few are notified again. Only when the excess is above `most_excess`,
    all are cut back.

    Args:
        parts: the participants: `ven_id`, `available_kw`, and the share, `requested_reduction_kw`.
        newcomers: VENs without a share: `ven_id`, `available_kw`, above zero.
        requested_kw: the event's request, zero or above.
        most_excess: fraction of the request by which the shares may exceed it.
        is_fair: give each VEN its fair share, however many need a new command.

    Returns:
        `ven_id`, `available_kw`, `requested_reduction_kw` of all newcomers and of those whose share changes.
        No share is above what is available.
    """
    current = parts.select("ven_id", "available_kw", "requested_reduction_kw", is_new=pl.lit(value=False))
    available_kw = _total(current, "available_kw") + _total(newcomers, "available_kw")
    fair = pl.col("available_kw") * min(1.0, requested_kw / available_kw if available_kw else 0.0)
    new = newcomers.select("ven_id", "available_kw", requested_reduction_kw=fair, is_new=pl.lit(value=True))
    before = pl.concat([current, new])
    given_kw = _total(before, "requested_reduction_kw")
    after = before
    if is_fair or given_kw > requested_kw * (1 + most_excess):
        after = before.with_columns(requested_reduction_kw=fair)
    elif (missing_kw := min(requested_kw, available_kw) - given_kw) > requested_kw * NEGLIGIBLE:
        after = _filled(before, missing_kw)
    return _changed(before, after)


def by_load(shares: pl.DataFrame, loads: pl.DataFrame) -> pl.DataFrame:
    """Divide the share of each VEN among its loads: each gives the same fraction of what it can.

    Args:
        shares: `ven_id`, and the share, `requested_reduction_kw`.
        loads: those that may be targeted: `ven_id`, `load_id`, `available_kw`, zero or above.

    Returns:
        `ven_id`, `load_id`, `reduce_kw`, in the order of the loads. If no load has available power, all
        give the same; a VEN without loads has no rows.
    """
    total_kw = pl.col("available_kw").sum().over("ven_id")
    part = (
        pl.when(total_kw > 0).then(pl.col("available_kw") / total_kw).otherwise(1 / pl.len().over("ven_id"))
    )
    of_loads = loads.select("ven_id", "load_id", part=part)
    both = of_loads.join(
        shares.select("ven_id", "requested_reduction_kw"), on="ven_id", maintain_order="left"
    )
    return both.select("ven_id", "load_id", reduce_kw=pl.col("part") * pl.col("requested_reduction_kw"))


def _total(frame: pl.DataFrame, column: str) -> float:
    return float(frame.get_column(column).sum())


def _filled(shares: pl.DataFrame, missing_kw: float) -> pl.DataFrame:
    """Add the missing power to the shares of the VENs with the most unused power, as few as possible."""
    left_kw = pl.col("available_kw") - pl.col("requested_reduction_kw")
    in_turn = shares.with_columns(left_kw=left_kw).sort("left_kw", "ven_id", descending=[True, False])
    already_kw = pl.col("left_kw").cum_sum() - pl.col("left_kw")
    more_kw = pl.min_horizontal(pl.max_horizontal(missing_kw - already_kw, 0.0), "left_kw")
    whole = pl.when(more_kw >= pl.col("left_kw")).then("available_kw")
    return in_turn.with_columns(
        requested_reduction_kw=whole.otherwise(pl.col("requested_reduction_kw") + more_kw)
    ).drop("left_kw")


def _changed(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    was = before.select("ven_id", was_kw="requested_reduction_kw")
    share_kw = pl.col("requested_reduction_kw")
    has_changed = pl.col("is_new") | ((share_kw - pl.col("was_kw")).abs() > NEGLIGIBLE)
    return (
        after.join(was, on="ven_id", how="inner")
        .filter(has_changed)
        .select("ven_id", "available_kw", "requested_reduction_kw")
        .sort("ven_id")
    )
