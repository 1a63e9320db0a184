"""A small disk that can be filled: a tmpfs with a file that uses the remaining space."""

import errno
import os
import subprocess
from pathlib import Path
from typing import Self

import pytest

from tests.faults.requirement import be_without

BLOCK = b"\0" * 65_536


class SmallDisk:
    """`megabytes` at `directory`. Only root may mount it."""

    def __init__(self, directory: Path, megabytes: int) -> None:
        self.directory = directory
        self._size = f"size={megabytes}m"
        self._ballast = directory / "ballast"

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True)
        command = ["/bin/mount", "-t", "tmpfs", "-o", self._size, "gridgate-faults", str(self.directory)]
        if os.geteuid() != 0:
            be_without("only root can mount a small disk")
        if subprocess.run(command, check=False).returncode != 0:
            pytest.skip("this machine lets nobody mount a small disk")
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["/bin/umount", "--lazy", str(self.directory)], check=True)

    def fill(self) -> None:
        """Use all remaining space."""
        descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            while os.write(descriptor, BLOCK):
                pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        finally:
            os.close(descriptor)

    def make_room(self) -> None:
        self._ballast.unlink()
