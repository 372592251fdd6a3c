"""How dpki calls the system's own `ssh`: nothing is asked, and no unknown host is talked to.

What comes over such a connection is taken for the host's word (claim T2), so nothing here may be
weakened by anybody's configuration: of an option ssh takes the first value that it is given
(ssh_config(5)), and these stand before all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

STRICT = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "RequestTTY=no",
    "LogLevel=ERROR",
    "ConnectTimeout=15",
    "ServerAliveInterval=10",
)

REFUSED = 255
"""ssh's own exit status where it never got as far as the command (ssh(1))."""


def ssh_command(config: str | Path | None = None, options: Sequence[str] = ()) -> list[str]:
    """Return the words that begin a call of `ssh`.

    Args:
        config: The file for `ssh -F`; None or empty for the user's own.
        options: Further ones, as NAME=VALUE; none of the strict ones is overruled.
    """
    file = ["-F", str(config)] if config else []
    return ["ssh", *file, *(word for option in (*STRICT, *options) for word in ("-o", option))]
