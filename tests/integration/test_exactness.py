"""Every documented answer equals the plain loop over the distinct accepted messages.

The messages go through the real decoding and store, the real lanes in any order, the real HTTP
application over a real PostgreSQL; the loop is `tests.oracle`, which shares no code with them.
"""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from ingest.decoding.messages import Received
from ingest.storing.batch import Batch
from schemas.tables import metadata
from tests.examples import costly
from tests.integration.whole_system import (
    EDGES,
    EVERYTHING,
    GRANULARITIES,
    MAX_AHEAD,
    NOW,
    SLOTTED,
    WholeSystem,
    check_each,
    check_history,
    check_latest,
)
from tests.oracle.messages import Published, random_traffic, traffic


def batches(messages: Sequence[Published], chance: random.Random) -> Iterator[Sequence[Published]]:
    position = 0
    while position < len(messages):
        size = chance.choice((1, 3, 40, 400))
        yield messages[position : position + size]
        position += size


@pytest.mark.thorough
@pytest.mark.parametrize("seed", [1, 2])
def test_thousands_of_messages_in_disorder(system: WholeSystem, seed: int) -> None:
    system.empty()
    chance = random.Random(seed)
    for batch in batches(random_traffic(seed, 2_500, shuffled=seed % 2 == 0), chance):
        system.ingest(batch)
        if chance.random() < 0.5:
            system.run(chance.randrange(2))
    # Before the jobs have caught up, too: readers add what is pending.
    check_each(system)
    check_history(system, EVERYTHING, "5m", "sum")
    check_history(system, EDGES[1], "1h", "energy")
    system.catch_up()
    check_latest(system)
    for granularity in GRANULARITIES:
        check_history(system, chance.choice((EVERYTHING, *EDGES)), granularity, "sum")
    for granularity in SLOTTED:
        check_history(system, chance.choice((EVERYTHING, *EDGES)), granularity, "energy")
        check_history(system, chance.choice((EVERYTHING, *EDGES)), granularity, "mean")


@st.composite
def ranges(draw: st.DrawFn) -> tuple[datetime | None, datetime | None]:
    """Anywhere around the traffic, to the microsecond; of no length, or of a length without samples."""
    first = datetime(2024, 7, 7, tzinfo=UTC)
    instants = st.integers(0, 4 * 86_400_000_000).map(lambda us: first + timedelta(microseconds=us))
    start = draw(instants)
    length_us = draw(st.sampled_from((0, 1, 999_999)) | st.integers(0, 3 * 86_400_000_000))
    end = start + timedelta(microseconds=length_us)
    return draw(st.sampled_from(((start, end), (start, end), (None, end), (start, None))))


@pytest.mark.thorough
@costly(4)
@given(
    messages=traffic(max_size=40, shrink_messages=False),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    cycles=st.lists(st.integers(0, 1), max_size=4),
    bounds=ranges() | st.sampled_from((EVERYTHING, *EDGES)),
    granularity=st.sampled_from(sorted(GRANULARITIES)),
    slotted=st.sampled_from(SLOTTED),
    aggregate=st.sampled_from(("energy", "mean")),
)
def test_any_traffic_in_any_batches_and_cycles(  # noqa: PLR0913, PLR0917 - hypothesis draws each
    system: WholeSystem,
    messages: list[Published],
    cuts: list[int],
    cycles: list[int],
    bounds: tuple[datetime | None, datetime | None],
    granularity: str,
    slotted: str,
    aggregate: str,
) -> None:
    system.empty()
    borders = sorted({0, len(messages), *(min(cut, len(messages)) for cut in cuts)})
    for number, (first, last) in enumerate(pairwise(borders)):
        system.ingest(messages[first:last])
        for job in cycles[number : number + 1]:
            system.run(job)
        check_each(system)
    check_history(system, bounds, granularity, "sum")
    check_history(system, bounds, slotted, aggregate)
    system.catch_up()
    check_latest(system)
    check_history(system, bounds, granularity, "sum")
    check_history(system, bounds, slotted, aggregate)


@pytest.mark.thorough
def test_a_redelivery_of_everything_changes_nothing(system: WholeSystem, engine: Engine) -> None:
    system.empty()
    messages = random_traffic(7, 400)
    system.ingest(messages)
    system.catch_up()
    before = _row_counts(engine)
    system.store.write(Batch.of([Received(m.topic, m.payload, NOW) for m in messages], MAX_AHEAD))
    system.catch_up()
    assert _row_counts(engine) == before
    check_latest(system)
    check_history(system, EVERYTHING, "1h", "sum")


def _row_counts(engine: Engine) -> dict[str, int]:
    exempt = {"rejected_messages", "job_runs"}
    with engine.connect() as connection:
        return {
            table.name: connection.execute(text(f"SELECT count(*) FROM {table.name}")).scalar_one()
            for table in metadata.sorted_tables
            if table.name not in exempt
        }
