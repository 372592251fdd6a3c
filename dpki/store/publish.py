"""Publishing a block so that it is really there, and reading one from whoever has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from dpki.bundle.cid import cid_of, digest_of
from dpki.errors import (
    ConfigError,
    ContentMismatch,
    ContentUnavailable,
    StoreFailed,
)
from dpki.http import Deadline
from dpki.model import Hash32
from dpki.store.base import BLOCK_LIMIT, BlockSource, BlockStore, verify_size

READ_BACK = timedelta(seconds=30)
"""How long another source may take to find what was just published."""


def publish(
    data: bytes,
    stores: Sequence[BlockStore],
    sources: Sequence[BlockSource],
    copies: int,
    deadline: timedelta = READ_BACK,
    told: Callable[[str, bool], None] = lambda name, kept: None,
) -> Hash32:
    """Put a block on `copies` stores and read it back from somewhere else.

    Only then should it be anchored. Stores are tried in their order until there are enough copies;
    one that fails is passed over. Doing it again changes nothing.

    Read back means: from a source that it was not put on. Only where every copy lies in a store
    that confirms itself (a folder) is such a store read instead: nobody else can see into it.

    Args:
        stores: Where it may be put, first choice first.
        sources: Where it may be read back, first choice first; may include the stores.
        copies: How many stores must have it.
        deadline: For reading back, all sources together.
        told: Called with the name of each store that was tried, and whether it has the block now.

    Returns:
        The block's SHA-256.

    Raises:
        ConfigError: Fewer stores than copies, or nothing else to read from; nothing was put.
        StoreFailed: Not enough copies, or it can't be read back; says each store's reason. Some
            stores may have it all the same.
    """
    verify_plan(stores, sources, copies)
    verify_size(data)
    digest = digest_of(data)
    kept: list[BlockStore] = []
    failures: list[str] = []
    for store in stores:
        if len(kept) == copies:
            break
        try:
            store.put(data)
        except StoreFailed as error:
            failures.append(error.message)
            told(store.name, False)
        else:
            kept.append(store)
            told(store.name, True)
    if len(kept) < copies:
        raise StoreFailed(
            f"only {len(kept)} of {copies} copies could be made: {'; '.join(failures)}",
            hint="start or repair the stores that failed, then do it again",
        )
    readers = _readers(kept, sources)
    if not readers:
        raise StoreFailed(
            f"{cid_of(digest)} was kept, but there is no other source left to read it back from",
            hint="start or repair the stores that failed, or configure a gateway",
        )
    try:
        fetch_first(digest, readers, deadline, limit=len(data))
    except ContentUnavailable as error:
        names = ", ".join(store.name for store in kept)
        raise StoreFailed(
            f"{cid_of(digest)} was put on {names}, but can't be read back: {error.message}",
            hint="can the others reach the node? Nothing was anchored; do it again",
        ) from error
    return digest


def fetch_first(
    digest: Hash32,
    sources: Sequence[BlockSource],
    deadline: timedelta,
    *,
    limit: int = BLOCK_LIMIT,
) -> bytes:
    """Return the block from the first source that delivers it.

    Args:
        sources: First choice first. Each gets an equal share of the time that is left, so that a
            slow one can't take the others' time.
        deadline: For all of them together.

    Raises:
        ContentUnavailable: None delivered it, or there are none; says each one's reason.
    """
    if not sources:
        raise ContentUnavailable(
            f"there is no source to read {cid_of(digest)} from",
            hint="configure a gateway or a directory",
        )
    end = Deadline(deadline)
    reasons: list[str] = []
    for position, source in enumerate(sources):
        share = timedelta(seconds=end.remaining() / (len(sources) - position))
        try:
            return source.fetch(digest, share, limit)
        except (ContentUnavailable, ContentMismatch) as error:
            reasons.append(error.message)
    raise ContentUnavailable(
        f"no source delivered {cid_of(digest)}: {'; '.join(reasons)}",
        hint="try again later, or configure another gateway",
    )


def verify_plan(stores: Sequence[BlockStore], sources: Sequence[BlockSource], copies: int) -> None:
    """Refuse a configuration with which nothing could ever be published.

    Raises:
        ConfigError: Fewer stores than copies, a store twice, or nothing else to read back from.
    """
    names = [store.name for store in stores]
    if len(set(names)) != len(names):
        raise ConfigError("a store is configured twice", hint="copies on one store are one copy")
    if not 1 <= copies <= len(stores):
        raise ConfigError(
            f"{copies} copies are asked for, with {len(stores)} stores",
            hint="configure at least as many stores as copies, and at least one",
        )
    if not _readers(stores[:copies], sources):
        raise ConfigError(
            "there is no source to read back from that differs from the stores",
            hint="configure a gateway of another node, or one store more than copies",
        )


def _readers(kept: Sequence[BlockStore], sources: Sequence[BlockSource]) -> list[BlockSource]:
    used = {store.name for store in kept}
    if all(store.confirms_itself for store in kept):
        return list(kept)
    return [source for source in sources if source.name not in used]
