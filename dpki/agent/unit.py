"""The agent's systemd unit: what it may do, and nothing else. Pure.

systemd.exec(5), systemd.resource-control(5). The agent runs as root, because only root may change
what sshd trusts; so it gets a file system that is read-only but for what it writes and /run, no
devices, no namespaces, no kernel, and four capabilities: to end the sessions of certificates that
end (CAP_KILL), and to keep the folder in which the login command's unprivileged user records them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dpki.agent.sessions import BOOT_VARIABLE
from dpki.config.device import DeviceConfig
from dpki.config.news import BROKER
from dpki.errors import ConfigError

NAME = "dpki-agent.service"

WATCHDOG_SECONDS = 300
"""Without a sign of life for so long, systemd starts the agent again."""

_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))


def writable_paths(directory: Path, config: DeviceConfig) -> tuple[Path, ...]:
    """Return the folders that the agent writes in; everything else is read-only to it."""
    folders = [directory, config.sshd.directory, config.sshd.drop_in.parent]
    if config.outbound is not None:
        folders.append(config.outbound.directory)
    if config.metrics.textfile is not None:
        folders.append(config.metrics.textfile.parent)
    for each in config.each().values():
        said = each.news.acknowledge
        if said is not None and said.to != BROKER:
            folders.append(Path(said.to))
    return tuple(dict.fromkeys(folders))


def render_unit(program: Path, directory: Path, config: DeviceConfig) -> bytes:
    """Return the unit's file.

    Args:
        program: The `dpki` command.
        directory: The device's folder.

    Raises:
        ConfigError: A path is one that systemd would read as several words.
    """
    folders = writable_paths(directory, config)
    for path in (program, *folders):
        if any(c.isspace() or not c.isprintable() or c in "%\"'\\$;" for c in str(path)):
            raise ConfigError(
                f"systemd can't be given the path {str(path)!r}",
                hint="use an absolute path without spaces, quotes, %, $ and semicolons",
            )
    lines = [
        "# Written by dpki agent install; change it with: systemctl edit dpki-agent",
        "[Unit]",
        "Description=dpki agent: what the chain says, in sshd",
        "Documentation=man:dpki(1)",
        "Wants=network-online.target",
        "After=network-online.target",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=notify",
        f"ExecStart={program} agent run --dir {directory}",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "NotifyAccess=main",
        f"WatchdogSec={WATCHDOG_SECONDS}",
        # The sandbox has a /proc of its own. In a container, whose boot has another name than the
        # kernel's, that shows the kernel's: sessions are found by the one that sshd sees.
        f"Environment={BOOT_VARIABLE}=%b",
        "Restart=always",
        "RestartSec=10",
        "UMask=0077",
        # sshd -t wants its folder; sshd's own unit may have it, too.
        "RuntimeDirectory=sshd",
        "RuntimeDirectoryMode=0755",
        "RuntimeDirectoryPreserve=yes",
        *_sandbox(folders, [program, *folders]),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return ("\n".join(lines) + "\n").encode()


def _sandbox(folders: Sequence[Path], needed: Sequence[Path]) -> list[str]:
    is_at_home = any(path.is_relative_to(home) for path in needed for home in _HOMES)
    return [
        "ProtectSystem=strict",
        # sshd -t wants /run/sshd, which ends with sshd's own unit and is made anew by the agent.
        # Not every systemd leaves /run writable; who may ask it for anything gains nothing by that.
        "ReadWritePaths=/run",
        *(f"ReadWritePaths={path}" for path in folders),
        f"ProtectHome={'read-only' if is_at_home else 'yes'}",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "DevicePolicy=closed",
        "PrivateMounts=yes",
        "ProtectClock=yes",
        "ProtectControlGroups=yes",
        "ProtectHostname=yes",
        "ProtectKernelLogs=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelTunables=yes",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=CAP_KILL CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER",
        "AmbientCapabilities=",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "LockPersonality=yes",
        "MemoryDenyWriteExecute=yes",
        "KeyringMode=private",
        "RemoveIPC=yes",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@resources @privileged",
        # What is taken away and still needed: the files' owners, and pidfds to end sessions.
        "SystemCallFilter=@chown",
        "SystemCallErrorNumber=EPERM",
        "MemoryHigh=160M",
        "MemoryMax=256M",
        "TasksMax=64",
    ]
