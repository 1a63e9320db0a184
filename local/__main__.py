"""`python -m local`: the whole system on this machine, until Ctrl-C."""

import signal
import sys
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape

from local.disk import with_cause
from local.environment import REPOSITORY
from local.options import parse_options
from local.service import StartError
from local.stack import Stack

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: list[str] | None = None, root: Path = REPOSITORY) -> int:
    """Run until a signal; the exit code is 0 after one, else that of the error."""
    options = parse_options(arguments)
    console = Console(highlight=False, soft_wrap=True)

    def announce(line: str) -> None:
        try:
            console.print(line)
        except OSError:  # the terminal is gone; services have still to be stopped
            return

    for number in _STOPPING:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # ignored under nohup
            signal.signal(number, _interrupt)
    try:
        Stack(options, announce, root).run()
    except KeyboardInterrupt:
        announce("stopped")
    except StartError as error:
        announce(f"[bold red]{escape(with_cause(error, options.data_dir, options.needed_mb))}[/]")
        return error.exit_code
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """The first signal stops the stack; further ones must not interrupt the shutdown."""
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
