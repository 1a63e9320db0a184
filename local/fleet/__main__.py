"""`python -m local.fleet`: a fleet that reports to a broker, now or for the past hours."""

import argparse
import signal
import sys
import time

from rich.console import Console

from local.fleet.backfill import backfill, backfill_length
from local.fleet.commands import Commands
from local.fleet.live import LiveFleet
from local.fleet.progress import with_progress
from local.fleet.publisher import BrokerError, Publisher
from local.fleet.reports import fleet
from local.options import count, hours, seconds


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        if options.backfill:
            _send_past(options)
        if not options.once:
            _report(options)
    except BrokerError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.fleet", description="A simulated fleet of VENs.")
    parser.add_argument("--mqtt-url", required=True, help="a broker that speaks MQTT 3.1.1: mqtt://host:port")
    parser.add_argument("--vens", type=count, required=True, help="how many")
    parser.add_argument("--interval", type=seconds, default=5.0, help="seconds between reports")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another fleet")
    parser.add_argument("--backfill", type=hours, default=0.0, help="past hours to send first")
    parser.add_argument("--once", action="store_true", help="end after the backfill")
    return parser.parse_args()


def _send_past(options: argparse.Namespace) -> None:
    span = (options.seed, options.vens, options.backfill, options.interval)
    messages = backfill(*span, now=time.time())
    total = backfill_length(*span[1:])
    with Publisher(options.mqtt_url, f"fleet-backfill-{options.seed}") as publisher:
        for message in with_progress(messages, total, Console(highlight=False)):
            publisher.publish(message)
        publisher.wait_acknowledged()


def _report(options: argparse.Namespace) -> None:
    reporters = fleet(options.seed, options.vens, options.interval)
    commands = Commands([reporter.home for reporter in reporters], time.time)
    publisher = Publisher(options.mqtt_url, f"fleet-{options.seed}")

    live = LiveFleet(reporters, publisher, commands, time.time)
    publisher.listen(live.obey)
    with publisher:
        live.run()


if __name__ == "__main__":
    main()
