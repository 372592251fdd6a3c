"""Installing a plan into sshd: removals first, additions last, every file atomic and checked.

Killed anywhere, the device is left with the old state or the new one, and the next run goes on
(claim T7). The host key pair gets file names of its own, so that key and certificate are never
mixed up; the drop-in that names them is replaced in one step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files as package_files
from pathlib import Path

from dpki.agent import disk
from dpki.agent.accounts import account_files
from dpki.agent.decide import Plan
from dpki.agent.drift import Fingerprint, fingerprint
from dpki.agent.enforcement import Enforcement
from dpki.agent.freshness import refreshed
from dpki.agent.index import LoginIndex, encode_index, load_index
from dpki.agent.presenting import Presented, Presenter, pair_name
from dpki.agent.record import (
    Hold,
    Record,
    digest,
    encode_hold,
    encode_record,
    load_hold,
    load_record,
)
from dpki.agent.reload import reload_sshd
from dpki.agent.sessions import end_sessions, next_end, prepare_sessions
from dpki.agent.sshd import (
    InstalledFiles,
    mode_of,
    parse_drop_in,
    render_drop_in,
    verify_krl,
    verify_spelling,
)
from dpki.agent.steps import Remove, Step, Wanted, Write, additions, removals, same_refusals
from dpki.agent.systemd import Systemd
from dpki.certificates.ssh import ssh_line
from dpki.config.device import DeviceConfig
from dpki.config.sshd import Mode
from dpki.files import (
    PRIVATE,
    PUBLIC,
    remove_leftovers,
    write_atomic,
    write_together,
    written_beside,
)
from dpki.locks import Turn, hold

PATIENCE = timedelta(minutes=1)
"""How long somebody else may be at the files."""

DROP_IN = "drop-in"


@dataclass(frozen=True)
class Installed:
    """What installing changed, and what it left.

    Attributes:
        changed: Names of the files that were replaced or removed, in the order of doing.
        drop_in: Digest of the drop-in that sshd was told to read.
        reloaded: Whether it was told so by this run.
        mode: Who decides a login, as the installed drop-in says.
        restored: Names of files that somebody else had changed, made or removed.
        drift: What of ours sshd does not enforce because of somebody else's setting, a sentence
            each.
        held: What somebody had brought back and still stands in for something, a sentence each.
        host_keys: Public key blobs of the host pairs that sshd presents.
        settled: Whether nothing is left to do until something changes, or `due`.
        due: The chain's time when the overlap of a host pair ends; None for never.
        ended: Sessions that were ended, a sentence each.
    """

    changed: tuple[str, ...]
    drop_in: str
    reloaded: bool
    mode: Mode
    restored: tuple[str, ...]
    drift: tuple[str, ...]
    held: tuple[str, ...]
    host_keys: tuple[bytes, ...]
    settled: bool
    due: datetime | None
    ended: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Before:
    """What was found to be in order, so that it need not be looked at again."""

    plan: Plan
    index: LoginIndex
    files: Fingerprint
    result: Installed

    def is_still(self, plan: Plan, files: Fingerprint) -> bool:
        """Whether nothing but time has changed, and little of that."""
        return (
            self.result.settled
            and (self.result.due is None or plan.time < self.result.due)
            and self.files == files
            and [p.certificate for p in self.plan.hosts] == [p.certificate for p in plan.hosts]
            and self.plan.presentable == plan.presentable
            and self.plan.user_authorities == plan.user_authorities
            and same_refusals(self.plan.krl, plan.krl) is self.plan.krl
            and refreshed(plan.index, self.index) is self.index
        )


@dataclass
class Installer:
    """Makes one device look like one plan after the other; rests while nothing changes.

    Attributes:
        systemd: The system's manager; `systemctl` by default.
        clock: Seconds that only grow.
    """

    config: DeviceConfig
    systemd: Systemd | None = None
    clock: Callable[[], float] = time.monotonic
    enforcement: Enforcement = field(init=False, repr=False)
    _before: _Before | None = field(default=None, init=False, repr=False)
    _index: LoginIndex | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Begin with the accounts that the configuration names."""
        self.enforcement = Enforcement(
            self.config.sshd, frozenset(self.config.accounts), self.clock
        )

    @property
    def files(self) -> InstalledFiles:
        """Where everything stands."""
        return InstalledFiles(self.config.sshd.directory)

    def install(self, plan: Plan) -> Installed:
        """Make the device look like the plan.

        Raises:
            ConfigError: sshd is set up in a way that would not enforce what is to be installed, or
                files could be changed by others; the earlier drop-in is back in place.
            DpkiError: A file could not be written or checked; what was not replaced is as it was.
        """
        self._index = plan.index
        try:
            result = self._install(plan)
        finally:
            # Whatever failed above: what is refused already must not go on inside.
            ended = self.end_sessions(datetime.now(UTC))
        return replace(result, ended=ended)

    def next_end(self, now: datetime) -> datetime | None:
        """Return when there may be sessions to end though nothing new was seen; None for never."""
        return None if self._index is None else next_end(self._index, now)

    def end_sessions(self, now: datetime) -> tuple[str, ...]:
        """End the sessions of certificates that count no more, by what was to be installed last.

        Returns:
            What was ended, a sentence each.
        """
        if self._index is None:
            return ()
        ending = self.config.access.end_sessions
        return end_sessions(self.files.sessions, self._index, now, ending)

    def _install(self, plan: Plan) -> Installed:
        before, self._before = self._before, None
        if before is None or self.enforcement.is_due or not before.is_still(plan, self._touched()):
            # Of several domains, the configuration's first is not the only one that names accounts.
            named = {access.account for access in plan.index.access}
            self.enforcement.accounts = frozenset(self.config.accounts) | named
            with self._alone():
                index, result = _Run(self).install(plan)
                self._before = _Before(plan, index, self._touched(), result)
            return result
        self._before = before
        return replace(before.result, changed=(), reloaded=False, restored=())

    def present(self) -> Installed:
        """Write the drop-in anew from what is installed, as after a hold was set or let go.

        Raises:
            ConfigError, DpkiError: As `install` says.
        """
        self._before = None
        with self._alone():
            return _Run(self).present()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Have the folder in order, and to ourselves: somebody may bring something back by hand."""
        verify_spelling(self.config)
        disk.prepare(self.files.directory)
        with hold(self.files.lock, Turn("dpki agent"), PATIENCE):
            yield

    def _touched(self) -> Fingerprint:
        """Return what changes when somebody touches a file of ours, or of sshd's configuration."""
        files = self.files
        ours = [*disk.entries(files.directory), *disk.entries(files.accounts)]
        ours.remove(files.lock)
        folders = [files.directory, files.accounts, self.config.sshd.drop_in]
        return fingerprint([*ours, *folders]) + self.enforcement.look()


