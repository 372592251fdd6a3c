"""Where sealed bundles go, as configured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from dpki.bundle.cid import digest_of
from dpki.config.admin import StoreConfig
from dpki.errors import StoreFailed
from dpki.model import Hash32
from dpki.signer.pin import PinSource, pin_source
from dpki.store.base import BlockSource, BlockStore
from dpki.store.directory import DirectoryStore
from dpki.store.gateway import Gateway
from dpki.store.publish import publish, verify_plan

_NOTHING = digest_of(b"")


@dataclass(frozen=True)
class Publisher:
    """Puts bundles on stores and reads them back.

    Attributes:
        stores: Where bundles are put, first choice first.
        sources: Where they are read back.
        copies: On how many stores each must be.
    """

    stores: Sequence[BlockStore]
    sources: Sequence[BlockSource]
    copies: int

    def check(self) -> None:
        """Find out before anything is signed whether publishing can work.

        Raises:
            ConfigError: With these stores and sources it never could.
            StoreFailed: Fewer stores answer than copies are asked for; says each one's reason.
        """
        verify_plan(self.stores, self.sources, self.copies)
        failures: list[str] = []
        for store in self.stores:
            try:
                store.has(_NOTHING)
            except StoreFailed as error:
                failures.append(error.message)
        if len(self.stores) - len(failures) < self.copies:
            raise StoreFailed(
                f"bundles can't be published: {'; '.join(failures)}",
                hint="start or repair the IPFS nodes; nothing was signed",
            )

    def publish(
        self, data: bytes, told: Callable[[str, bool], None] = lambda name, kept: None
    ) -> Hash32:
        """Put one sealed bundle where devices find it; doing it again changes nothing.

        Args:
            told: Called with each store's name, and whether it has the bundle now.

        Raises:
            StoreFailed: Not enough copies, or it can't be read back.
        """
        return publish(data, self.stores, self.sources, self.copies, told=told)


def open_publisher(config: StoreConfig, token: PinSource | None = None) -> Publisher:
    """Return the publisher of a configuration; nothing is sent yet.

    Every store is also a source: what is put on one may be read back from another.

    Args:
        token: Gives the bearer token of the nodes instead of the source that the configuration
            names; asked once, when it is needed, and only where they want one.
    """
    stores: list[BlockStore] = []
    if config.ipfs:
        # The IPFS client takes a tenth of a second to import.
        from dpki.store.kubo import KuboStore

        ask = None
        if config.ipfs_token:
            source = token or pin_source(config.ipfs_token)
            ask = cache(lambda: source("bearer token of the IPFS nodes"))
        stores += [KuboStore(address, ask) for address in config.ipfs]
    stores += [DirectoryStore(path) for path in config.directories]
    sources: list[BlockSource] = [Gateway(url) for url in config.gateways]
    return Publisher(stores, [*sources, *stores], config.copies)
