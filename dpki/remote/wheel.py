"""The wheel of the very dpki that runs: what other hosts are given.

Binary distribution format, https://packaging.python.org/specifications/binary-distribution-format.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import dpki
from dpki.errors import DpkiError
from dpki.files import translated

_WHEEL = "Wheel-Version: 1.0\nGenerator: dpki\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time of a zip file: the same source gives the same bytes."""


def wheel_name() -> str:
    """Return the file's name, which installers read."""
    return f"dpki-{dpki.__version__}-py3-none-any.whl"


def build_wheel() -> bytes:
    """Return the wheel.

    Raises:
        DpkiError: dpki runs without having been installed, or its files can't be read.
    """
    root = Path(dpki.__file__).parent
    try:
        installed = distribution("dpki")
    except PackageNotFoundError as error:
        raise DpkiError(
            "dpki is not installed here, so there is nothing to be given away",
            hint="name what is to be installed there: --install-from",
        ) from error
    info = f"dpki-{dpki.__version__}.dist-info"
    with translated(root, "nothing was copied"):
        content = {
            f"dpki/{path.relative_to(root).as_posix()}": path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }
    for name in ("METADATA", "entry_points.txt"):
        content[f"{info}/{name}"] = (installed.read_text(name) or "").encode()
    content[f"{info}/WHEEL"] = _WHEEL.encode()
    lines = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in content.items()]
    content[f"{info}/RECORD"] = ("\n".join([*lines, f"{info}/RECORD,,"]) + "\n").encode()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return target.getvalue()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
