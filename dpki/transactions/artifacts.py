"""The compiled contracts, as shipped in the package: users need no compiler."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from dpki.errors import DpkiError

CONTRACTS = (
    "TrustDomain",
    "AuthorityRegistry",
    "CertificateRegistry",
    "DeviceRegistry",
    "RootCouncil",
    "TimelockController",
    "WatchdogRegistry",
)


@dataclass(frozen=True)
class Artifact:
    """A compiled contract.

    Attributes:
        name: The contract's name.
        abi: Its interface (Solidity documentation, "Contract ABI Specification").
        bytecode: Init code without constructor arguments.
        storage_layout: Where its state variables are, as the compiler says.
        runtime: The program that stays on chain, with zeros for its immutables.
        immutables: Where they are written: from which byte on, how many.
    """

    name: str
    abi: Sequence[Mapping[str, Any]]
    bytecode: bytes
    storage_layout: Mapping[str, Any]
    runtime: bytes
    immutables: tuple[tuple[int, int], ...]


@cache
def load_artifact(name: str) -> Artifact:
    """Return a contract of the package.

    Raises:
        DpkiError: It is not there: the installation is damaged.
    """
    try:
        text = resources.files("dpki").joinpath("artifacts", f"{name}.json").read_text("utf-8")
        fields = json.loads(text)
        return Artifact(
            name=name,
            abi=fields["abi"],
            bytecode=bytes.fromhex(fields["bytecode"].removeprefix("0x")),
            storage_layout=fields.get("storageLayout", {}),
            runtime=bytes.fromhex(fields["deployedBytecode"].removeprefix("0x")),
            immutables=tuple(
                (place["start"], place["length"])
                for places in fields["immutableReferences"].values()
                for place in places
            ),
        )
    except (OSError, ValueError, KeyError) as error:
        raise DpkiError(
            f"the compiled contract {name} is missing or damaged", hint="reinstall dpki"
        ) from error
