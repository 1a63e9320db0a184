"""Events on time: started, ended, shared out among VENs, and followed.

Each step looks at how things are and does what is due, in one transaction and under one lock. So it does
not matter who takes it, how often, or what was missed before: what is done is not done again.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby

import msgspec
import polars as pl
from msgspec import Struct
from sqlalchemy import Connection

from jobs.events.notifying import NO_BROKER, Notifier
from jobs.events.terms import completed, vens_with_announced_share
from jobs.queries.events import event_terms as term_queries
from jobs.queries.events import following as following_queries
from jobs.queries.events import lifecycle as event_queries
from jobs.queries.events.lifecycle import DueEvent, EventToNotify
from jobs.queries.summaries import merging as merging_queries
from jobs.summaries.models import CandidateFrame, FollowedPartFrame, LoadToShedFrame, ShareFrame
from jobs.summaries.rows import fetch, write
from jobs.transforms.events.lifecycle import OVER, Course, advanced, may_notify
from jobs.transforms.events.participation import followed
from jobs.transforms.events.sharing import MOST_EXCESS, NEGLIGIBLE, by_load, changed_shares
from schemas.db import locks
from schemas.db.channels import COMMANDS, event_changed, notify
from schemas.db.frame_models import DataType
from schemas.demand_response import candidates
from schemas.demand_response.candidates import AskedEvent, Rest
from schemas.demand_response.commands import NewCommand, new_command
from schemas.devices.load_values import GONE_AFTER
from schemas.devices.protocols import vens_by_openadr
from schemas.tables.events import (
    CommandFrame,
    EventParticipationFrame,
    commands,
    event_participations,
    event_shares,
)
from schemas.tables.metadata import Frame

AFTERWARDS = timedelta(milliseconds=1)
"""So much later than a `restore` the command that replaces it is due."""

RESTORE_AT_LEAST = timedelta(minutes=5)
"""So long a `restore` is worth sending, also when the event would have been over sooner."""


class EventTerms(Struct, frozen=True):
    """The part of an event that commands to all VENs share; with types of load, only such loads are asked."""

    event_id: str
    start_time: datetime
    end_time: datetime
    load_types: list[str] | None = None


def move_events_on(connection: Connection, now: datetime) -> int:
    """Start, complete and call off what is due; returns the number of events."""
    connection.execute(locks.exclusive(locks.EVENTS))
    due = event_queries.due_events(now).all(connection)
    for row in due:
        _move(connection, row, now)
    cancelled = event_queries.cancelled_events(now).all(connection)
    for row in cancelled:
        _release(connection, row, row.ended_at or now, now)
    return len(due) + len(cancelled)


def follow_participations(
    connection: Connection,
    now: datetime,
    gone_after: timedelta | None = GONE_AFTER,
    notifier: Notifier = NO_BROKER,
) -> int:
    """Write down what VENs make of their events; returns the number of participations that have moved on."""
    connection.execute(locks.exclusive(locks.EVENTS))
    followed_rows = following_queries.followed_events().all(connection)
    if not followed_rows:
        return 0
    connection.execute(following_queries.WITHOUT_LOOPS)
    ids = [row.event_id for row in followed_rows]
    object_ids = connection.execute(following_queries.openadr_objects(ids)).scalars().all()
    query = following_queries.followed_parts(followed_rows, now, gone_after, object_ids=object_ids)
    before = fetch(connection, query, FollowedPartFrame)
    parts = followed(before, now)
    if parts.is_empty():
        return 0
    event_ids = parts.get_column("event_id").unique().sort().to_list()
    with notifier.notifying_of_shares(connection, event_ids, now):
        parts, reminders = _reminded(connection, parts, now, gone_after)
        write(connection, parts, event_participations, merging_queries.replace)
        _write_followed_shares(connection, before, parts, now)
        _send(connection, [*_released(connection, parts, now), *reminders])
    for event_id in event_ids:
        connection.execute(event_changed(event_id))
    return parts.height


class Sharing(Struct, frozen=True):
    """How events are shared out: who needs rest, whose loads are gone, and who is notified of new shares."""

    rest: Rest
    gone_after: timedelta | None
    notifier: Notifier


def share_out(
    connection: Connection,
    now: datetime,
    rest: Rest,
    gone_after: timedelta | None = GONE_AFTER,
    notifier: Notifier = NO_BROKER,
) -> int:
    """Notify VENs of the events whose time has come; returns the number of VENs notified."""
    connection.execute(locks.exclusive(locks.EVENTS))
    rows = event_queries.events_to_notify(now).all(connection)
    sharing = Sharing(rest, gone_after, notifier)
    return sum(_share(connection, row, now, sharing) for row in rows if may_notify(_course(row), now))


def _move(connection: Connection, row: DueEvent, now: datetime) -> None:
    event = advanced(_course(row), now)
    connection.execute(event_queries.move(row.event_id, event.status, event.started_at, event.ended_at))
    if event.status in OVER:
        _release(connection, row, event.ended_at or now, now)
    else:
        connection.execute(event_changed(row.event_id))


def _release(connection: Connection, event: DueEvent, ended_at: datetime, now: datetime) -> None:
    """The event is over, by time, stop or cancel: every VEN that was notified of it is sent a `restore`.

    Also at the end in its last command: VENs in the field count from receipt, some for longer.
    """
    ven_ids = connection.execute(event_queries.notified_vens(event.event_id)).scalars().all()
    connection.execute(event_queries.finish(event.event_id, ended_at))
    connection.execute(event_queries.expire_commands(event.event_id))
    _send(connection, _restores(event.event_id, event.end_time, ven_ids, now))
    connection.execute(event_changed(event.event_id))


def _share(connection: Connection, event: EventToNotify, now: datetime, sharing: Sharing) -> int:
    newcomers = _newcomers(connection, event, now, sharing.rest, sharing.gone_after)
    if newcomers.is_empty() and _is_balanced(connection, event):
        return 0
    with sharing.notifier.notifying_of_shares(connection, [event.event_id], now):
        return _share_among(connection, event, newcomers, now, sharing)


def _share_among(
    connection: Connection, event: EventToNotify, newcomers: pl.DataFrame, now: datetime, sharing: Sharing
) -> int:
    """Share an event out anew; returns the number of VENs notified."""
    parts = fetch(connection, event_queries.shares(event.event_id), ShareFrame)
    chosen = _shares_to_notify(event, parts, newcomers)
    vens_with_announced_share = _vens_without_need(connection, event, parts, chosen, now)
    if connection.execute(event_queries.hold_event(event.event_id)).first() is None:
        return 0
    if event.shared_reduction_kw != event.wanted_kw:
        connection.execute(event_queries.set_shared(event.event_id, event.wanted_kw))
        connection.execute(event_changed(event.event_id))
    _keep_shares(connection, event, chosen.filter(pl.col("ven_id").is_in(vens_with_announced_share)), now)
    chosen = chosen.filter(~pl.col("ven_id").is_in(vens_with_announced_share))
    if chosen.is_empty():
        return 0
    ven_ids = chosen.get_column("ven_id").to_list()
    connection.execute(event_queries.expire_commands(event.event_id, ven_ids))
    connection.execute(event_queries.expire_restores(ven_ids))
    connection.execute(event_queries.bring_restores_forward(ven_ids, now))
    terms = EventTerms(event.event_id, event.start_time, event.end_time, event.load_types)
    asked = _asking(connection, terms, chosen, now, sharing.gone_after)
    _write_parts(connection, event, chosen, asked, now)
    _send(connection, [*_superseded(connection, event, ven_ids, now, sharing.notifier), *asked])
    connection.execute(event_changed(event.event_id))
    return chosen.height


def _shares_to_notify(event: EventToNotify, parts: pl.DataFrame, newcomers: pl.DataFrame) -> pl.DataFrame:
    """Shares to send: of newcomers, of VENs whose share has changed, and of VENs with an outdated notice.

    What was changed is shared out exactly; only newcomers may make the shares exceed the request. A step of
    intervals is shared out evenly, as announced to VENs that understand them.
    """
    most_excess = NEGLIGIBLE if _is_changed(event) else MOST_EXCESS
    is_step = _is_changed(event) and event.intervals is not None
    chosen = changed_shares(parts, newcomers, event.wanted_kw, most_excess, is_fair=is_step)
    outdated_notices = parts.filter(_has_outdated_notice(event)).select(chosen.columns)
    return pl.concat([chosen, outdated_notices.join(chosen, on="ven_id", how="anti")]).sort("ven_id")


def _has_outdated_notice(event: EventToNotify) -> pl.Expr:
    """Whether a VEN was notified of another end, or of terms that were changed since."""
    has_other_end = (pl.col("told_end_time") != pl.lit(event.end_time)).fill_null(value=False)
    has_other_terms = pl.col("told_terms_revision").fill_null(0) != pl.lit(event.terms_revision)
    is_otherwise: pl.Expr = has_other_end | has_other_terms
    return is_otherwise


def _vens_without_need(
    connection: Connection, event: EventToNotify, parts: pl.DataFrame, chosen: pl.DataFrame, now: datetime
) -> list[str]:
    """VENs that need no new command, since their last one had all intervals."""
    if event.intervals is None or not _is_changed(event):
        return []
    in_it = parts.filter(~_has_outdated_notice(event))
    return vens_with_announced_share(
        connection, event.event_id, chosen.join(in_it, on="ven_id", how="semi"), now
    )


def _keep_shares(connection: Connection, event: EventToNotify, shares: pl.DataFrame, now: datetime) -> None:
    """Store the shares of VENs that need no command."""
    if shares.is_empty():
        return
    parts = shares.with_columns(event_id=pl.lit(event.event_id), status=pl.lit("notified"))
    whole = _whole(parts, EventParticipationFrame)
    write(connection, whole, event_participations, term_queries.merge_shares)
    _write_shares(connection, parts, now)
    connection.execute(event_changed(event.event_id))


def _is_changed(event: EventToNotify) -> bool:
    """Whether people have changed what an event asks for since it was shared out."""
    return event.shared_reduction_kw is not None and event.shared_reduction_kw != event.wanted_kw


def _newcomers(
    connection: Connection, event: EventToNotify, now: datetime, rest: Rest, gone_after: timedelta | None
) -> pl.DataFrame:
    """VENs to notify: `ven_id`, `available_kw`. Stores how many VENs are passed over, if that has changed."""
    query = candidates.asked_vens(AskedEvent.of(event), now, rest, gone_after)
    rows = fetch(connection, query, CandidateFrame)
    counts = rows.filter(pl.col("reason").is_not_null()).select("reason", "vens")
    notes = candidates.passed_over_notes(counts.iter_rows())
    if notes != event.notes:
        connection.execute(event_queries.set_notes(event.event_id, notes))
        connection.execute(event_changed(event.event_id))
    return rows.filter(pl.col("reason").is_null()).select("ven_id", "available_kw")


def _is_balanced(connection: Connection, event: EventToNotify) -> bool:
    """Whether no VEN needs a command; a cheap test, as it is nearly always so."""
    balance = event_queries.balance(event.event_id, event.end_time, event.terms_revision).one(connection)
    if _is_changed(event) or balance.outdated_notices:
        return False
    requested_kw = event.wanted_kw
    wanted_kw = min(requested_kw, balance.available_kw)
    is_enough = balance.given_kw >= wanted_kw - NEGLIGIBLE * requested_kw
    return is_enough and balance.given_kw <= requested_kw * (1 + MOST_EXCESS)


def _write_parts(
    connection: Connection,
    event: EventToNotify,
    chosen: pl.DataFrame,
    asked: Sequence[NewCommand],
    now: datetime,
) -> None:
    at = pl.lit(now).cast(pl.Datetime("us", "UTC"))
    parts = chosen.with_columns(
        event_id=pl.lit(event.event_id),
        status=pl.lit("notified"),
        notified_at=at,
        told_end_time=pl.lit(event.end_time).cast(pl.Datetime("us", "UTC")),
        told_terms_revision=pl.lit(event.terms_revision, pl.Int32),
        told_load_types=pl.lit(_json(event.load_types), pl.String),
    ).join(_command_ids(asked), on="ven_id", how="left", maintain_order="left")
    write(
        connection, _whole(parts, EventParticipationFrame), event_participations, event_queries.merge_notified
    )
    _write_shares(connection, parts, now)


def _reminded(
    connection: Connection, parts: pl.DataFrame, now: datetime, gone_after: timedelta | None
) -> tuple[pl.DataFrame, list[NewCommand]]:
    """Notify VENs again that name the event no more (they may have rebooted): participations, commands."""
    silent = parts.filter(pl.col("asked_again_at") == now)
    reminders: list[NewCommand] = []
    for (event_id, notified_types), some in silent.group_by(
        "event_id", "told_load_types", maintain_order=True
    ):
        ven_ids = some.get_column("ven_id").to_list()
        connection.execute(event_queries.expire_commands(str(event_id), ven_ids))
        load_types = (
            None if notified_types is None else msgspec.json.decode(str(notified_types), type=list[str])
        )
        row = some.row(0, named=True)
        terms = EventTerms(row["event_id"], row["start_time"], row["end_time"], load_types)
        reminders += _asking(connection, terms, some, now, gone_after)
    if not reminders:
        return parts, []
    sent = _command_ids(reminders, "event_id").rename({"command_id": "new_id"})
    both = parts.join(sent, on=["event_id", "ven_id"], how="left")
    return both.with_columns(command_id=pl.coalesce("new_id", "command_id")).drop("new_id"), reminders


def _released(connection: Connection, parts: pl.DataFrame, now: datetime) -> list[NewCommand]:
    """A `restore` for each VEN that is not asked any more while the event goes on."""
    restores: list[NewCommand] = []
    gone = parts.filter(pl.col("released_at") == now)
    for (event_id,), some in gone.group_by("event_id", maintain_order=True):
        ven_ids = some.get_column("ven_id").to_list()
        connection.execute(event_queries.expire_commands(str(event_id), ven_ids))
        restores += _restores(str(event_id), some.item(0, "end_time"), ven_ids, now)
    return restores


def _write_followed_shares(
    connection: Connection, before: pl.DataFrame, parts: pl.DataFrame, now: datetime
) -> None:
    """Keep the shares of who has opted out, since then, is away, or has returned."""
    was = before.select("event_id", "ven_id", was="status")
    both = parts.join(was, on=["event_id", "ven_id"])
    changed = both.filter(pl.col("status").is_in(["opted_out", "planned"]) | (pl.col("was") == "opted_out"))
    _write_shares(connection, changed, now)


def _write_shares(connection: Connection, parts: pl.DataFrame, now: datetime) -> None:
    """Store the requests to VENs from now on; a VEN that has opted out has had no request since then."""
    is_out = pl.col("status") == "opted_out"
    out_at = pl.col("opted_out_at") if "opted_out_at" in parts.columns else pl.lit(now)
    shares = parts.select(
        "ven_id",
        "event_id",
        pl.when(is_out).then(out_at).otherwise(pl.lit(now)).cast(pl.Datetime("us", "UTC")).alias("at"),
        pl.when(is_out).then(0.0).otherwise("requested_reduction_kw").alias("requested_reduction_kw"),
    )
    write(connection, shares, event_shares, merging_queries.replace)


def _superseded(
    connection: Connection,
    event: EventToNotify,
    notified_ids: Sequence[str],
    now: datetime,
    notifier: Notifier,
) -> list[NewCommand]:
    """VENs that this event has taken from others are released there: a `restore` for each."""
    restores: list[NewCommand] = []
    rows = event_queries.participations_lost_to(AskedEvent.of(event), notified_ids).all(connection)
    for loser_id, lost in groupby(rows, lambda part: part.event_id):
        taken = list(lost)
        ven_ids = [part.ven_id for part in taken]
        with notifier.notifying_of_shares(connection, [loser_id], now):
            connection.execute(event_queries.finish(loser_id, now, ven_ids))
        connection.execute(event_queries.expire_commands(loser_id, ven_ids))
        connection.execute(event_changed(loser_id))
        restores += _restores(loser_id, taken[0].end_time, ven_ids, now)
    return restores


def _asking(
    connection: Connection,
    terms: EventTerms,
    shares: pl.DataFrame,
    now: datetime,
    gone_after: timedelta | None,
) -> list[NewCommand]:
    """The commands that ask VENs for their shares: one for each VEN, or one for each of its loads that count.

    None for VENs that speak OpenADR: serving shows them their shares.

    Args:
        connection: within the step's transaction.
        terms: of the event.
        shares: `ven_id` and `requested_reduction_kw`.
        now: the time.
        gone_after: how far a load's newest device time may lie behind its VEN's; None for any distance.
    """
    ven_ids = shares.get_column("ven_id").to_list()
    without = connection.execute(vens_by_openadr(ven_ids)).scalars().all()
    shares = shares.filter(~pl.col("ven_id").is_in(without)) if without else shares
    if terms.load_types is None:
        of_vens = shares.select("ven_id", "requested_reduction_kw").iter_rows()
        return [_event_command(terms, *share, now=now) for share in of_vens]
    query = event_queries.loads_to_shed(shares.get_column("ven_id").to_list(), terms.load_types, gone_after)
    loads = fetch(connection, query, LoadToShedFrame)
    return [_load_command(terms, *each, now=now) for each in by_load(shares, loads).iter_rows()]


def _command_ids(asked: Sequence[Mapping[str, object]], *by: str) -> pl.DataFrame:
    """The command that stands for all that were made for a VEN together: `ven_id`, `command_id`."""
    columns = ("ven_id", *by, "command_id")
    rows = [tuple(command[name] for name in columns) for command in asked]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")
    return frame.group_by("ven_id", *by, maintain_order=True).agg(pl.col("command_id").min())


def _json(texts: Sequence[str] | None) -> str | None:
    return None if texts is None else msgspec.json.encode(texts).decode()


def _load_command(
    terms: EventTerms, ven_id: str, load_id: str, reduce_kw: float, *, now: datetime
) -> NewCommand:
    """A load sheds from receipt on, for as long as is left."""
    left = terms.end_time - now
    data = {
        "loadId": load_id,
        "reduceKw": reduce_kw,
        "durationS": max(1, round(left.total_seconds())),
        "eventId": terms.event_id,
    }
    return new_command("shedLoad", ven_id, data, now=now + AFTERWARDS, expires_at=terms.end_time)


def _event_command(event: EventTerms, ven_id: str, requested_kw: float, *, now: datetime) -> NewCommand:
    """Start and end for VENs that read them; for those that act on receipt, the seconds that are left."""
    left = event.end_time - max(event.start_time, now)
    data = {
        "event_id": event.event_id,
        "start_ts": event.start_time.timestamp(),
        "end_ts": event.end_time.timestamp(),
        "duration_s": max(1, round(left.total_seconds())),
        "requestedReductionKw": requested_kw,
    }
    return new_command("event", ven_id, data, now=now + AFTERWARDS, expires_at=event.end_time)


def _restores(event_id: str, end_time: datetime, ven_ids: Iterable[str], now: datetime) -> list[NewCommand]:
    expires_at = max(end_time, now + RESTORE_AT_LEAST)
    data = {"event_id": event_id}
    return [new_command("restore", ven_id, data, now=now, expires_at=expires_at) for ven_id in ven_ids]


def _send(connection: Connection, rows: Sequence[NewCommand]) -> None:
    """Into the outbox, but for VENs that speak OpenADR; the dispatcher is notified."""
    ven_ids = sorted({command["ven_id"] for command in rows})
    without = set(connection.execute(vens_by_openadr(ven_ids)).scalars()) if ven_ids else set()
    sent = [command for command in rows if command["ven_id"] not in without]
    if not sent:
        return
    whole = completed(connection, sent)
    encoded: list[dict[str, object]] = [
        {**command, "data": msgspec.json.encode(command["data"]).decode()} for command in whole
    ]
    frame = pl.DataFrame(encoded, schema_overrides=_types(CommandFrame, encoded[0]))
    write(connection, _whole(frame, CommandFrame), commands, merging_queries.insert_missing)
    connection.execute(notify(COMMANDS))


def _types(model: type[Frame], row: Mapping[str, object]) -> dict[str, DataType]:
    return {name: dtype for name, dtype in model.types().items() if name in row}


def _whole(frame: pl.DataFrame, model: type[Frame]) -> pl.DataFrame:
    """With all columns of the model; null where a value is absent."""
    missing = {name: dtype for name, dtype in model.types().items() if name not in frame.columns}
    return frame.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in missing.items())


def _course(event: DueEvent | EventToNotify) -> Course:
    return Course(event.status, event.start_time, event.end_time, event.started_at, event.ended_at)
