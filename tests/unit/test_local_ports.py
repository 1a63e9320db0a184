"""The errors of `python -m local` for unusable ports and disks."""

import errno
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from local.disk import FULL, MB, needed_mb, require_space, too_full, with_cause
from local.options import data_dir_of, default_data_dir, parse_options
from local.ports import HOST, free_ports, is_free, require_free
from local.service import InUseError, StartError, UnusableError
from schemas.programs.exits import FAILED, TRY_AGAIN, WRONG_USAGE
from tests.conftest import REPOSITORY
from tests.integration.listening import listening

NOBODY = 65_534


def test_all_ports_are_named_at_once_with_a_command_that_works() -> None:
    [free] = free_ports(1)
    with listening() as one, listening() as other:
        ports = {"--http-port": one, "--mqtt-port": free, "--mqtt5-port": other}
        with pytest.raises(InUseError) as refused:
            require_free(ports, lambda options: f"make demo ARGS='{options}'")
        assert refused.value.exit_code == TRY_AGAIN
        *lines, last = str(refused.value).splitlines()
        name = f"(process {os.getpid()})"
        assert [
            line.startswith(f"port {port} is in use by")
            for port, line in zip((one, other), lines, strict=True)
        ] == [True, True]
        assert all(name in line for line in lines)
        words = last.partition("ARGS='")[2].rstrip("'").split()
        suggested = dict(zip(words[::2], map(int, words[1::2]), strict=True))
        assert suggested.keys() == {"--http-port", "--mqtt5-port"}
        assert len({*suggested.values(), free, one, other}) == 5
        assert all(map(is_free, suggested.values()))


def test_free_ports_are_no_trouble() -> None:
    one, other = free_ports(2)
    require_free({"--http-port": one, "--mqtt-port": other}, str)


WITHOUT_RIGHTS = f"""
import os
from local.ports import require_free
if os.geteuid() == 0:
    os.setuid({NOBODY})
try:
    require_free({{"--http-port": 1}}, lambda options: options)
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_port_that_one_must_not_use_is_not_in_use() -> None:
    first = (
        int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
        if sys.platform == "linux"
        else 1_024
    )
    if first <= 1:
        pytest.skip("this machine lets everybody listen on any port")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RIGHTS], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("UnusableError port 1: this user must not listen on ports below 1024")
    assert "in use" not in done.stdout


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--fleet", "50", "--make", "demo"], "make demo ARGS='--http-port 8001'"),
        (["--fleet", "50", "--make", "demo", "--seed", "3"], "make demo ARGS='--seed 3 --http-port 8001'"),
        (["--seed", "3"], "python -m local --seed 3 --http-port 8001"),
    ],
)
def test_the_command_is_the_one_that_started_us(given: list[str], expected: str) -> None:
    assert parse_options(given).command_with("--http-port 8001") == expected


def test_make_passes_arguments_on() -> None:
    shown = subprocess.run(
        [shutil.which("make") or "make", "--no-print-directory", "-n", "demo", "ARGS=--seed 3"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown.splitlines()[-1].endswith("--make demo --seed 3")


def test_two_checkouts_have_two_directories(tmp_path: Path) -> None:
    """Of one user: the second `make demo` once went on with the data of the first."""
    one, other = (data_dir_of("gridgate", tmp_path / name) for name in ("one", "other"))
    assert one != other
    assert data_dir_of("gridgate", REPOSITORY) == default_data_dir()


def test_a_full_disk_is_a_sentence_with_the_folder_and_the_space(tmp_path: Path) -> None:
    require_space(tmp_path, 0)
    with pytest.raises(UnusableError) as refused:
        require_space(tmp_path, 10**12 // MB * 1_000)
    assert refused.value.exit_code == WRONG_USAGE
    for word in (str(tmp_path), "MB free", "1000000000 MB are needed", "--data-dir"):
        assert word in str(refused.value)
    assert str(tmp_path) in too_full(tmp_path / "not" / "there", 1)


def test_a_disk_that_fills_up_is_named_as_the_cause(tmp_path: Path) -> None:
    assert os.strerror(errno.ENOSPC) == FULL
    told = with_cause(StartError(f"postgres ended\nFATAL: could not write: {FULL}"), tmp_path, 7)
    assert "7 MB are needed" in told
    assert with_cause(StartError("postgres ended"), tmp_path, 7) == "postgres ended"
    assert StartError("").exit_code == FAILED


def test_more_vens_need_more_space() -> None:
    assert needed_mb(0, 0, 5) < needed_mb(50, 6, 5) < 1_000 < needed_mb(5_000, 24, 5)


def test_a_listener_of_somebody_else_is_still_told() -> None:
    with socket.socket() as server:
        server.bind((HOST, 0))
        port = server.getsockname()[1]
        with pytest.raises(InUseError, match=f"port {port} is in use by another"):
            require_free({"--http-port": port}, str)  # bound, and nobody listens
