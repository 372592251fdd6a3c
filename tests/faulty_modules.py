"""A PKCS#11 module that fails where it is told to, before SoftHSM's; see faulty_module.c."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

SOURCE = Path(__file__).with_name("faulty_module.c")

FAULT = "DPKI_FAULT"
LOG = "DPKI_FAULT_LOG"

DEVICE_REMOVED = "0x32"
MECHANISM_INVALID = "0x70"
PIN_EXPIRED = "0xa3"
PIN_LOCKED = "0xa4"
PIN_NOT_INITIALIZED = "0x102"
TOKEN_NOT_PRESENT = "0xe0"
GENERAL_ERROR = "0x5"


def build_faulty_module(directory: Path, real: Path) -> Path:
    """Compile the module into a folder, to hand calls on to the real one."""
    module = directory / "libfaulty.so"
    command = ["cc", "-std=gnu11", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(module)]
    command += [f'-DREAL_MODULE="{real}"', str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return module


def workers(parent: int | None = None) -> set[int]:
    """Return the processes that a process (this one by default) has for PKCS#11 modules."""
    found = set()
    for task in Path(f"/proc/{parent or 'self'}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"pkcs11_worker" in command:
                found.add(child)
    return found


def is_running(pid: int) -> bool:
    """Return whether a process is there, and no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_until(reached: Callable[[], bool]) -> None:
    """Wait for what must happen soon."""
    for _ in range(1500):
        if reached():
            return
        time.sleep(0.02)
    raise AssertionError("it was never reached")
