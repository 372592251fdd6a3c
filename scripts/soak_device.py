"""A device of the soak: its agent as a process, what is really installed, and who gets in."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import statistics
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dpki.agent.index import load_index
from dpki.agent.report import load_report
from dpki.certificates.keys import public_key_line
from dpki.certificates.krl import Krl, parse_krl
from dpki.devices.prekeys import PREKEY_DIRECTORY, PrekeySecret
from dpki.errors import DpkiError
from dpki.files import create_atomic, make_private_directory
from scripts.soak_model import Model, View
from scripts.stage import Client, Stage, dpki_command
from tests.agents import Site
from tests.device import HOST
from tests.world import Ca

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
STARTING = 60.0
"""Seconds within which an agent must have started."""

_SHOWN = re.compile(r"(?m)^HostCertificate \S*/host-([0-9a-f]+)-cert\.pub$")


class Sample(NamedTuple):
    """What an agent needed at a moment.

    Attributes:
        resident: Bytes of memory.
        anchored: Certificates on chain; those of CAs that it trusts it has to know.
    """

    resident: int
    anchored: int


def middle(samples: Sequence[Sample]) -> Sample:
    """Return the medians."""
    return Sample(*(int(statistics.median(values)) for values in zip(*samples, strict=True)))


@dataclass
class Device:
    """One agent and its folders.

    Attributes:
        name: For the record of events.
        starts: How often its agent was started.
        was_tampered: Whether somebody changed its files since the last checkpoint.
    """

    name: str
    site: Site
    log: Path
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    was_tampered: bool = False
    samples: list[Sample] = field(default_factory=list)

    # --- the process ----------------------------------------------------------------------------

    def start(self) -> None:
        """Start the agent, unless it runs; it hears signals when this returns.

        What it tells goes to its log.
        """
        if self.process is not None and self.process.poll() is None:
            return
        told = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [dpki_command(), "agent", "run", "--dir", str(self.site.folder), "--json"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1
        until = time.monotonic() + STARTING
        while b'"started"' not in self.log.read_bytes()[told:]:
            if self.process.poll() is not None or time.monotonic() > until:
                raise DpkiError(f"the agent of {self.name} did not start; its log: {self.log}")
            time.sleep(0.05)

    def tell(self, number: signal.Signals) -> None:
        """Send the agent a signal, if it is there."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the agent; after a minute by force."""
        if self.process is None:
            return
        # One that was stopped hears nothing but this.
        self.tell(signal.SIGCONT)
        self.tell(number)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def died(self) -> bool:
        """Whether the agent ended by itself."""
        return self.process is not None and self.process.poll() is not None

    def refuse_writing(self, *, refused: bool) -> None:
        """Let no file of the agent's grow any more, as on a full disk; or let them again."""
        if self.process is None or self.process.poll() is not None:
            return
        size = 0 if refused else resource.RLIM_INFINITY
        with suppress(ProcessLookupError):
            resource.prlimit(
                self.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY)
            )

    def resident(self) -> int | None:
        """Return the agent's resident memory in bytes."""
        with suppress(OSError, IndexError, AttributeError):
            assert self.process is not None
            return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE
        return None

    def processor(self) -> float:
        """Return the seconds of processor time that the agent has used."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def sample(self, anchored: int) -> None:
        """Note how much memory the agent has now, where so many certificates are anchored."""
        found = self.resident()
        if found is not None:
            self.samples.append(Sample(found, anchored))

    # --- what it has ----------------------------------------------------------------------------

    def give_prekey(self, prekey: PrekeySecret) -> None:
        """Put a one-time key into its supply."""
        folder = self.site.folder / "keys" / PREKEY_DIRECTORY
        make_private_directory(folder)
        create_atomic(folder / f"{prekey.number}.key", prekey.dump())

    def krl(self) -> Krl:
        """Return the list of revoked certificates that sshd asks; never an empty one.

        Raises:
            DpkiError: It is none.
        """
        return parse_krl(self.site.files.krl.read_bytes())

    def report(self) -> dict[str, object]:
        """Return what `dpki agent status --json` says."""
        done = subprocess.run(
            [dpki_command(), "agent", "status", "--dir", str(self.site.folder), "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        document: dict[str, object] = json.loads(done.stdout)
        return document

    def differences(self, model: Model, cas: dict[str, Ca]) -> list[str]:
        """Say where what is installed differs from the model; nothing where it does not."""
        wanted = model.view()
        try:
            seen = self._view(model, cas)
        except (OSError, DpkiError, ValueError) as error:
            return [f"can't be read: {error}"]
        return wanted.differences(seen)

    def _view(self, model: Model, cas: dict[str, Ca]) -> View:
        files, krl = self.site.files, self.krl()
        index = load_index(files.login_index)
        if index is None:
            raise ValueError("there is no index")
        names = {ca.id: name for name, ca in cas.items()}
        trusted = files.user_authorities.read_text().split("\n")
        lines = {public_key_line(ca.blob): name for name, ca in cas.items()}
        by_sshd = {lines.get(" ".join(line.split()[:2]), line) for line in trusted if line}
        by_index = {names[a.id] for a in index.authorities}
        if by_sshd != by_index:
            raise ValueError(f"sshd trusts {by_sshd}, the index {by_index}")
        shown = _SHOWN.search(self.site.config.sshd.drop_in.read_text())
        host = model.host()
        name = "" if shown is None else shown[1]
        last = load_report(self.site.folder)
        if last is None:
            raise ValueError("there is no report")
        return View(
            authorities=frozenset(by_sshd),
            certificates=frozenset(str(c.hash) for c in index.certificates),
            revoked=tuple(
                (
                    ca.name,
                    frozenset(
                        serial
                        for serial in range(1, ca.next_serial + 1)
                        if krl.is_revoked(cas[ca.name].blob, serial)
                    ),
                )
                for ca in model.cas()
            ),
            host=host.hash if host is not None and _is_of(name, host.hash) else name,
            troubles=bool(last.report["problems"] or last.report.get("not_installed")),
        )


def _is_of(name: str, hash: str) -> bool:
    return bool(name) and hash.removeprefix("0x").startswith(name)


@dataclass
class Door:
    """A real sshd in front of a device, as it is configured now.

    Attributes:
        people: Private key files, by number.
    """

    stage: Stage
    people: list[Path]
    opened: int = 0

    def logins(
        self, device: Device, hosts: Ca, certificates: list[tuple[str, int]], *, certified: bool
    ) -> list[bool]:
        """Log in with each certificate in turn; return who got in.

        Args:
            hosts: The host CA.
            certificates: Lines of certificates, and whose key they are for.
            certified: Whether the host must show its certificate; else its plain key will do.

        Raises:
            DpkiError: Something else happened than a login or a refusal.
        """
        self.opened += 1
        etc = device.site.config.sshd.drop_in.parent
        plain = etc / "ssh_host_key"
        server = self.stage.start_sshd(
            f"{device.name}-{self.opened}",
            [f"HostKey {plain}"],
            include=device.site.config.sshd.drop_in,
        )
        known = self.stage.directory / "known_hosts"
        words = (etc / "ssh_host_key.pub").read_text().split()[:2]
        known.write_text(
            f"@cert-authority {HOST} {public_key_line(hosts.blob)}\n"
            if certified
            else f"{HOST} {' '.join(words)}\n"
        )
        entered = []
        try:
            for line, person in certificates:
                file = self.stage.directory / "presented-cert.pub"
                file.write_text(line + "\n")
                client = Client(self.people[person], file, known, None, HOST)
                outcome = self.stage.ssh(server, client)
                is_in = outcome.status == 0 and outcome.stdout == "logged-in\n"
                if not is_in and "Permission denied (publickey" not in outcome.stderr:
                    raise DpkiError(
                        f"neither in nor refused: {outcome.describe()}\n{server.log.read_text()}"
                    )
                entered.append(is_in)
        finally:
            self.stage.stop_sshd(server)
        return entered


def wait_until_equal(device: Device, model: Model, cas: dict[str, Ca], seconds: float) -> list[str]:
    """Wait until the device is as the model says; return what differs at the end."""
    until = time.monotonic() + seconds
    while True:
        found = device.differences(model, cas)
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.3)
