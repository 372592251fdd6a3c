"""Where secrets come from: whether each source is there, and nobody else's. None is asked."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

from dpki.config.admin import AdminConfig, Home
from dpki.doctor.finding import Finding, Level
from dpki.doctor.paths import judge, look_at
from dpki.signer.uri import Pkcs11Uri


def look_at_secrets(home: Home, config: AdminConfig) -> list[Finding]:
    """Return a finding for each source that can be looked at without asking it."""
    return [
        found
        for part, spec, key in _sources(config)
        if (found := judge_source(part, spec, f"{home.config}, {key}")) is not None
    ]


def judge_source(part: str, spec: str, configured: str) -> Finding | None:
    """Return whether a secret's source is there; None for a prompt, which always is.

    Args:
        spec: `env:NAME`, `file:PATH`, `command:…` or `prompt`.
        configured: Where that stands.
    """
    kind, _, rest = spec.partition(":")
    if kind == "file":
        path = Path(rest).expanduser()
        quoted = shlex.quote(str(path))
        missing = f"(umask 077; cat > {quoted})   # then type it, and Ctrl-D"
        # Root's is well too: who gave it to us can read it anyway.
        owners = (os.geteuid(), 0)
        return judge(part, look_at(path), mode=0o600, owners=owners, missing=missing)
    if kind == "env":
        if os.environ.get(rest):
            return Finding(part, Level.OK, f"the variable {rest} is set", configured)
        said = f"the variable {rest} is not set here"
        return Finding(part, Level.WARNING, said, configured, f"export {rest}=…")
    if kind == "command":
        program = next(iter(rest.split()), "")
        found = shutil.which(program.strip("'\""))
        if found is not None:
            return Finding(part, Level.OK, "its command is there, and was not run", found)
        said = f"there is no program {program}"
        return Finding(part, Level.PROBLEM, said, configured, "install it, or name another source")
    return None


def _sources(config: AdminConfig) -> Iterator[tuple[str, str, str]]:
    """Yield what each secret is, its source, and where in the configuration that stands."""
    yield "source of the PIN", config.token.pin, "token.pin"
    if config.wallet.key is None:
        yield "source of the wallet's passphrase", config.passphrase, "wallet.passphrase"
    if config.store.ipfs_token:
        yield "source of the IPFS nodes' token", config.store.ipfs_token, "store.ipfs_token"
    uris = {"wallet.key": config.wallet.key} | {f"keys.{n}": u for n, u in config.keys.items()}
    for key, uri in uris.items():
        if isinstance(uri, Pkcs11Uri) and uri.pin_source:
            yield f"pin-source of {key}", f"file:{uri.pin_source}", key
