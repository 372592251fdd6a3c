"""Telling sshd to read its configuration again."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from dpki.agent.sshd import run_checked
from dpki.agent.systemd import Systemctl, Systemd
from dpki.config.sshd import CommandHook, PidHook, Sshd, SystemdHook
from dpki.errors import DpkiError, ServiceFailed
from dpki.files import load_bounded


def reload_sshd(sshd: Sshd, systemd: Systemd | None = None) -> None:
    """Run the reload hook.

    Args:
        systemd: The system's manager; `systemctl` by default.

    Raises:
        ServiceFailed: sshd was not told.
    """
    hook = sshd.reload
    if isinstance(hook, SystemdHook):
        (systemd or Systemctl()).reload(hook.unit)
    elif isinstance(hook, PidHook):
        _hang_up(hook.file, sshd.binary.name)
    else:
        _run(hook)


def _run(hook: CommandHook) -> None:
    if hook.command:
        run_checked([*hook.command], "the reload hook failed")


def _hang_up(file: Path, name: str) -> None:
    """Send HUP to the process in the file, if it is really the server.

    A server that ended without removing its file leaves the id to whoever comes next, and a HUP
    ends most programs.
    """
    try:
        pid = int(load_bounded(file, limit=32))
        owner = file.stat().st_uid
        descriptor = os.pidfd_open(pid)
    except (DpkiError, ValueError, OSError, OverflowError) as error:
        raise ServiceFailed(
            f"sshd was not told of its new configuration: {file} does not name a process: {error}",
            hint="start sshd, or correct sshd.reload in device.toml",
        ) from error
    try:
        if owner not in (0, os.geteuid()):
            raise ServiceFailed(f"sshd was not told: {file} belongs to another user (uid {owner})")
        # The descriptor holds the process: the name that is read now is its.
        found = Path(f"/proc/{pid}/comm").read_text().strip()
        if found != name[:15]:
            raise ServiceFailed(
                f"sshd was not told: process {pid} of {file} is {found!r}, not {name}",
                hint="start sshd, which writes the file anew",
            )
        signal.pidfd_send_signal(descriptor, signal.SIGHUP)
    except OSError as error:
        raise ServiceFailed(f"sshd was not told: process {pid}: {error.strerror}") from error
    finally:
        os.close(descriptor)
