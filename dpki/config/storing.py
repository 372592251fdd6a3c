"""Where an admin's sealed bundles go: the table `[store]` of config.toml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dpki.config.toml import Table, Value
from dpki.config.urls import verify_urls
from dpki.config.values import verify_multiaddr, verify_secret_source
from dpki.errors import UsageError


@dataclass(frozen=True)
class StoreConfig:
    """Where sealed bundles are put and read back from.

    Attributes:
        ipfs: Multiaddresses of the RPC ports of own Kubo nodes.
        gateways: Trustless gateways to read back from.
        directories: Content-addressed folders.
        copies: On how many nodes or folders a bundle must be before it is anchored.
        ipfs_token: Where the bearer token of the Kubo nodes comes from; never the token. Empty for
            nodes that want none.
    """

    ipfs: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    directories: tuple[Path, ...] = ()
    copies: int = 1
    ipfs_token: str = ""


def parse_store(table: Table) -> StoreConfig:
    """Take the keys of the table, and nothing else."""
    ipfs, gateways = table.texts("ipfs", ()), table.texts("gateways", ())
    with table.blame("ipfs"):
        ipfs = tuple(verify_multiaddr(address) for address in ipfs)
    with table.blame("gateways"):
        gateways = verify_urls(gateways)
    directories = table.texts("directories", ())
    if not all(text.startswith("/") for text in directories):
        raise table.error("directories", "must hold absolute paths")
    store = StoreConfig(
        ipfs=ipfs,
        gateways=gateways,
        directories=tuple(Path(text) for text in directories),
        copies=table.integer("copies", 1, minimum=1),
        ipfs_token=table.parsed("ipfs_token", verify_secret_source)
        if "ipfs_token" in table
        else "",
    )
    table.close()
    with table.blame("copies"):
        return verify_copies(store)


def dump_store(store: StoreConfig) -> dict[str, Value]:
    """Return the keys that `parse_store` reads."""
    return {
        "ipfs": store.ipfs,
        "gateways": store.gateways,
        "directories": [str(path) for path in store.directories],
        "copies": store.copies,
        **({"ipfs_token": store.ipfs_token} if store.ipfs_token else {}),
    }


def verify_copies(store: StoreConfig) -> StoreConfig:
    """Return `store`, in which there are enough places for the copies it asks for.

    Raises:
        UsageError: There are fewer nodes and folders than copies.
    """
    places = len(store.ipfs) + len(store.directories)
    if store.copies > places:
        raise UsageError(
            f"{store.copies} copies are asked for, but there are only {places} places to put them",
            hint="name more IPFS nodes or directories, or ask for fewer copies",
        )
    return store
