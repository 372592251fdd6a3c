"""What a running devnet is made of, as a value and as a file (`devnet.json`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dpki.devnet.kubo import KuboAddresses
from dpki.devnet.process import ProcessIdentity
from dpki.errors import ConfigError
from dpki.files import load_bounded, write_atomic

FILE = "devnet.json"

_VERSION = 1
_LIMIT = 256 * 1024


@dataclass(frozen=True)
class TokenState:
    """The devnet's PKCS#11 token.

    Attributes:
        module: The PKCS#11 library.
        label: The token's label.
        pin_file: The file with its PIN, private to its owner.
        environment: What the library needs in the environment before it is loaded.
    """

    module: Path
    label: str
    pin_file: Path
    environment: Mapping[str, str]


@dataclass(frozen=True)
class DevnetState:
    """A devnet.

    Attributes:
        rpc: Anvil's URL.
        chain_id: Its chain id.
        optimism: Whether it follows the OP stack's rules.
        ipfs: The Kubo nodes, connected to one another; empty where it runs without.
        token: The token; None where it runs without.
        accounts: Addresses of the funded development accounts.
        logs: Folder with a log for each process.
        processes: What runs.
    """

    rpc: str
    chain_id: int
    optimism: bool
    ipfs: tuple[KuboAddresses, ...]
    token: TokenState | None
    accounts: tuple[str, ...]
    logs: Path
    processes: tuple[ProcessIdentity, ...]


def save_state(directory: Path, state: DevnetState) -> None:
    """Write the state; it holds paths to secrets, and none itself."""
    document = {"version": _VERSION, **asdict(state)}
    write_atomic(directory / FILE, json.dumps(document, indent=2, default=str).encode() + b"\n")


def load_state(directory: Path) -> DevnetState | None:
    """Return the state of the devnet in the folder; None where there is none.

    Raises:
        ConfigError: The file is damaged.
    """
    path = directory / FILE
    if not path.exists():
        return None
    try:
        fields = json.loads(load_bounded(path, limit=_LIMIT))
        if fields.pop("version") != _VERSION:
            raise ValueError("another version")
        token = fields.pop("token")
        return DevnetState(
            rpc=fields["rpc"],
            chain_id=int(fields["chain_id"]),
            optimism=bool(fields["optimism"]),
            ipfs=tuple(KuboAddresses(**node) for node in fields["ipfs"]),
            token=None
            if token is None
            else TokenState(
                Path(token["module"]),
                token["label"],
                Path(token["pin_file"]),
                dict(token["environment"]),
            ),
            accounts=tuple(fields["accounts"]),
            logs=Path(fields["logs"]),
            processes=tuple(ProcessIdentity(**process) for process in fields["processes"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"{path} is damaged or of another version",
            hint="stop what it started by hand (anvil, ipfs), then remove the file",
        ) from error
