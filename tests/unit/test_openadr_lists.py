"""Lists of shared copies: what is kept of them, and for how long."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from serving.openadr.page import EventFilter, ObjectPage
from serving.openadr.polling import answers
from serving.openadr.polling.answers import MOST_EVENTS, MOST_QUERIES, ClientView, Copies, ListAnswer
from serving.openadr.polling.copies import MOST_VARIANTS, EventCopy
from serving.openadr.polling.queries import ClientPartRow, EventCopyRow

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
ASKING = {"intervals": [{"id": 0, "payloads": [{"type": "DISPATCH_SETPOINT_RELATIVE", "values": [-9.0]}]}]}
EVERYTHING = EventFilter()


def row(
    object_id: str, targets: Sequence[str] = (), ends_at: datetime | None = None, event_id: str | None = None
) -> EventCopyRow:
    body = {"programID": "p", "targets": list(targets), **ASKING}
    asks = (None, True, 9.0) if event_id else (None, False, None)
    return EventCopyRow(object_id, list(targets), body, NOW, NOW, "p", ends_at, event_id, *asks)


def viewed(*parts: tuple[str, float, bool], granted: Sequence[str] = ()) -> ClientView:
    return ClientView(granted, parts)


def body(copies: Copies, view: ClientView | None, wanted: EventFilter = EVERYTHING) -> bytes:
    answer = copies.answer(view, "", wanted, NOW)
    assert answer is not None
    return answer.body


def kept(view: ClientView) -> list[ListAnswer]:
    return list(view.answers.values())


def test_clients_without_a_part_share_one_answer() -> None:
    copies = Copies([row("a"), row("b", ["north"])])
    one, other = viewed(granted=["north"]), viewed(granted=["south"])
    assert copies.answer(one, "", EVERYTHING, NOW) is copies.answer(other, "", EVERYTHING, NOW)
    north = EventFilter(targets=("north", "south"))
    assert copies.answer(one, "q", north, NOW) is not copies.answer(other, "q", north, NOW)


def test_a_change_ends_answers_of_its_topics_only() -> None:
    copies = Copies([row("a"), row("b", ["north"])])
    view, north = viewed(granted=["north"]), EventFilter(targets=("north",))
    untargeted, targeted = (copies.answer(view, "", each, NOW) for each in (EVERYTHING, north))
    copies.stamp += 1
    copies.change_events({"b": row("b", ["south"])})
    assert copies.answer(view, "", EVERYTHING, NOW) is untargeted
    assert copies.answer(view, "", north, NOW) is not targeted
    assert body(copies, view, north) == b"[]"


def test_an_end_ends_an_answer() -> None:
    copies, view = Copies([row("a", ends_at=NOW + timedelta(minutes=1))]), viewed()
    active = EventFilter(is_active=True)
    before = copies.answer(view, "", active, NOW)
    assert copies.answer(view, "", active, NOW) is before
    after = copies.answer(view, "", active, NOW + timedelta(minutes=1))
    assert after is not None
    assert after.body == b"[]"


def test_a_share_is_of_one_client() -> None:
    copies = Copies([row("a", event_id="e")])
    mine, others = viewed(("e", 4.5, True)), viewed()
    copies.add_view("mine", mine)
    copies.add_view("others", others)
    assert b"[-4.5]" in body(copies, mine)
    assert b"[0.0]" in body(copies, others)
    assert b"[-9.0]" in body(copies, None)
    copies.stamp += 1
    copies.change_parts(["e"], [ClientPartRow("e", "others", 9.0, is_notified=True)])
    assert b"[0.0]" in body(copies, mine)
    assert b"[-9.0]" in body(copies, others)


def test_the_answers_of_a_client_are_bounded() -> None:
    copies, view = Copies([row("a", event_id="e")]), viewed(("e", 4.5, True))
    empty_bytes = view.kept_bytes
    for skip in range(3 * MOST_QUERIES):
        copies.answer(view, f"skip={skip}", EventFilter(page=ObjectPage(skip)), NOW)
        assert len(kept(view)) <= MOST_QUERIES
        assert view.kept_bytes == empty_bytes + sum(each.kept_bytes for each in kept(view))
    copies.answer(view, "x" * 600, EVERYTHING, NOW)
    assert len(kept(view)) <= MOST_QUERIES


def test_what_is_kept_for_all_clients_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST_VIEWS_BYTES", 20_000)
    copies = Copies([row("a", event_id="e")])
    for number in range(100):
        view = viewed(("e", float(number), True))
        copies.add_view(f"client {number}", view)
        body(copies, view)
    left = [number for number in range(100) if copies.view(f"client {number}") is not None]
    assert 0 < len(left) < 20
    assert left[-1] == 99


def test_shared_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST_SHARED_BYTES", 20_000)
    copies, view = Copies([row("a")]), viewed()
    made = [copies.answer(view, "", EventFilter(page=ObjectPage(skip)), NOW) for skip in range(100)]
    again = [copies.answer(view, "", EventFilter(page=ObjectPage(skip)), NOW) for skip in range(99, -1, -1)]
    are_kept = [one is other for one, other in zip(made, reversed(again), strict=True)]
    assert 0 < sum(are_kept) < 50
    assert are_kept[-1]


def test_a_long_list_is_left_to_the_database() -> None:
    copies = Copies(row(f"{number:05}") for number in range(MOST_EVENTS + 1))
    assert copies.answer(viewed(), "", EVERYTHING, NOW) is None
    assert body(copies, viewed(), EventFilter(page=ObjectPage(limit=1))).count(b'"EVENT"') == 1


def test_the_variants_of_an_event_are_bounded() -> None:
    targets = [f"{number:02}" for number in range(MOST_VARIANTS * 2)]
    copy = EventCopy(row("a", targets))
    encoded = [copy.for_client([target], 0.0) for target in targets]
    assert len({each.json for each in encoded}) == len(targets)
    are_kept = [copy.for_client([target], 0.0) is each for target, each in zip(targets, encoded, strict=True)]
    assert sum(are_kept) == MOST_VARIANTS
