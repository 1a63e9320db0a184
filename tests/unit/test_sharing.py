"""Sharing out: shares add up to the request as far as available, while VENs come and go."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.transforms.events.sharing import MOST_EXCESS, by_load, changed_shares

Shares = dict[str, tuple[float, float]]
"""By VEN: what it can give, and what it is asked for."""

powers = st.floats(1e-3, 1e4)


def frame(shares: Shares) -> pl.DataFrame:
    schema = {"ven_id": pl.String, "available_kw": pl.Float64, "requested_reduction_kw": pl.Float64}
    rows = [(ven_id, *kw) for ven_id, kw in shares.items()]
    return pl.DataFrame(rows, schema=schema, orient="row")


def tell(shares: Shares, newcomers: dict[str, float], requested_kw: float) -> Shares:
    """The shares after the commands; each command changes something."""
    new = frame({ven_id: (kw, 0.0) for ven_id, kw in newcomers.items()})
    answer = changed_shares(frame(shares), new.drop("requested_reduction_kw"), requested_kw)
    news = {row[0]: (row[1], row[2]) for row in answer.iter_rows()}
    assert newcomers.keys() <= news.keys()
    assert all(news[ven_id] != shares.get(ven_id) for ven_id in news)
    return shares | news


def check(shares: Shares, requested_kw: float) -> None:
    available_kw = sum(kw for kw, _ in shares.values())
    given_kw = sum(kw for _, kw in shares.values())
    wanted_kw = min(available_kw, requested_kw)
    assert given_kw >= wanted_kw - 2e-6 * requested_kw
    assert given_kw <= max(wanted_kw, requested_kw * (1 + MOST_EXCESS)) * (1 + 1e-9)
    assert all(0 <= share_kw <= kw * (1 + 1e-12) for kw, share_kw in shares.values())


@given(st.dictionaries(st.text(max_size=3), powers), powers)
def test_at_first_the_shares_sum_to_the_request(newcomers: dict[str, float], requested_kw: float) -> None:
    shares = tell({}, newcomers, requested_kw)
    check(shares, requested_kw)
    available_kw = sum(newcomers.values())
    given_kw = sum(kw for _, kw in shares.values())
    assert given_kw == pytest.approx(min(available_kw, requested_kw))
    parts = [share_kw / kw for kw, share_kw in shares.values()]
    assert parts == pytest.approx(parts[:1] * len(parts))


@given(st.dictionaries(st.text("abcdefgh", min_size=1, max_size=2), powers), powers, st.data())
def test_whoever_comes_and_goes(
    newcomers: dict[str, float], requested_kw: float, data: st.DataObject
) -> None:
    shares: Shares = {}
    while newcomers:
        first = data.draw(st.integers(1, len(newcomers)))
        coming = dict(list(newcomers.items())[:first])
        newcomers = {ven_id: kw for ven_id, kw in newcomers.items() if ven_id not in coming}
        shares = tell(shares, coming, requested_kw)
        check(shares, requested_kw)
        gone = data.draw(st.sets(st.sampled_from(sorted(shares)), max_size=2))
        shares = {ven_id: kw for ven_id, kw in shares.items() if ven_id not in gone}
        shares = tell(shares, {}, requested_kw)
        check(shares, requested_kw)
        assert tell(shares, {}, requested_kw) == shares


def test_what_is_missing_goes_to_few() -> None:
    shares = {"a": (10.0, 2.0), "b": (4.0, 2.0), "c": (3.0, 2.0)}
    assert tell(shares, {}, 8.0) == shares | {"a": (10.0, 4.0)}
    assert tell(shares, {}, 15.0) == shares | {"a": (10.0, 10.0), "b": (4.0, 3.0)}
    assert tell(shares, {}, 100.0) == {"a": (10.0, 10.0), "b": (4.0, 4.0), "c": (3.0, 3.0)}


def test_a_newcomer_is_told_though_the_request_is_covered() -> None:
    shares = {f"v{number:02}": (2.0, 1.0) for number in range(50)}
    after = tell(shares, {"new": 2.0}, 50.0)
    assert after == shares | {"new": (2.0, pytest.approx(50 / 51))}


def test_too_much_is_cut_back_for_all() -> None:
    shares = {"a": (2.0, 2.0), "b": (2.0, 2.0)}
    assert tell(shares, {"c": 4.0}, 4.0) == {"a": (2.0, 1.0), "b": (2.0, 1.0), "c": (4.0, 2.0)}


def test_nobody_to_ask() -> None:
    assert tell({}, {}, 5.0) == {}


loads_kw = st.dictionaries(
    st.tuples(st.sampled_from("ab"), st.sampled_from("123")), st.just(0.0) | powers, min_size=1
)


@given(loads_kw, powers, powers)
def test_the_loads_of_a_ven_give_its_share(
    loads: dict[tuple[str, str], float], a_kw: float, b_kw: float
) -> None:
    """Each the same part of what it can; where none can give anything, each the same."""
    shares = {"a": a_kw, "b": b_kw, "c": 1.0}
    frame_of_shares = pl.DataFrame({"ven_id": list(shares), "requested_reduction_kw": list(shares.values())})
    rows = [(*key, kw) for key, kw in loads.items()]
    schema = {"ven_id": pl.String, "load_id": pl.String, "available_kw": pl.Float64}
    split = by_load(frame_of_shares, pl.DataFrame(rows, schema=schema, orient="row"))
    assert [row[:2] for row in split.iter_rows()] == list(loads)
    for ven_id, share_kw in shares.items():
        given_kw = {load_id: kw for ven, load_id, kw in split.iter_rows() if ven == ven_id}
        available_kw = {load_id: loads[ven_id, load_id] for load_id in given_kw}
        if not given_kw:
            continue
        assert sum(given_kw.values()) == pytest.approx(share_kw)
        total_kw = sum(available_kw.values())
        parts = [kw / total_kw if total_kw else 1 / len(given_kw) for kw in available_kw.values()]
        assert [kw / share_kw for kw in given_kw.values()] == pytest.approx(parts)
