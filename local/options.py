"""The command line of `python -m local`."""

import argparse
import hashlib
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from local.disk import needed_mb
from local.environment import REPOSITORY
from schemas.programs.command_line import program_name, program_parser
from schemas.programs.exits import EXIT_CODES, FAILED, TRY_AGAIN, WRONG_USAGE
from serving.policy import ORIGIN


@dataclass(frozen=True)
class Options:
    """Ports on 127.0.0.1; interval in seconds; backfill in hours."""

    data_dir: Path
    http_port: int
    mqtt_port: int
    mqtt5_port: int
    fleet: int
    openadr_fleet: int
    interval: float
    seed: int
    backfill: float
    ready_file: Path | None
    fixtures: bool
    opt_out: float
    mute: float
    daily_events: bool
    steady: bool
    truth: Path | None
    broker: str
    postgres: str
    cors_origins: tuple[str, ...]
    command: str
    """The command line, without what `command_with` adds."""

    def command_with(self, options: str) -> str:
        """The command line with some more options."""
        if not self.command.startswith("make "):
            return f"{self.command} {options}"
        target, _, arguments = self.command.partition(" ARGS=")
        return f"{target} ARGS='{' '.join(filter(None, (arguments, options)))}'"

    @property
    def needed_mb(self) -> int:
        return needed_mb(self.fleet + self.openadr_fleet, self.backfill, self.interval)

    @property
    def ports(self) -> dict[str, int]:
        """Each port by the option that sets it."""
        return {"--http-port": self.http_port, "--mqtt-port": self.mqtt_port, "--mqtt5-port": self.mqtt5_port}


def default_data_dir(*, has_fixtures: bool = False) -> Path:
    """The usual data directory; not below the home directory, which PostgreSQL's user cannot reach as root's.

    Fixtures have their own, so that the demo's fleet is not in their numbers.
    """
    return data_dir_of("gridgate-fixtures" if has_fixtures else "gridgate")


def data_dir_of(name: str, root: Path = REPOSITORY) -> Path:
    """A directory of one user and one checkout, kept across reboots."""
    checkout = hashlib.sha256(os.fsencode(root)).hexdigest()[:6]
    return Path("/var/tmp") / f"{name}-{os.geteuid()}-{checkout}"  # noqa: S108 - it has our name


def parse_options(arguments: list[str] | None = None) -> Options:
    """Read the command line; exit with a message on what to change when it is invalid."""
    parser = _parser()
    command_line = sys.argv[1:] if arguments is None else arguments
    words = vars(parser.parse_args(command_line))
    command = _command(words.pop("make"), command_line)
    origins = tuple(words.pop("cors_origin"))
    data_dir = words.pop("data_dir") or default_data_dir(has_fixtures=words["fixtures"])
    options = Options(data_dir=data_dir, cors_origins=origins, command=command, **words)
    if len(set(options.ports.values())) < len(options.ports):
        parser.error(f"{', '.join(options.ports)} must differ from one another")
    if options.backfill and not (options.fleet or options.openadr_fleet):
        parser.error("--backfill needs a fleet that sends it: add --fleet N or --openadr-fleet N")
    return options


def _command(make_target: str | None, command_line: list[str]) -> str:
    """The command line; with `--make TARGET` it is `make TARGET ARGS=...`, of the words after that."""
    if make_target is None:
        return shlex.join([*program_name("local").split(), *command_line])
    make_arguments = command_line[command_line.index("--make") + 2 :]
    return f"make {make_target}" + (f" ARGS={shlex.join(make_arguments)}" if make_arguments else "")


