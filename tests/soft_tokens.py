"""SoftHSM tokens for tests: one token folder a test process, any number of tokens in it.

SoftHSM reads $SOFTHSM2_CONF when it is initialised, once a process: so there is one folder, and
tests that must not meet each other's keys take tokens with labels of their own.
"""

from __future__ import annotations

import secrets
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from dpki.signer.uri import Pkcs11Uri


@dataclass(frozen=True)
class SoftToken:
    """An initialised token."""

    label: str
    pin: str = field(repr=False)

    def uri(self, key: str = "", **parts: object) -> Pkcs11Uri:
        """Return the URI of a key in it, or of itself."""
        return Pkcs11Uri(self.label, key, **parts)  # type: ignore[arg-type]

    def ask(self, what: str) -> str:
        """Be a PIN source."""
        return self.pin


@dataclass(frozen=True)
class SoftHsmFolder:
    """A token folder, with the configuration that names it.

    The PINs are in the arguments of `softhsm2-util`: they are tests', and worth nothing.
    """

    directory: Path

    @property
    def configuration(self) -> Path:
        """What $SOFTHSM2_CONF must name."""
        return self.directory / "softhsm2.conf"

    @classmethod
    def create(cls, directory: Path) -> SoftHsmFolder:
        """Make the folder and its configuration."""
        folder = cls(directory)
        tokens = directory / "tokens"
        tokens.mkdir(parents=True)
        folder.configuration.write_text(
            f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        return folder

    def token(self, label: str = "", pin: str = "") -> SoftToken:
        """Initialise a token, by a random label unless one is given."""
        token = SoftToken(label or f"t-{secrets.token_hex(6)}", pin or secrets.token_hex(8))
        subprocess.run(
            [
                *("softhsm2-util", "--init-token", "--free", "--label", token.label),
                *("--pin", token.pin, "--so-pin", secrets.token_hex(8)),
            ],
            check=True,
            capture_output=True,
            env={"SOFTHSM2_CONF": str(self.configuration), "PATH": "/usr/bin:/bin:/usr/local/bin"},
        )
        return token
