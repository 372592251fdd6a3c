"""Private files of a device's folder of keys, numbered where there are several."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from dpki.errors import DpkiError
from dpki.files import load_bounded

_FILE_LIMIT = 4096


def numbered(directory: Path) -> list[tuple[int, Path]]:
    """Return the key files of a folder by number, oldest first."""
    found = [
        (int(path.stem), path)
        for path in (directory.iterdir() if directory.is_dir() else ())
        if re.fullmatch(r"[1-9][0-9]{0,8}\.key", path.name)
    ]
    return sorted(found)


def load_private(path: Path) -> bytes:
    """Return a file that is the owner's alone.

    Raises:
        DpkiError: It is missing, too large, or others may read it.
    """
    data = load_bounded(path, limit=_FILE_LIMIT)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise DpkiError(
            f"{path} can be read by others than its owner",
            hint=f"chmod 600 {path}; and if somebody may have read it, enrol a new device",
        )
    return data