def _parser() -> argparse.ArgumentParser:
    parser = program_parser(
        "local",
        "Gridgate on this machine: PostgreSQL, a broker, the three programs, a simulated fleet.",
        [],
        [
            "--fleet 50 --backfill 6",
            "--fixtures",
            "--fleet 50 --http-port 8001 --mqtt-port 1885 --mqtt5-port 1886",
        ],
        EXIT_CODES
        | {
            FAILED: "a part did not come up; the message says which, and why",
            WRONG_USAGE: "wrong options, a port that this user must not use, or too little space",
            TRY_AGAIN: "a port or the data directory is in use",
        },
    )
    add = parser.add_argument
    where = f"data and logs ({default_data_dir()}; with --fixtures {default_data_dir(has_fixtures=True)})"
    add("--data-dir", type=Path, metavar="D", help=where)
    add("--http-port", type=port, metavar="PORT", default=8000, help="the API (%(default)s)")
    add("--mqtt-port", type=port, metavar="PORT", default=1883, help="MQTT 3.1.1 (%(default)s)")
    add("--mqtt5-port", type=port, metavar="PORT", default=1884, help="MQTT 5 (%(default)s)")
    add("--fleet", type=count, metavar="N", default=0, help="how many VENs to simulate (%(default)s)")
    add(
        "--openadr-fleet",
        type=count,
        metavar="N",
        default=0,
        help="how many that speak OpenADR (%(default)s)",
    )
    add("--interval", type=seconds, metavar="S", default=5.0, help="seconds between reports (%(default)g)")
    add("--seed", type=int, metavar="K", default=1, help="another seed, another fleet (%(default)s)")
    add("--backfill", type=hours, metavar="HOURS", default=0.0, help="past hours to send first (%(default)g)")
    add(
        "--fixtures", action="store_true", help="load a small world that is always the same: docs/fixtures.md"
    )
    add("--make", metavar="TARGET", help=argparse.SUPPRESS)  # the target of make that runs this, for messages
    add("--ready-file", type=Path, metavar="F", help="JSON with URLs and process ids, written when ready")
    _add_servers(parser)
    _add_behaviour(parser)
    return parser


def _add_servers(parser: argparse.ArgumentParser) -> None:
    """Options of servers, and of origins that may call the API."""
    add = parser.add_argument_group("servers").add_argument
    add(
        "--broker",
        choices=("auto", "mosquitto", "embedded"),
        default="auto",
        help="mosquitto as installed, the embedded rumqttd, or the former where it is (%(default)s)",
    )
    add(
        "--postgres",
        choices=("embedded", "installed"),
        default="embedded",
        help="PostgreSQL of the Python wheel, or as installed (%(default)s)",
    )
    add(
        "--cors-origin",
        action="append",
        type=origin,
        default=[],
        metavar="URL",
        help="an origin whose pages may call the API, as http://localhost:5173; may be repeated",
    )


def _add_behaviour(parser: argparse.ArgumentParser) -> None:
    """Options of the fleet's response to events."""
    add = parser.add_argument_group("events").add_argument
    add("--opt-out", type=share, metavar="P", default=0.1, help="share of homes that opt out (%(default)g)")
    add("--mute", type=share, metavar="P", default=0.02, help="share of VENs that never answer (%(default)g)")
    add("--daily-events", action="store_true", help="the fleet sheds every day at fixed times, too, unasked")
    add("--steady", action="store_true", help="every day of the fleet is the same, for checks of baselines")
    add("--truth", type=Path, metavar="F", help="JSON lines of what VENs would have drawn without events")


def port(text: str) -> int:
    return _whole(text, 1, 65_535, "a port")


def count(text: str) -> int:
    return _whole(text, 0, 100_000, "a number of VENs")


def homes(text: str) -> int:
    return _whole(text, 1, 1_000, "a number of homes")


def seconds(text: str) -> float:
    return _number(text, 0.1, 86_400, "a number of seconds")


def hours(text: str) -> float:
    return _number(text, 0, 24 * 400, "a number of hours")


def origin(text: str) -> str:
    if not ORIGIN.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an origin such as http://localhost:5173, or *")
    return text


def share(text: str) -> float:
    return _number(text, 0, 1, "a share")


def mqtt_url(text: str) -> str:
    return _url(text, "mqtt")


def http_url(text: str) -> str:
    return _url(text, "http")


def _url(text: str, scheme: str) -> str:
    """Parse a URL of a scheme, a host and maybe a port; errors omit a login, which may have a password."""
    try:
        parts = urlsplit(text)
        is_right = parts.scheme == scheme and parts.hostname and parts.port != 0 and "@" not in text
    except ValueError:
        is_right = False
    if not is_right or parts.path.strip("/") or parts.query or parts.fragment:
        shown = "a URL with a login" if "@" in text else repr(text)
        raise argparse.ArgumentTypeError(f"{shown} is not of the form {scheme}://host:port")
    return text


def _whole(text: str, least: int, most: int, what: str) -> int:
    if not text.isdecimal() or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what} between {least} and {most}")
    return int(text)


def _number(text: str, least: float, most: float, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what} between {least:g} and {most:g}")
    return value
