"""`python -m local.fleet`: a fleet that reports to a broker, now or for the past hours."""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from local.fleet.backfill import backfill, backfill_length
from local.fleet.control.commands import CommandHandler
from local.fleet.homes.behaviour import ResponseBehaviour
from local.fleet.homes.truth import TruthError, TruthFile
from local.fleet.live import LiveFleet, ReadingObserver
from local.fleet.progress import with_progress
from local.fleet.publisher import BrokerError, FleetPublisher
from local.fleet.telemetry.reports import FleetSettings, fleet
from local.options import count, hours, mqtt_url, seconds, share
from schemas.programs.command_line import program_parser
from schemas.programs.exits import EXIT_CODES, TRY_AGAIN, WRONG_USAGE, end_with_failure


def main() -> None:
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        if options.backfill:
            _send_past(options)
        if not options.once:
            _report(options)
    except BrokerError as error:
        end_with_failure(str(error), TRY_AGAIN)
    except TruthError as error:
        end_with_failure(str(error), WRONG_USAGE)
    except KeyboardInterrupt:
        sys.exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = program_parser(
        "local.fleet",
        "A simulated fleet of VENs, which reports to a broker and obeys its commands.",
        [],
        [
            "--mqtt-url mqtt://127.0.0.1:1883 --vens 50",
            "--mqtt-url mqtt://127.0.0.1:1883 --vens 50 --backfill 24 --once",
        ],
        EXIT_CODES | {TRY_AGAIN: "the broker does not answer: try again later"},
    )
    add = parser.add_argument
    add("--mqtt-url", type=mqtt_url, required=True, help="a broker that speaks MQTT 3.1.1: mqtt://host:port")
    add("--vens", type=count, required=True, help="how many")
    add("--interval", type=seconds, default=5.0, help="seconds between reports")
    add("--seed", type=int, default=1, help="another seed, another fleet")
    add("--backfill", type=hours, default=0.0, help="past hours to send first")
    add("--once", action="store_true", help="end after the backfill")
    add(
        "--opt-out",
        type=share,
        default=ResponseBehaviour.opt_out,
        help="share of the homes that opt out of an event",
    )
    add(
        "--mute",
        type=share,
        default=ResponseBehaviour.mute,
        help="share of the VENs that never answer a command",
    )
    add("--daily-events", action="store_true", help="shed every day at fixed times, too, unasked")
    add("--steady", action="store_true", help="every day is the same, in steps of five minutes")
    add("--truth", type=Path, metavar="F", help="JSON lines of what VENs would have drawn without events")
    return parser


def _settings(options: argparse.Namespace) -> FleetSettings:
    behaviour = ResponseBehaviour(opt_out=options.opt_out, mute=options.mute)
    return FleetSettings(options.interval, behaviour, options.daily_events, options.steady)


def _send_past(options: argparse.Namespace) -> None:
    messages = backfill(options.seed, options.vens, options.backfill, _settings(options), now=time.time())
    total = backfill_length(options.vens, options.backfill, options.interval)
    with FleetPublisher(options.mqtt_url, f"fleet-backfill-{options.seed}") as publisher:
        for message in with_progress(messages, total, Console(highlight=False)):
            publisher.publish(message)
        publisher.wait_acknowledged()


def _report(options: argparse.Namespace) -> None:
    settings = _settings(options)
    reporters = fleet(options.seed, options.vens, settings)
    commands = CommandHandler(reporters, settings.behaviour, time.time)
    publisher = FleetPublisher(options.mqtt_url, f"fleet-{options.seed}")
    with _observer(options.truth) as observer:
        live = LiveFleet(reporters, publisher, commands, observer, time.time)
        publisher.listen(live.hear)
        with publisher:
            live.run()


@contextlib.contextmanager
def _observer(path: Path | None) -> Iterator[ReadingObserver]:
    """An observer that writes the truth file, or one that does nothing."""
    if path is None:
        yield lambda *_: None
        return
    with TruthFile(path) as file:
        yield file.write


if __name__ == "__main__":
    main()
