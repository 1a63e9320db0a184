"""What `make dist` leaves in a folder: the artefacts of the last release, and what is not ours."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.release import CHECKSUMS, MAKERS, ReleaseError, SkippedError, checksums, release


def file(name: str, content: str = "content") -> Callable[[Path, Path], None]:
    """What makes an artefact of one file."""

    def make(work: Path, made: Path) -> None:
        (work / "scratch").touch()
        (made / name).write_text(content)

    return make


def skip(_work: Path, _made: Path) -> None:
    raise SkippedError("npm is not installed")


def fail(_work: Path, _made: Path) -> None:
    raise ReleaseError("tsc failed")


def test_a_release_replaces_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    release(tmp_path, lambda _: None, {"one": file("x-1.whl"), "two": file("y-1.tgz")})
    release(tmp_path, lambda _: None, {"one": file("x-2.whl", "new")})
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "x-2.whl", CHECKSUMS}
    assert checksums(tmp_path) == {"x-2.whl": hashlib.sha256(b"new").hexdigest()}


def test_what_cannot_be_made_here_is_named(tmp_path: Path) -> None:
    lines: list[str] = []
    release(tmp_path, lines.append, {"client": skip, "one": file("x-1.whl")})
    assert lines == ["client: left out, as npm is not installed", str(tmp_path / "x-1.whl")]


def test_a_tool_that_fails_leaves_the_release_before(tmp_path: Path) -> None:
    release(tmp_path, lambda _: None, {"one": file("x-1.whl")})
    with pytest.raises(ReleaseError, match="tsc failed"):
        release(tmp_path, lambda _: None, {"one": file("x-2.whl"), "two": fail})
    assert {path.name for path in tmp_path.iterdir()} == {"x-1.whl", CHECKSUMS}


def test_checksums_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    outside, folder = tmp_path / "kept", tmp_path / "dist"
    folder.mkdir()
    outside.touch()
    (folder / CHECKSUMS).write_text(f"{'0' * 64}  ../kept\n")
    release(folder, lambda _: None, {"one": file("x-1.whl")})
    assert outside.exists()


def test_without_npm_there_is_no_typescript_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SkippedError, match="npm is not installed"):
        MAKERS["typescript-client"](tmp_path, tmp_path)
