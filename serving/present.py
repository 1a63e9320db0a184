"""What a worker process keeps of the present: answers that are ready, and what its live streams tell."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import psycopg
from sqlalchemy import Engine

from schemas.channels import LIVE, TOTALS
from serving.answers import encode
from serving.hot import Hot
from serving.listening import Listener, Refresh
from serving.live import Live
from serving.reader import Reader
from serving.windows import Page

LOOK_EVERY_S = 2.0
"""Behind NOTIFY, for what is missed."""

MOST_READY_VENS = 20_000
"""Lists of more VENs, some four megabytes, are streamed to each client, so that memory does not grow."""

NOTHING_ELSE: Mapping[str, Refresh] = MappingProxyType({})


class Present:
    """Kept up to date by a listener; until one is started, everything is read when it is asked for."""

    def __init__(
        self, engine: Engine, reader: Reader, stream_clients: int = 64, stream_heartbeat_s: float = 15
    ) -> None:
        self.live = Live(engine, reader.network, stream_clients, stream_heartbeat_s)
        makes = {
            "network": lambda: encode(reader.network()),
            "load types": lambda: encode(reader.load_types()),
            "summaries": lambda: _summaries(reader),
        }
        self.hot = Hot(makes, reader.version)

    def listener(
        self,
        connect: Callable[[], psycopg.Connection],
        also: Mapping[str, Refresh] = NOTHING_ELSE,
        look: Callable[[int, float], None] | None = None,
        every_s: float = LOOK_EVERY_S,
    ) -> Listener:
        """Keeps this up to date, and what else is to be refreshed by its channel.

        `look` is told, whenever the database was heard, how many streams are open, and how long ago.
        """
        live, hot = self.live, self.hot
        notified: dict[str, tuple[Refresh, ...]] = {
            TOTALS: (hot.refresh, live.refresh_network),
            LIVE: (live.refresh_changes,),
        }
        notified |= {channel: (refresh,) for channel, refresh in also.items()}
        looking: tuple[Refresh, ...] = (hot.check, live.refresh_network, live.refresh_changes, *also.values())
        if look is not None:
            looking = (*looking, lambda: look(live.clients, hot.age_s()))
        return Listener(connect, notified, looking, hot.distrust, every_s)


def _summaries(reader: Reader) -> bytes | None:
    if reader.network().ven_count > MOST_READY_VENS:
        return None
    return encode(list(reader.ven_summaries(Page())))
