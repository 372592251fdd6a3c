"""Programs and Python packages: there, and new enough."""

from __future__ import annotations

import importlib.util
import platform
import re
import subprocess
import sys
from collections.abc import Sequence

from dpki.doctor.finding import Finding, Level

OPENSSH = (8, 2)
"""The first OpenSSH with certificates of security keys; tested with 9.2."""

KUBO = (0, 20)
"""The first Kubo whose block/put takes a CID codec as it is used here."""

_TIMEOUT = 10
_ADMIN = {"web3": "web3", "eth_account": "eth-account", "pkcs11": "python-pkcs11"}


def judge_version(
    part: str, answer: str, pattern: str, least: tuple[int, int], *, where: str, mend: str
) -> Finding:
    """Compare the version that a program's own words hold with the least that works."""
    match = re.search(pattern, answer)
    if match is None:
        said = "it did not say its version"
        return Finding(part, Level.COULD_NOT_CHECK, said, where, mend)
    version = (int(match[1]), int(match[2]))
    said = f"version {version[0]}.{version[1]}"
    if version < least:
        too_old = f"{said} is too old: {least[0]}.{least[1]} or later is needed"
        return Finding(part, Level.PROBLEM, too_old, where, mend)
    return Finding(part, Level.OK, said, where)


def look_at_openssh(part: str, binary: str) -> Finding:
    """Ask ssh or sshd for its version."""
    answer = ask([binary, "-V"])
    mend = "apt-get install openssh-server openssh-client"
    if answer is None:
        return Finding(part, Level.PROBLEM, "it is missing", binary, mend)
    return judge_version(part, answer, r"OpenSSH_(\d+)\.(\d+)", OPENSSH, where=binary, mend=mend)


def look_at_system_python(path: str = "/usr/bin/python3") -> Finding:
    """Check the interpreter of the login command: it needs nothing of ours."""
    part, mend = "login command's python", "apt-get install python3"
    answer = ask([path, "-I", "-S", "-E", "-c", "import sys; print(sys.version)"])
    if answer is None:
        return Finding(part, Level.PROBLEM, "it is missing: nobody could log in", path, mend)
    return judge_version(part, answer, r"^(\d+)\.(\d+)", (3, 7), where=path, mend=mend)


def look_at_python() -> Finding:
    """Say which Python runs dpki; an older one could not even start it."""
    return Finding("python", Level.OK, f"version {platform.python_version()}", sys.executable)


def look_at_admin_packages(ipfs: bool) -> Finding:
    """Check that what only an admin needs is installed."""
    part, wanted = "packages", dict(_ADMIN)
    if ipfs:
        wanted["ipfshttpclient"] = "ipfshttpclient"
    missing = [name for module, name in wanted.items() if importlib.util.find_spec(module) is None]
    if missing:
        said = f"not installed: {', '.join(missing)}"
        return Finding(part, Level.PROBLEM, said, sys.prefix, "pip install 'dpki[admin]'")
    return Finding(part, Level.OK, "all that an admin needs is installed", sys.prefix)


def ask(command: Sequence[str]) -> str | None:
    """Return what a program says, on both outputs; None where it can't be run."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout
