"""Bringing back by hand what was there before: a host pair, or the drop-in's settings.

Never a KRL, a CA list, an account's file or an erased key: nothing of this admits anybody, and what
was revoked stays so. What is brought back is held until what it stands in for changes, so that the
agent neither undoes it at its next look nor is held up by it for ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from dpki.agent import disk
from dpki.agent.install import Installed, Installer
from dpki.agent.presenting import settings_digest
from dpki.agent.record import Held, Hold, digest, encode_hold, load_hold, load_record
from dpki.agent.sshd import InstalledFiles, mode_of, parse_drop_in, settings_for
from dpki.agent.systemd import Systemd
from dpki.certificates.krl import Krl, parse_krl
from dpki.certificates.ssh import SshCertificate
from dpki.config.device import DeviceConfig
from dpki.errors import CheckedFalse, DpkiError, UsageError
from dpki.files import PRIVATE, write_atomic
from dpki.locks import Turn, hold

SETTINGS = "drop-in"
"""What the settings are called; a host pair is called by its name."""

_PATIENCE = timedelta(minutes=1)


@dataclass(frozen=True)
class Candidate:
    """Something earlier that is still there.

    Attributes:
        name: What one asks for.
        describes: What it is, in words.
        obstacle: Why it can't be brought back; empty where it can.
        is_held: Whether it was brought back already.
    """

    name: str
    describes: str
    obstacle: str = ""
    is_held: bool = False

    def __str__(self) -> str:
        """Return it for people."""
        held = "; held" if self.is_held else ""
        why = f"; can't be brought back: {self.obstacle}" if self.obstacle else ""
        return f"{self.name}: {self.describes}{held}{why}"

    def to_json(self) -> dict[str, object]:
        """Return it as plain data."""
        return {
            "name": self.name,
            "describes": self.describes,
            "obstacle": self.obstacle,
            "held": self.is_held,
        }


def find_candidates(config: DeviceConfig, now: datetime) -> tuple[Candidate, ...]:
    """Return everything earlier that is still there; reads only.

    Args:
        now: The device's clock.
    """
    files = InstalledFiles(config.sshd.directory)
    held = load_hold(files.hold)
    return (*_pairs(files, held, now), *_settings(files, config, held))


def verify_candidate(candidates: Sequence[Candidate], name: str) -> Candidate:
    """Return the one of this name, if it may be brought back.

    Raises:
        UsageError: There is no such thing.
        CheckedFalse: It is there, and may not be brought back.
    """
    for candidate in candidates:
        if candidate.name == name:
            if candidate.obstacle:
                raise CheckedFalse(f"{name} can't be brought back: {candidate.obstacle}")
            return candidate
    raise UsageError(
        f"there is no {name[:40]!r} to bring back",
        hint="see what there is: dpki agent rollback-files",
    )


def bring_back(
    config: DeviceConfig, name: str, now: datetime, *, systemd: Systemd | None = None
) -> Installed:
    """Have sshd use something earlier, and hold it.

    Raises:
        UsageError: There is no such thing.
        CheckedFalse: It is there, and may not be brought back.
        ConfigError, DpkiError: As `Installer.present` says; then nothing is held.
    """
    verify_candidate(find_candidates(config, now), name)
    files = InstalledFiles(config.sshd.directory)
    before = load_hold(files.hold)
    if name == SETTINGS:
        previous = disk.read(files.previous) or b""
        against = settings_digest(settings_for(files, config))
        wanted = replace(before, settings=Held(digest(previous).hex(), (against,)))
    else:
        pairs = load_record(files.record).pairs
        in_use = tuple(pair.name for pair in pairs if pair.superseded is None)
        wanted = replace(before, host=Held(name, in_use))
    return _apply(config, before, wanted, systemd)


def release(config: DeviceConfig, *, systemd: Systemd | None = None) -> Installed:
    """Let go of everything that was brought back, and use the newest again.

    Raises:
        UsageError: Nothing is held.
        ConfigError, DpkiError: As `Installer.present` says; then everything is held as before.
    """
    before = load_hold(InstalledFiles(config.sshd.directory).hold)
    if before == Hold():
        raise UsageError("nothing was brought back, so there is nothing to let go")
    return _apply(config, before, Hold(), systemd)


def _apply(config: DeviceConfig, before: Hold, wanted: Hold, systemd: Systemd | None) -> Installed:
    files = InstalledFiles(config.sshd.directory)
    _save(files, wanted)
    try:
        return Installer(config, systemd).present()
    except BaseException:
        _save(files, before)
        raise


def _save(files: InstalledFiles, wanted: Hold) -> None:
    with hold(files.lock, Turn("dpki agent rollback-files"), _PATIENCE):
        if wanted == Hold():
            disk.remove(files.hold)
        else:
            write_atomic(files.hold, encode_hold(wanted), mode=PRIVATE)


def _pairs(files: InstalledFiles, held: Hold, now: datetime) -> Iterator[Candidate]:
    krl = _installed_krl(files)
    for pair in load_record(files.record).pairs:
        certificate = disk.read_pair(files, pair.name)
        if pair.superseded is None or certificate is None:
            continue
        until = f"{certificate.valid_before:%Y-%m-%d %H:%M:%S} UTC"
        yield Candidate(
            pair.name,
            f"host certificate {certificate.serial} for {', '.join(certificate.principals)},"
            f" until {until}; replaced {pair.superseded:%Y-%m-%d %H:%M:%S} UTC",
            _obstacle(certificate, krl, now),
            is_held=held.host is not None and held.host.what == pair.name,
        )


def _obstacle(certificate: SshCertificate, krl: Krl | None, now: datetime) -> str:
    if now >= certificate.valid_before:
        return "its certificate has expired"
    if krl is None:
        return "the KRL can't be read, so nobody knows whether it is revoked"
    if krl.is_revoked(certificate.authority_key, certificate.serial, certificate.subject_key):
        return "its certificate is revoked, or its CA suspended"
    return ""


def _settings(files: InstalledFiles, config: DeviceConfig, held: Hold) -> Iterator[Candidate]:
    previous = disk.read(files.previous)
    if previous is None:
        return
    settings, _ = parse_drop_in(previous)
    mode, own = mode_of(settings), settings_for(files, config)
    if settings == own:
        return
    differing = sorted({name for name, _ in {*settings} ^ {*own}})
    obstacle = ""
    if mode is not config.sshd.mode:
        # Else sshd would read files that the agent no longer keeps up to date.
        label = "none" if mode is None else mode.label
        obstacle = f"it is of another mode ({label}): set mode in device.toml instead"
    yield Candidate(
        SETTINGS,
        f"earlier settings of {config.sshd.drop_in}; they differ in {', '.join(differing)}",
        obstacle,
        is_held=held.settings is not None,
    )


def _installed_krl(files: InstalledFiles) -> Krl | None:
    try:
        return parse_krl(disk.read(files.krl) or b"")
    except DpkiError:
        return None
