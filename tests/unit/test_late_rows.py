"""Late rows beside the archive's: new, duplicate, or in conflict."""

from datetime import UTC, datetime

import polars as pl

from jobs.transforms.summaries.late_rows import weighed_entries, weighed_reports, weighed_samples

NOON = datetime(2024, 7, 4, 12, tzinfo=UTC)


def reports(*rows: tuple[str, str], batch_id: int = 1) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"ven_id": ven_id, "ts": NOON, "payload": payload, "batch_id": batch_id}
            for ven_id, payload in rows
        ],
        schema={
            "ven_id": pl.String,
            "ts": pl.Datetime("us", "UTC"),
            "payload": pl.String,
            "batch_id": pl.Int64,
        },
    )


def entries(*rows: dict[str, object]) -> pl.DataFrame:
    absent = {
        "ven_id": "a",
        "load_id": "l",
        "ts": NOON,
        "load_type": None,
        "name": None,
        "used_power_kw": None,
        "shed_power_kw": None,
        "capacity_kw": None,
        "shed_capability_kw": None,
        "enabled": None,
        "priority": None,
        "metadata": None,
        "batch_id": 1,
    }
    kinds: dict[str, pl.DataType | type[pl.DataType]] = {
        "ven_id": pl.String,
        "load_id": pl.String,
        "ts": pl.Datetime("us", "UTC"),
        "load_type": pl.String,
        "name": pl.String,
        "used_power_kw": pl.Float64,
        "shed_power_kw": pl.Float64,
        "capacity_kw": pl.Float64,
        "shed_capability_kw": pl.Float64,
        "enabled": pl.Boolean,
        "priority": pl.Int32,
        "metadata": pl.String,
        "batch_id": pl.Int64,
    }
    return pl.DataFrame([absent | row for row in rows], schema=kinds)


def test_reports_are_compared_by_what_they_mean() -> None:
    archived = reports(("same", '{"usedPowerKw": 1.0}'), ("other", '{"usedPowerKw": 1.0}')).drop("batch_id")
    late = reports(("new", "{}"), ("same", '{"power_kw": 1}'), ("other", '{"usedPowerKw": 2.0}'), batch_id=2)
    weighed = weighed_reports(late, archived)
    assert weighed.new.get_column("ven_id").to_list() == ["new"]
    assert weighed.conflicting.get_column("ven_id").to_list() == ["other"]
    assert weighed.conflicting.columns == late.columns


def test_a_sample_goes_with_the_report_that_it_came_with() -> None:
    """Also a load that the archive does not know: the whole message was refused."""
    both = reports(("a", "{}"), ("b", "{}"))
    late = entries({"ven_id": "a"}, {"ven_id": "b"}, {"ven_id": "b", "load_id": "m"})
    weighed = weighed_samples(late, late.clear().drop("batch_id"), both, both.filter(pl.col("ven_id") == "a"))
    assert weighed.new.get_column("ven_id").to_list() == ["a"]
    assert weighed.conflicting.is_empty()


def test_entries_by_themselves_are_weighed_by_their_own_key() -> None:
    archived = entries({"metadata": '{"a": 1, "b": 2}'}, {"load_id": "m", "used_power_kw": 1.0}).drop(
        "batch_id"
    )
    late = entries({"metadata": '{"b":2,"a":1}'}, {"load_id": "m", "used_power_kw": 1.5}, {"load_id": "n"})
    for weighed in (
        weighed_entries(late, archived),
        weighed_samples(late, archived, reports(), reports()),
    ):
        assert weighed.new.get_column("load_id").to_list() == ["n"]
        assert weighed.conflicting.get_column("load_id").to_list() == ["m"]
