"""A second PKCS#11 module, made by others than SoftHSM's: tpm2-pkcs11 before a software TPM.

The TPM has room for few sessions and there is no resource manager before it, so its keys are made
by `pkcs11-tool`, as somebody with such a token would.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from dpki.signer.uri import Pkcs11Uri

LABEL = "tpm"
PIN = "4711-0815"
KEY = "ca"


def find_tpm_module() -> Path:
    """Return the module's file."""
    for folder in (Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/local/lib")):
        for pattern in ("pkcs11/libtpm2_pkcs11.so*", "*/pkcs11/libtpm2_pkcs11.so*"):
            for path in sorted(folder.glob(pattern)):
                return path
    raise AssertionError("tpm2-pkcs11 is not installed: run scripts/setup")


@dataclass
class Tpm:
    """A running TPM with a token and a P-256 key in it."""

    module: Path
    process: subprocess.Popen[bytes]

    @property
    def uri(self) -> Pkcs11Uri:
        return Pkcs11Uri(LABEL, KEY)

    def ask(self, what: str) -> str:
        return PIN

    def pull_out(self) -> None:
        """End the TPM, as if somebody had taken it away."""
        self.process.kill()
        self.process.wait()


@contextmanager
def open_tpm() -> Iterator[Tpm]:
    """Start a TPM and make its token and key; in force for this process meanwhile."""
    # Not pytest's folder: the path of a socket is short.
    folder = Path(tempfile.mkdtemp(prefix="dpki-tpm-"))
    (folder / "state").mkdir()
    (folder / "store").mkdir()
    sockets = [f"type=unixio,path={folder / name}" for name in ("sock", "sock.ctrl")]
    process = subprocess.Popen(
        [
            *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder / 'state'}"),
            *("--server", sockets[0], "--ctrl", sockets[1]),
            *("--flags", "not-need-init,startup-clear"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TPM2_PKCS11_STORE", str(folder / "store"))
            patch.setenv("TPM2_PKCS11_TCTI", f"swtpm:path={folder / 'sock'}")
            patch.setenv("TPM2_PKCS11_LOG_LEVEL", "0")
            patch.setenv("TSS2_LOG", "all+NONE")
            for _ in range(500):
                if (folder / "sock.ctrl").exists():
                    break
                time.sleep(0.01)
            module = find_tpm_module()
            _make_token(module)
            yield Tpm(module, process)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _make_token(module: Path) -> None:
    officer = ("--login", "--login-type", "so", "--so-pin", "12345678")
    # The PINs are in arguments: they are tests', and worth nothing.
    for words in (
        ("--slot-index", "0", "--init-token", "--label", LABEL, "--so-pin", "12345678"),
        ("--token-label", LABEL, *officer, "--init-pin", "--pin", PIN),
        (
            *("--token-label", LABEL, "--login", "--pin", PIN, "--keypairgen", "--usage-sign"),
            *("--key-type", "EC:prime256v1", "--label", KEY, "--id", "01"),
        ),
    ):
        subprocess.run(
            ["pkcs11-tool", "--module", str(module), *words],
            check=True,
            capture_output=True,
            env=dict(os.environ),
            timeout=60,
        )
