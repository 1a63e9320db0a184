"""`python -m local.openadr`: simulated VENs that join by OpenADR, and the utility that enrols them."""

import argparse
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import httpcore

from local.fleet.backfill import backfill_step_s
from local.fleet.homes.behaviour import ResponseBehaviour
from local.fleet.homes.household import Household
from local.fleet.telemetry.reports import FleetSettings, Reporter
from local.openadr.client import TryLaterError, VtnClient, VtnError
from local.openadr.credentials import UTILITY, CredentialsError, make_credentials, read_credentials
from local.openadr.fleet import WORKERS, OpenAdrFleet
from local.openadr.utility import Utility
from local.openadr.ven import SimulatedVen, VenSettings
from local.options import count, hours, http_url, seconds, share
from schemas.programs.command_line import program_parser
from schemas.programs.exits import EXIT_CODES, FAILED, TRY_AGAIN, WRONG_USAGE, end_with_failure
from schemas.programs.logs import configure_logs
from schemas.programs.settings import ProgramSettings, SettingsError

PREFIX = "openadr"
BASE = "/openadr3/3.1.1"
_LONGEST_POLL_S = 30.0


def main() -> None:
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    configure_logs("info", "text")
    try:
        if options.action == "prepare":
            _prepare(options)
        else:
            _run(options)
    except TryLaterError as error:
        end_with_failure(str(error), TRY_AGAIN)
    except SettingsError as error:
        end_with_failure(str(error), WRONG_USAGE)
    except CredentialsError as error:
        end_with_failure(str(error), error.exit_code)
    except VtnError as error:
        end_with_failure(str(error), FAILED)
    except KeyboardInterrupt:
        sys.exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = program_parser(
        "local.openadr",
        "Simulated VENs that join by OpenADR 3.1, and the utility that enrols them.",
        [ProgramSettings],
        [
            "prepare --vens 5 --credentials clients.json",
            "run --vens 5 --credentials clients.json --http-url http://127.0.0.1:8000",
        ],
        EXIT_CODES | {TRY_AGAIN: "the VTN or the database does not answer: try again later"},
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    prepare = actions.add_parser("prepare", help="make the clients in the database of DATABASE_URL")
    run = actions.add_parser("run", help="enrol, poll, obey and report, until it is interrupted")
    for each in (prepare, run):
        each.add_argument("--vens", type=count, required=True, help="how many")
        each.add_argument("--credentials", type=Path, metavar="F", required=True, help="the clients' secrets")
    add = run.add_argument
    add("--http-url", type=http_url, required=True, help="serving: http://host:port")
    add("--interval", type=seconds, default=60.0, help="seconds of a reported interval (%(default)g)")
    add("--seed", type=int, default=1, help="another seed, another fleet (%(default)s)")
    add("--backfill", type=hours, default=0.0, help="past hours to report when it joins first (%(default)g)")
    add("--opt-out", type=share, default=ResponseBehaviour.opt_out, help="share of homes that opt out")
    add("--daily-events", action="store_true", help="shed every day at fixed times, too, unasked")
    add("--steady", action="store_true", help="every day is the same, in steps of five minutes")
    return parser


def _prepare(options: argparse.Namespace) -> None:
    names = [home.ven_id for home in _homes(options.vens, seed=0, is_steady=False)]
    database_url = ProgramSettings.from_environment().database_url
    make_credentials(database_url, options.credentials, names)


def _run(options: argparse.Namespace) -> None:
    homes = _homes(options.vens, options.seed, is_steady=options.steady)
    names = [home.ven_id for home in homes]
    secrets = read_credentials(options.credentials, [UTILITY, *names])
    with httpcore.ConnectionPool(max_connections=WORKERS) as pool:
        clients = {
            client_id: VtnClient(pool, options.http_url + BASE, client_id, secret)
            for client_id, secret in secrets.items()
        }
        Utility(clients[UTILITY]).prepare(names)
        vens = [_ven(home, clients[home.ven_id], options) for home in homes]
        OpenAdrFleet(vens, time.time).run()


def _homes(vens: int, seed: int, *, is_steady: bool) -> list[Household]:
    return [Household(seed, index, is_steady, prefix=PREFIX) for index in range(1, vens + 1)]


def _ven(home: Household, client: VtnClient, options: argparse.Namespace) -> SimulatedVen:
    behaviour = ResponseBehaviour(opt_out=options.opt_out)
    live = FleetSettings(options.interval, behaviour, options.daily_events, options.steady)
    past = replace(live, interval_s=backfill_step_s(options.interval))
    settings = VenSettings(min(_LONGEST_POLL_S, options.interval), options.backfill, behaviour)
    return SimulatedVen(Reporter(home, live), Reporter(home, past), client, settings)


if __name__ == "__main__":
    main()
