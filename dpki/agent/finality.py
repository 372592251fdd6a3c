"""What can't change any more: asked of the chain, and held against what is remembered."""

from __future__ import annotations

from dataclasses import replace

from dpki.agent.memory import Memory
from dpki.chain.domain import Domain
from dpki.chain.rpc import Reader, fetch_block
from dpki.errors import CouldNotCheck
from dpki.model import Block


def drop_orphaned_candidate(reader: Reader, memory: Memory) -> Memory:
    """Return the memory without a candidate whose block a reorg has thrown out.

    Raises:
        CouldNotCheck: The floor itself is not on this chain.
    """
    for mark in (memory.floor, memory.candidate):
        if mark is None:
            continue
        block = fetch_block(reader, mark.block.number)
        if block is not None and block.hash == mark.block.hash:
            continue
        if mark is memory.floor:
            raise CouldNotCheck(
                f"block {mark.block.number}, which was final, is not on the chain of {reader.name}",
                hint="the endpoint is stale, on a fork, or lying; use another one. If it was those"
                " used before that lied, move agent.db away: what was revoked is learnt anew",
            )
        return replace(memory, candidate=None)
    return memory


def fetch_finalized(reader: Reader, domain: Domain, tag: str) -> Block:
    """Return the newest final block, at least the domain's own, which the operator vouches for."""
    block = fetch_block(reader, tag)
    if block is None or block.number < domain.block.number:
        return domain.block
    return block
