"""The device's side: the agent's folder, what it installed for sshd, and what is in force."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files as package_files
from pathlib import Path

from dpki.agent.follow import KEYS
from dpki.agent.host import Host
from dpki.agent.index import IndexedAuthority, load_index
from dpki.agent.sshd import (
    InstalledFiles,
    host_options,
    parse_drop_in,
    render_drop_in,
    settings_for,
    verify_effective,
    verify_krl,
)
from dpki.agent.state import FILE_NAME as STATE
from dpki.agent.systemd import Systemctl, Systemd
from dpki.certificates.krl import Krl, parse_krl
from dpki.chain.snapshot import Snapshot
from dpki.config.device import FILE_NAME as CONFIG
from dpki.config.device import DeviceConfig, load_device_config
from dpki.config.sshd import Mode, Sshd
from dpki.devices.keys import load_device_keys
from dpki.devices.prekeys import FEW, count_prekeys
from dpki.doctor.finding import AS_ROOT, Finding, Level, attempt, from_error
from dpki.doctor.network import look_at_chain, look_at_gateway, unreachable
from dpki.doctor.outbound import look_at_outbound
from dpki.doctor.paths import Kind, judge, judge_folders, look_above, look_at
from dpki.doctor.programs import look_at_openssh, look_at_python, look_at_system_python
from dpki.doctor.service import look_at_service
from dpki.errors import DpkiError, ServiceFailed
from dpki.model import Address, DeviceState
from dpki.verification.revocations import revocation_list


def examine_device(
    directory: Path, now: datetime, *, program: Path | None = None, systemd: Systemd | None = None
) -> list[Finding]:
    """Look at everything on a device; nothing is changed.

    Args:
        program: The `dpki` command that a service would run; the one beside this Python by default.
        systemd: The system's manager; `systemctl` by default.
    """
    findings = [look_at_python(), look_at_system_python()]
    try:
        config = load_device_config(directory)
    except DpkiError as error:
        return [*findings, from_error("configuration", error, where=str(directory / CONFIG))]
    ward = _Ward(directory, config, now)
    address, keys = ward.keys()
    devices = [address] if address else []
    host = Host(
        directory,
        config,
        systemd or Systemctl(),
        program or Path(sys.executable).with_name("dpki"),
    )
    chain = look_at_chain(config.rpc, config.domain, now, devices, quorum=config.quorum)
    return [
        *findings,
        look_at_openssh("sshd", str(config.sshd.binary)),
        look_at_openssh("ssh", "/usr/bin/ssh"),
        Finding("configuration", Level.OK, "it is well-formed", str(directory / CONFIG)),
        *ward.own_files(),
        keys,
        *ward.installed_files(),
        judge_supply(count_prekeys(directory / KEYS)),
        ward.login_command(),
        *ward.login_index(),
        judge_mode(config.sshd),
        ward.krl(chain.snapshot),
        ward.drop_in(),
        *ward.effective(),
        *ward.people(),
        *look_at_service(host),
        *ward.outbound(chain.snapshot),
        *chain.findings,
        judge_enrolment(address, chain.snapshot, directory),
        *(look_at_gateway(url) for url in config.gateways),
        *ward.folders_of_bundles(),
    ]


@dataclass(frozen=True)
class _Ward:
    """One device, being examined."""

    directory: Path
    config: DeviceConfig
    now: datetime

    @property
    def files(self) -> InstalledFiles:
        return InstalledFiles(self.config.sshd.directory)

    @property
    def run_agent(self) -> str:
        return f"dpki agent once --dir {shlex.quote(str(self.directory))}"

    @property
    def owners(self) -> tuple[int, ...]:
        return (0, os.geteuid())

    def own_files(self) -> list[Finding]:
        """The agent's folder: its configuration decides who gets in, its keys are secret."""
        secret = [("configuration's file", self.directory / CONFIG, 0o644)]
        if (self.directory / STATE).exists():
            secret.append(("agent's database", self.directory / STATE, 0o600))
        found = [
            judge(part, look_at(path), mode=mode, owners=self.owners, missing="dpki device init")
            for part, path, mode in secret
        ]
        keys = judge(
            "keys' folder",
            look_at(self.directory / KEYS),
            mode=0o700,
            owners=self.owners,
            kind=Kind.DIRECTORY,
            missing="restore it, or make a new device: dpki device init",
        )
        return [
            judge_folders("device's folder", look_above(self.directory), self.owners),
            *found,
            keys,
        ]

    def keys(self) -> tuple[Address | None, Finding]:
        """The device's keys, and its address."""
        part, where = "device's keys", self.directory / KEYS
        try:
            address = load_device_keys(where).address
        except DpkiError as error:
            return None, from_error(part, error, where=str(where))
        return address, Finding(part, Level.OK, f"device {address}", str(where))

    def installed_files(self) -> list[Finding]:
        """What sshd reads, and every folder above."""
        files, missing = self.files, self.run_agent
        public = {
            "login command": files.login_command,
            "login index": files.login_index,
            "KRL": files.krl,
            "CA list": files.user_authorities,
        }
        if self.config.access.break_glass is not None:
            public["break-glass key"] = files.break_glass
        found = [
            judge(f"{part}'s file", look_at(path), mode=0o644, owners=self.owners, missing=missing)
            for part, path in public.items()
        ]
        for path in sorted(files.directory.glob("host-*")) if _is_open(files.directory) else ():
            mode = 0o644 if path.name.endswith("-cert.pub") else 0o600
            part = "host certificate's file" if mode == 0o644 else "host key's file"
            found.append(judge(part, look_at(path), mode=mode, owners=self.owners, missing=missing))
        above = judge_folders("sshd's folder", look_above(files.directory), self.owners)
        return [above, *found]

    def login_command(self) -> Finding:
        """Whether the script is the one of this version."""
        shipped = package_files("dpki.agent").joinpath("login.py").read_bytes()

        def look() -> str:
            if _read(self.files.login_command) != shipped:
                raise DpkiError("it is not the one of this dpki: changed, or of another version")
            return "it is the one of this dpki"

        where = str(self.files.login_command)
        return attempt("login command", look, where=where, mend=self.run_agent)

    def login_index(self) -> list[Finding]:
        """Whether logins are decided from something new enough, by each CA's own policy."""
        path = self.files.login_index
        index = load_index(path)
        if index is None:
            said = "it can't be read, or is of another version, so nobody can log in"
            return [Finding("login index", Level.PROBLEM, said, str(path), self.run_agent)]
        if not index.authorities:
            said = "no user CA is trusted, so nobody can log in"
            return [Finding("login index", Level.WARNING, said, str(path))]
        return [
            judge_index(authority, self.now, where=str(path), mend=self.run_agent)
            for authority in index.authorities
        ]

    def krl(self, snapshot: Snapshot | None) -> Finding:
        """Whether sshd can read the KRL, and whether it holds all that the chain revoked."""
        path = self.files.krl
        try:
            content = _read(path)
            verify_krl(path)
            installed = parse_krl(content)
        except DpkiError as error:
            return from_error("KRL", error, where=str(path), mend=self.run_agent)
        if snapshot is None:
            return unreachable("KRL")
        return judge_krl(installed, snapshot, where=str(path), mend=self.run_agent)

    def drop_in(self) -> Finding:
        """Whether the drop-in is what the agent writes."""
        path = self.config.sshd.drop_in

        def look() -> str:
            if _read(path) != render_drop_in(self._options()):
                raise DpkiError("it is not what the agent writes: changed, or of another setup")
            return "it is the agent's"

        found = attempt("drop-in", look, where=str(path), mend=self.run_agent)
        if found.level is not Level.OK:
            return found
        return judge(
            "drop-in", look_at(path), mode=0o644, owners=self.owners, missing=self.run_agent
        )

    def effective(self) -> list[Finding]:
        """Whether sshd enforces it, for each account that somebody may log in to (claim T8)."""
        sshd, options = self.config.sshd, self._options()

        def check(account: str) -> str:
            verify_effective(sshd.binary, sshd.config, options, [account])
            return f"{sshd.mode.label} mode is in force"

        findings = []
        for account in sorted(self.config.account_names):
            part = f"sshd for account {account}"
            try:
                said = check(account)
                findings.append(Finding(part, Level.OK, said, str(sshd.config)))
            except ServiceFailed as error:
                # Whoever may not read the host keys does not get an answer.
                level = Level.PROBLEM if os.geteuid() == 0 else Level.COULD_NOT_CHECK
                mend = f"{sshd.binary} -t -f {sshd.config}" if os.geteuid() == 0 else AS_ROOT
                findings.append(Finding(part, level, error.message, str(sshd.config), mend))
            except DpkiError as error:
                findings.append(from_error(part, error, where=str(sshd.config)))
        return findings

    def people(self) -> list[Finding]:
        """The accounts that the configuration names, and the way in when all else fails."""
        findings = [_account("login command's user", self.config.sshd.login_user, Level.PROBLEM)]
        findings += [
            _account("account", name, Level.WARNING) for name in sorted(self.config.account_names)
        ]
        if not self.config.account_names:
            said = "no account lets anybody in by certificate"
            mend = f'add [accounts] to {self.directory / CONFIG}, such as ops = ["0x…/ops"]'
            findings.append(Finding("accounts", Level.WARNING, said, mend=mend))
        if self.config.access.break_glass is None:
            said = "there is no break-glass key; the console is the only way in when all fails"
            findings.append(Finding("break-glass key", Level.WARNING, said))
        return findings

    def outbound(self, snapshot: Snapshot | None) -> list[Finding]:
        """What the device's own SSH client goes by, where it has one."""
        outbound = self.config.outbound
        if outbound is None:
            return []
        return look_at_outbound(outbound, snapshot, self.now, mend=self.run_agent)

    def folders_of_bundles(self) -> list[Finding]:
        """Folders that bundles may come from."""
        return [
            Finding("bundles' folder", Level.OK, "it is there", str(path))
            if path.is_dir()
            else Finding("bundles' folder", Level.WARNING, "it is not there", str(path), "mount it")
            for path in self.config.directories
        ]

    def _options(self) -> list[tuple[str, str]]:
        try:
            _, hosts = parse_drop_in(_read(self.config.sshd.drop_in))
        except DpkiError:
            hosts = []
        return [*settings_for(self.files, self.config), *host_options(self.files, hosts)]


