"""Installing what the device's SSH client goes by: every file atomic and checked.

Killed anywhere, ssh finds the old state or the new one, and refuses at least what both do; the next
run goes on (claim T7).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dpki.agent import disk
from dpki.agent.client_files import (
    ClientFiles,
    WantedClient,
    choose_pairs,
    client_options,
    client_steps,
    render_client_config,
)
from dpki.agent.drift import Fingerprint, fingerprint
from dpki.agent.freshness import refreshed_hosts
from dpki.agent.host_index import HostIndex, encode_host_index, lookup_command
from dpki.agent.outward import OutwardPlan
from dpki.agent.presenting import pair_name
from dpki.agent.sshd import run_checked, verify_krl
from dpki.agent.steps import Remove, Step, same_refusals
from dpki.certificates.ssh import SshCertificate, ssh_line
from dpki.config.outbound import Outbound
from dpki.errors import ConfigError, DpkiError
from dpki.files import write_together, written_beside

_SSH = Path("/usr/bin/ssh")


@dataclass(frozen=True)
class ClientInstalled:
    """What was done for the SSH client.

    Attributes:
        changed: Names of the files that were replaced or removed, in the order of doing.
        serials: Of the certificates that ssh uses, the best first.
        keys: Their public key blobs.
        problems: What is not as it should be, a sentence each.
    """

    changed: tuple[str, ...] = ()
    serials: tuple[int, ...] = ()
    keys: tuple[bytes, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Before:
    """What was found to be in order, so that it need not be looked at again."""

    asked: object
    krl: bytes
    files: Fingerprint
    result: ClientInstalled

    def is_still(self, asked: object, krl: bytes, files: Fingerprint) -> bool:
        is_same = self.asked == asked and self.files == files
        return is_same and same_refusals(self.krl, krl) is self.krl


class ClientInstaller:
    """Makes one device's SSH client go by one plan after the other; rests while nothing changes."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._files = ClientFiles(outbound.directory)
        self._index: HostIndex | None = None
        self._before: _Before | None = None

    def install(self, plan: OutwardPlan, krl: bytes) -> ClientInstalled:
        """Make the client go by the plan.

        Args:
            krl: What RevokedHostKeys is to refuse.

        Raises:
            ConfigError: There is no such account, ssh would not do as its file says, or others
                could change the files.
            DpkiError: A file could not be written or checked; what was not replaced is as it was.
        """
        index = refreshed_hosts(plan.hosts, self._index)
        before, self._before = self._before, None
        # As certificates: a private key is spelled with random bytes each time.
        certificates = tuple(client.certificate for client in plan.clients)
        asked = (certificates, plan.usable, plan.known_hosts, index)
        if before is not None and before.is_still(asked, krl, self._touched()):
            self._before = before
            return replace(before.result, changed=())
        result = self._install(plan, krl, index)
        self._index = index
        self._before = _Before(asked, krl, self._touched(), result)
        return result

    def _install(self, plan: OutwardPlan, krl: bytes, index: HostIndex) -> ClientInstalled:
        files, owner = self._files, disk.number_of(self._outbound.account, "outbound.account")
        disk.prepare(files.directory)
        found = {path: disk.read(path) or b"" for path in files.installed()}
        there = self._installed_pairs(found)
        coming = {pair_name(pair): pair for pair in plan.clients}
        usable = [hash.hex()[:16] for hash in plan.usable]
        names = choose_pairs(list(coming), there, usable)
        certificates = there | {name: pair.certificate for name, pair in coming.items()}
        options = client_options(files, names)
        wanted = WantedClient(
            krl=same_refusals(found.get(files.krl), krl),
            known_hosts=plan.known_hosts,
            lookup=lookup_command(),
            index=encode_host_index(index),
            config=render_client_config(self._outbound.account, options),
            pairs={
                name: (
                    disk.spelled_as_installed(files.key(name), pair.key),
                    f"{ssh_line(pair.certificate)}\n".encode(),
                )
                for name, pair in coming.items()
            },
            names=names,
            owner=owner,
        )
        changed = self._take(client_steps(files, found, wanted), options)
        return ClientInstalled(
            tuple(dict.fromkeys(changed)),
            tuple(certificates[name].serial for name in names),
            tuple(certificates[name].subject_key for name in names),
        )

    def _installed_pairs(self, found: Iterable[Path]) -> dict[str, SshCertificate]:
        files, pairs = self._files, {}
        for path in found:
            name = path.name.removeprefix("client-")
            if path == files.key(name):
                pair = disk.read_whole_pair(path, files.certificate(name), name)
                if pair is not None:
                    pairs[name] = pair
        return pairs

    def _take(self, steps: Sequence[Step], options: Sequence[tuple[str, str]]) -> list[str]:
        changed: list[str] = []
        due: dict[Path, bytes] = {}
        for step in steps:
            if isinstance(step, Remove):
                if disk.remove(step.path):
                    changed.append(step.path.name)
                continue
            if not disk.is_installed(step.path, step.content, step.mode, step.owner):
                if step.path == self._files.krl:
                    with written_beside(step.path, step.content) as candidate:
                        verify_krl(candidate)
                if step.path == self._files.config:
                    verify_client_options(step.path, options)
                due[step.path] = step.content
            if due and not step.joins_next:
                write_together(due, mode=step.mode, owner=step.owner)
                changed += [path.name for path in due]
                due = {}
        return changed

    def _touched(self) -> Fingerprint:
        return fingerprint([*self._files.installed(), self._files.directory])


def verify_client_options(beside: Path, options: Sequence[tuple[str, str]]) -> None:
    """Have ssh say what it makes of the options.

    Args:
        beside: Beside this file they lie while they are checked.

    Raises:
        ConfigError: Something else than was written.
        ServiceFailed: It refuses them, or is not there.
    """
    text = "".join(f"{name} {value}\n" for name, value in options).encode()
    with written_beside(beside, text) as candidate:
        command = [str(_SSH), "-G", "-F", str(candidate), "host.invalid"]
        said = run_checked(command, "ssh refuses its configuration")
    lines = set(said.splitlines())
    for name, value in options:
        # Its own words for yes and no are others.
        if value not in ("yes", "no") and f"{name.lower()} {value}" not in lines:
            raise ConfigError(
                f"ssh does not take {name} {value!r} as it is written",
                hint="use an outbound.directory without spaces, quotes and % signs",
            )


def install_client(
    installer: ClientInstaller | None, plan: OutwardPlan | None, krl: bytes
) -> ClientInstalled:
    """Install for the SSH client; what fails is a problem, and holds nothing else up."""
    if installer is None or plan is None:
        return ClientInstalled()
    try:
        return installer.install(plan, krl)
    except DpkiError as error:
        hint = f"; {error.hint}" if error.hint else ""
        return ClientInstalled(problems=(f"outbound: {error.message}{hint}",))
