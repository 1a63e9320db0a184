"""`python -m ingest` as a child process: it can be killed and restarted, and its peak memory is measured."""

import os
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from local.child import Child, ProcessSpec
from local.environment import REPOSITORY, inherited_environment
from local.service import Service
from tests.faults.deadline import until

RETIRED_WITHIN_S = 60
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


class Ingest(Service):
    """One worker. Its client id, and so its session at the broker, stays the same over restarts."""

    stops_within_s = 60.0
    """Several processes end, on a machine that may be busy with other tests."""

    def __init__(
        self, directory: Path, database_url: str, mqtt_url: str, client_id: str = "ingest", **settings: str
    ) -> None:
        super().__init__()
        self.name = client_id
        self.peak_mb = 0.0
        self.kills = 0
        self._ready_file = directory / f"{client_id}.ready"
        self._spec = ProcessSpec(
            argv=[sys.executable, "-m", "ingest"],
            env=inherited_environment(
                DATABASE_URL=database_url,
                MQTT_URL=mqtt_url,
                MQTT_CLIENT_ID=client_id,
                INGEST_READY_FILE=str(self._ready_file),
                **settings,
            ),
            cwd=REPOSITORY,
            log=directory / "logs" / f"{client_id}.log",
        )

    def change(self, **settings: str) -> None:
        """Other settings from the next start on."""
        self._spec = replace(self._spec, env={**self._spec.env, **settings})

    def writers(self) -> list[psutil.Process]:
        """Its writer processes."""
        return list(psutil.Process(self.pid).children())

    def kill_parent(self) -> None:
        """Kill the receiving process alone, not its group."""
        self.kills += 1
        os.kill(self.pid, signal.SIGKILL)
        self.child.wait(RETIRED_WITHIN_S)

    def kill(self) -> None:
        self.note_peak()
        self.kills += 1
        super().kill()

    def stop(self) -> None:
        """Send SIGTERM; it must end by itself, with exit code 0."""
        self.note_peak()
        super().stop()
        assert self.child.exit_code == 0, self._failure_message(f"ended with {self.child.exit_code}")

    def retire(self) -> None:
        """Run `python -m ingest retire`, which empties and deletes its session."""
        command = replace(self._spec, argv=[*self._spec.argv, "retire"])
        child = Child(command)
        assert child.wait(RETIRED_WITHIN_S), "\n".join(child.last_lines())
        assert child.exit_code == 0, "\n".join(child.last_lines())

    def wait_listening(self, times: int) -> None:
        """Wait until the broker has granted its subscriptions `times` times."""
        until(
            lambda: self.has_logged("subscribed") >= times,
            self.ready_within_s,
            lambda: f"{self.name} is away",
        )

    def note_peak(self) -> None:
        """Update the peak memory over all restarts."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError, RuntimeError):
            return
        if peak := _PEAK.search(status):
            self.peak_mb = max(self.peak_mb, int(peak[1]) / 1024)

    def has_logged(self, text: str) -> int:
        """How often the log has the text, over all restarts."""
        log = self._spec.log
        return log.read_text(errors="replace").count(text) if log and log.exists() else 0

    def _prepare(self) -> None:
        self._ready_file.unlink(missing_ok=True)

    def _command(self) -> ProcessSpec:
        return self._spec

    def _is_ready(self) -> bool:
        return self._ready_file.exists()