def judge_index(authority: IndexedAuthority, now: datetime, *, where: str, mend: str) -> Finding:
    """Return whether holders of the CA's certificates can still log in by what is installed."""
    part, made, until = "login index", authority.chain_time, authority.fresh_until
    said = f"CA {authority.id}: of the chain at {made:%Y-%m-%d %H:%M:%S} UTC"
    if until is None:
        said += ", and open for ever without the chain (outage = open)"
        return Finding(part, Level.WARNING, said, where)
    if now > until:
        return Finding(part, Level.PROBLEM, f"{said}: too old, nobody gets in", where, mend)
    if now - made > (until - made) / 2:
        left = f"{said}: more than half of what is allowed is gone"
        return Finding(part, Level.WARNING, left, where, mend)
    return Finding(part, Level.OK, said, where)


def judge_mode(sshd: Sshd) -> Finding:
    """Return who decides a login: sshd alone is less than what strict mode checks."""
    if sshd.mode is Mode.STRICT:
        return Finding("mode", Level.OK, "strict: each login is decided by what is anchored")
    said = f"{sshd.mode.label}: sshd lets in what a CA signed, anchored or not"
    if sshd.fence:
        said = f"{sshd.mode.label}, fenced: whatever certificate has an anchored serial is let in"
    mend = 'mode = "strict" in [sshd] of device.toml, if a command can run here'
    return Finding("mode", Level.WARNING, said, mend=mend)


