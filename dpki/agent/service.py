"""What systemd is told: that the agent is ready, that it lives, and how it does.

The protocol of sd_notify(3): a datagram of lines to the socket that $NOTIFY_SOCKET names, a path
or, after an @, a name in Linux's abstract namespace. Without the variable nobody is told anything.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class ServiceManager:
    """Whoever started the agent as a service, if anybody did.

    Args:
        environment: Where to learn of it.
        process: This process's number; the watchdog may be meant for another.
    """

    def __init__(
        self, environment: Mapping[str, str] = os.environ, process: int | None = None
    ) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{name[1:]}" if name.startswith("@") else name
        meant = environment.get("WATCHDOG_PID", "")
        mine = str(os.getpid() if process is None else process)
        microseconds = environment.get("WATCHDOG_USEC", "")
        self._patience = (
            int(microseconds) / 1e6
            if microseconds.isdecimal() and meant in ("", mine) and self._address
            else None
        )

    @property
    def pulse(self) -> float | None:
        """Return the seconds between two signs of life: half of what is allowed; None for none."""
        return self._patience / 2 if self._patience else None

    def ready(self) -> None:
        """Tell that the service is up."""
        self._tell("READY=1")

    def alive(self) -> None:
        """Give a sign of life."""
        self._tell("WATCHDOG=1")

    def reloading(self, microseconds: int) -> None:
        """Tell that the configuration is read again; `ready` ends it.

        Args:
            microseconds: The monotonic clock's.
        """
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")

    def stopping(self) -> None:
        """Tell that the service is about to end."""
        self._tell("STOPPING=1")

    def status(self, words: str) -> None:
        """Tell in one line how it does."""
        self._tell(f"STATUS={' '.join(words.split())}")

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        # A manager that is away is no reason to stop looking after the device.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(self._address)
            sender.send(message.encode())
