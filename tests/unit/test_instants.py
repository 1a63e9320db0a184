"""Times as people, databases and devices write them."""

from datetime import UTC, datetime

import falcon
import pytest

from schemas.times.instants import from_microseconds, parse_iso
from serving.http.parameters.times import period

NINE = datetime(2026, 11, 26, 21, 50, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-26T21:50", NINE),
        ("2026-11-26 21:50:00", NINE),
        ("2026-11-26 21:50:00+00", NINE),
        ("2026-11-26 23:50+02", NINE),
        ("2026-11-26 23:50 +02:00", NINE),
        ("20261126T215000Z", NINE),
        ("2026-11-25T24:00:00Z", datetime(2026, 11, 26, tzinfo=UTC)),
        ("2026-11-25T24:00", datetime(2026, 11, 26, tzinfo=UTC)),
        ("2026-12-31T24:00:00.000Z", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2016-12-31T23:59:60.5Z", datetime(2017, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-26", datetime(2026, 11, 26, tzinfo=UTC)),
    ],
)
def test_iso_times(text: str, expected: datetime) -> None:
    assert parse_iso(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-26T24:01",
        "2026-11-26T24:00:01Z",
        "2026-11-26T25:00",
        "2026-11-26T10:60",
        "2026-11-26T10:00:61",
    ],
)
def test_no_times(text: str) -> None:
    with pytest.raises(ValueError, match="ISO 8601"):
        parse_iso(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-26 21:50",
        "2026-11-26 21:50:00 00",
        "2026-11-26T23:50 02:00",
        "2026-11-26T23:50 0200",
        "2026-11-26 23:50:00.000 02",
        "2026-11-26 21:50:00+00",
    ],
)
def test_a_plus_that_arrives_as_a_space(text: str) -> None:
    assert period({"start": text})[0] == NINE


def test_what_is_none_names_the_parameter() -> None:
    with pytest.raises(falcon.HTTPBadRequest) as refused:
        period({"end": "2026-11-26 at nine"})
    assert (refused.value.description or "").startswith("end is")


def test_to_the_microsecond() -> None:
    assert from_microseconds(1) == parse_iso("1970-01-01T00:00:00.000001Z")