def judge_krl(installed: Krl, snapshot: Snapshot, *, where: str, mend: str) -> Finding:
    """Return whether everything that the chain revoked stands in the installed KRL.

    It may hold more: an agent never forgets a revocation that it saw.
    """
    missing = missing_revocations(installed, parse_krl(revocation_list(snapshot)))
    if missing:
        said = f"it lacks what the chain revoked by block {snapshot.block.number}: {missing}"
        return Finding("KRL", Level.PROBLEM, said, where, mend)
    return Finding("KRL", Level.OK, f"it holds all that block {snapshot.block.number} does", where)


def missing_revocations(installed: Krl, wanted: Krl) -> str:
    """Return what stands in one list and not in the other, counted; empty for nothing."""
    keys = wanted.keys - installed.keys
    have = dict(installed.revoked)
    serials = 0
    for blob, runs in wanted.revoked:
        if blob in installed.keys:
            continue
        for first, last in runs:
            held = sum(
                max(0, min(last, end) - max(first, begin) + 1) for begin, end in have.get(blob, ())
            )
            serials += last - first + 1 - held
    counts = [f"{len(keys)} CA keys"] * bool(keys) + [f"{serials} serials"] * bool(serials)
    return " and ".join(counts)


def judge_enrolment(address: Address | None, snapshot: Snapshot | None, directory: Path) -> Finding:
    """Return whether the chain knows this device."""
    part = "enrolment"
    if address is None:
        return Finding(part, Level.COULD_NOT_CHECK, "the device's keys are not to be had")
    if snapshot is None:
        return unreachable(part)
    state = snapshot.devices[address].state
    if state is DeviceState.ACTIVE:
        return Finding(part, Level.OK, "the chain knows this device")
    if state is DeviceState.RETIRED:
        said = "this device was retired, for ever: it lets nobody in"
        return Finding(part, Level.PROBLEM, said, mend="make a new one: dpki device init")
    request = shlex.quote(str(directory / "enroll.request"))
    mend = f"the admin: dpki device enroll {request} --name NAME"
    return Finding(part, Level.PROBLEM, "the chain does not know this device", mend=mend)


def _account(part: str, name: str, level: Level) -> Finding:
    try:
        pwd.getpwnam(name)
    except KeyError:
        mend = f"useradd --create-home {shlex.quote(name)}"
        return Finding(part, level, f"there is no user {name} here", "/etc/passwd", mend)
    return Finding(part, Level.OK, f"user {name} is here", "/etc/passwd")


def _is_open(directory: Path) -> bool:
    return directory.is_dir() and os.access(directory, os.R_OK)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DpkiError(f"it can't be read: {error.strerror}") from error


def judge_supply(prekeys: int | None) -> Finding:
    """Judge how many one-time keys are left; None for a device that never had any."""
    part = "one-time keys"
    if prekeys is None:
        return Finding(part, Level.OK, "this device never had any: its lasting keys are used")
    if prekeys < FEW:
        return Finding(
            part, Level.WARNING, f"only {prekeys} are left", mend="make more: dpki device topup"
        )
    return Finding(part, Level.OK, f"{prekeys} are left")
