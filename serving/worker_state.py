"""The in-memory state of each worker process: cached responses and live streams."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import psycopg
from sqlalchemy import Engine

from schemas.db.channels import LIVE, OPENADR, TOTALS
from serving.cache.change_feed import ChangeFeed
from serving.cache.generation import ChangeCounter
from serving.cache.listener import Listener, Refresh
from serving.cache.response_cache import ResponseCache
from serving.fleet.reader import FleetReader
from serving.http.responses import encode
from serving.live.hub import LiveHub
from serving.live.places import StreamPlaces
from serving.page import Page

POLL_EVERY_S = 2.0
"""Poll interval, for a lost NOTIFY."""

MAX_CACHED_VENS = 20_000
"""Most VENs of a cached list; longer ones, from some four megabytes, are streamed, to bound memory."""

NO_CHANNELS: Mapping[str, Refresh] = MappingProxyType({})


class WorkerState:
    """Kept up to date by a listener; without one every request reads the database."""

    def __init__(
        self,
        engine: Engine,
        reader: FleetReader,
        places: StreamPlaces | None = None,
        stream_heartbeat_s: float = 15,
        changes: ChangeCounter | None = None,
    ) -> None:
        changes = changes or ChangeCounter()
        self.hub = LiveHub(engine, reader.network, places or StreamPlaces(), stream_heartbeat_s)
        builders = {
            "network": lambda: encode(reader.network()),
            "load types": lambda: encode(reader.load_types()),
            "summaries": lambda: _summaries(reader),
        }
        self.cache = ResponseCache(builders, reader.version, changes=changes)
        self.openadr_changes = ChangeFeed(engine, OPENADR, changes)

    def listener(
        self,
        connect: Callable[[], psycopg.Connection],
        other_channels: Mapping[str, Refresh] = NO_CHANNELS,
        report: Callable[[int, float], None] | None = None,
        every_s: float = POLL_EVERY_S,
    ) -> Listener:
        """Return a listener that refreshes this state, and, by other channels, further state.

        `report` is called after each poll with the number of open streams and the age of the cache, s.
        """
        hub, cache = self.hub, self.cache
        on_notify: dict[str, tuple[Refresh, ...]] = {
            TOTALS: (cache.refresh, hub.refresh_network),
            LIVE: (hub.refresh_changes,),
        }
        on_notify |= {channel: (refresh,) for channel, refresh in other_channels.items()}
        on_poll: tuple[Refresh, ...] = (
            cache.poll,
            hub.refresh_network,
            hub.refresh_changes,
            *other_channels.values(),
        )
        if report is not None:
            on_poll = (*on_poll, lambda: report(hub.clients, cache.age_s()))
        return Listener(connect, on_notify, on_poll, self.cache.expire, every_s)


def _summaries(reader: FleetReader) -> bytes | None:
    if reader.network().ven_count > MAX_CACHED_VENS:
        return None
    return encode(list(reader.ven_summaries(Page())))