def install(plan: Plan, config: DeviceConfig, *, systemd: Systemd | None = None) -> Installed:
    """Make the device look like the plan, once; see `Installer.install`."""
    return Installer(config, systemd).install(plan)


class _Run:
    """Going through everything, once."""

    def __init__(self, installer: Installer) -> None:
        """Find out what was done before."""
        self.installer = installer
        self.config, self.files = installer.config, installer.files
        drop_in = self.config.sshd.drop_in
        remove_leftovers(drop_in.parent, drop_in.name)
        # As it was: what has changed since is told from it.
        self.before = self.record = load_record(self.files.record)
        self.drop_in = disk.read(drop_in)
        self.changed: list[str] = []
        self.restored: list[str] = []

    def install(self, plan: Plan) -> tuple[LoginIndex, Installed]:
        """Do everything; return also the index that is installed."""
        files = self.files
        found = disk.contents(files)
        settings, _ = parse_drop_in(self.drop_in or b"")
        is_told = self.drop_in is not None and self.record.told == digest(self.drop_in).hex()
        index = refreshed(plan.index, load_index(files.login_index))
        # sshd reads the accounts' files as long as it was not told of a mode that needs none.
        by_files = Mode.FILES in (self.config.sshd.mode, mode_of(settings)) or (
            files.accounts.is_dir() and not is_told
        )
        line = self.config.access.break_glass
        wanted = Wanted(
            krl=same_refusals(found.get(files.krl), plan.krl),
            user_authorities=plan.user_authorities,
            login_command=package_files("dpki.agent").joinpath("login.py").read_bytes(),
            login_index=encode_index(index),
            accounts=account_files(index) if by_files else {},
            break_glass=None if line is None else f"{line}\n".encode(),
        )
        presented = Presenter(self.config, files, self.record).present(plan)
        release = is_told and settings == presented.settings
        steps = [
            *removals(files, found, wanted),
            *additions(files, wanted, release=release),
            *self._pairs(plan),
        ]
        if settings not in ([], presented.settings, presented.own_settings):
            # Earlier ones that were brought back stand in `previous` themselves.
            steps += self._previous(settings)
        self._expect(steps, presented.text)
        self._take(steps)
        result = self._show(presented)
        is_released = release or disk.read(files.krl) == wanted.krl
        return index, replace(result, settled=result.settled and is_released)

    def present(self) -> Installed:
        """Write the drop-in alone."""
        presented = Presenter(self.config, self.files, self.record).present(None)
        self._expect([], presented.text)
        return self._show(presented)

    def _previous(self, settings: list[tuple[str, str]]) -> list[Step]:
        if self.drop_in is None or not self.before.is_ours(DROP_IN, self.drop_in):
            return []
        return [Write(self.files.previous, render_drop_in(settings))]

    def _pairs(self, plan: Plan) -> list[Step]:
        steps: list[Step] = []
        for pair in plan.hosts:
            name = pair_name(pair)
            key, certificate = self.files.host_key(name), self.files.host_certificate(name)
            steps.append(Write(key, disk.spelled_as_installed(key, pair.key), PRIVATE))
            steps.append(Write(certificate, f"{ssh_line(pair.certificate)}\n".encode()))
        return steps

    def _expect(self, steps: Sequence[Step], drop_in: bytes) -> None:
        """Record what is about to be written, so that nobody else is taken for its writer."""
        coming = [
            (self._name(step.path), step.content)
            for step in steps
            if isinstance(step, Write) and disk.read(step.path) != step.content
        ]
        if self.drop_in != drop_in:
            coming.append((DROP_IN, drop_in))
        self._save(self.record.expecting(coming))

    def _take(self, steps: Sequence[Step]) -> None:
        due: dict[Path, bytes] = {}
        for step in steps:
            name = self._name(step.path)
            if isinstance(step, Remove):
                if disk.remove(step.path):
                    self.changed.append(name)
                    if self.before.files and name not in self.before.files:
                        self.restored.append(name)
                continue
            if not disk.is_installed(step.path, step.content, step.mode):
                self._note_foreign(name, step.path, step.mode)
                if step.path == self.files.krl:
                    with written_beside(step.path, step.content) as candidate:
                        verify_krl(candidate)
                if step.path.parent == self.files.accounts:
                    disk.prepare(self.files.accounts)
                due[step.path] = step.content
            if due and not step.joins_next:
                write_together(due, mode=step.mode)
                self.changed += map(self._name, due)
                due = {}

    def _note_foreign(self, name: str, path: Path, mode: int) -> None:
        """Remember it if somebody else changed the file since we wrote it."""
        found = disk.read(path)
        is_ours = self.before.is_ours(name, found)
        if not is_ours or (found is not None and not disk.is_installed(path, found, mode)):
            self.restored.append(name)

    def _show(self, presented: Presented) -> Installed:
        """Have sshd read the drop-in, and remove what it no longer names."""
        sshd, text = self.config.sshd, presented.text
        if sshd.mode is Mode.STRICT:
            # Only now: a mistaken name must not hold up what was taken away.
            prepare_sessions(self.files.sessions, sshd.login_user)
        if not disk.is_installed(sshd.drop_in, text, PUBLIC):
            self._note_foreign(DROP_IN, sshd.drop_in, PUBLIC)
            self.installer.enforcement.replace_drop_in(presented.options, self.files.krl)
            self.changed.append(sshd.drop_in.name)
        self._keep_hold(presented.hold)
        drift = self.installer.enforcement.drift(presented.options)
        told = digest(text).hex()
        is_new = told != self.record.told
        if is_new:
            reload_sshd(sshd, self.installer.systemd)
        else:
            # Only now: until it has obeyed the reload, sshd reads the old pair at each connection.
            self._remove_superseded(presented)
        written = {self._name(path): c for path, c in disk.contents(self.files).items()}
        digests = {name: frozenset([digest(c)]) for name, c in {**written, DROP_IN: text}.items()}
        self._save(Record(told, presented.pairs, digests))
        return Installed(
            changed=tuple(dict.fromkeys(self.changed)),
            drop_in=told,
            reloaded=is_new,
            mode=mode_of(presented.settings) or sshd.mode,
            restored=tuple(dict.fromkeys(self.restored)),
            drift=drift,
            held=presented.held(),
            host_keys=presented.keys,
            settled=not is_new,
            due=presented.due,
        )

    def _keep_hold(self, hold: Hold) -> None:
        """Forget what no longer stands in for anything."""
        path = self.files.hold
        if hold == Hold():
            disk.remove(path)
        elif hold != load_hold(path):
            write_atomic(path, encode_hold(hold), mode=PRIVATE)

    def _remove_superseded(self, presented: Presented) -> None:
        """Erase the host pairs that nothing names any longer."""
        keep = {
            path
            for pair in presented.pairs
            for path in (self.files.host_key(pair.name), self.files.host_certificate(pair.name))
        }
        for path in sorted(self.files.directory.glob("host-*")):
            if path not in keep and disk.remove(path):
                self.changed.append(path.name)
        with suppress(OSError):
            self.files.accounts.rmdir()  # empty, unless this is files mode

    def _save(self, record: Record) -> None:
        self.record = record
        if disk.read(self.files.record) != (data := encode_record(record)):
            write_atomic(self.files.record, data, mode=PRIVATE)

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.files.directory))
