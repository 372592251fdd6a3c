"""What a long-lived reader keeps of proven storage: the same words as without, whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from dpki.chain.panel import Panel
from dpki.chain.proven import ProvenReader
from dpki.chain.rpc import Call, fetch_block
from dpki.chain.storage import read_words
from dpki.model import Address
from tests.fakes.proving import ProvingChain, Source, sources, truth

CONTRACTS = [Address(bytes([number]) * 20) for number in (1, 2, 3)]
places = st.tuples(st.sampled_from(CONTRACTS), st.integers(0, 40))
writes = st.dictionaries(places, st.integers(0, 3), max_size=6)
reads = st.lists(places, min_size=1, max_size=30)
steps = st.lists(
    st.tuples(st.sampled_from(["write", "fork", "back"]), writes, reads), min_size=1, max_size=12
)


def replayed(history: list[dict[tuple[Address, int], int]], salt: bytes) -> ProvingChain:
    chain = ProvingChain(salt=salt)
    for write in history:
        for place, value in write.items():
            chain.put(*place, value)
        chain.mine()
    return chain


@given(story=steps, liar=st.sampled_from(["old", "other"]))
@settings(max_examples=40, deadline=None)
def test_kept_words_are_those_of_the_block(story: list[tuple], liar: str) -> None:  # type: ignore[type-arg]
    """Through reorgs, and beside an endpoint that proves another block's state than asked."""

    def lie(call: Call, answer: Callable[[], object]) -> object:
        if call.method != "eth_getProof":
            return answer()
        chain = asked[0].chain
        block = chain._blocks[0] if liar == "old" else chain._blocks[-2]
        return chain.call(call.method, [*call.params[:2], {"blockHash": str(block.hash)}])

    history: list[dict[tuple[Address, int], int]] = []
    chain = replayed(history, b"")
    asked: list[Source] = sources(chain, lie, truth, truth)
    kept = ProvenReader(Panel(asked, 2, 31337, patience=timedelta(seconds=10)))
    for number, (kind, write, read) in enumerate(story):
        if kind == "fork" and history:
            history[-1] = write
        elif kind == "back" and history:
            history.pop()
        else:
            history.append(write)
        salt = b"" if kind == "write" else bytes([number])
        chain = replayed(history, salt)
        for place in asked:
            place.chain = chain
        head = fetch_block(kept, "latest")
        assert head == chain.head
        assert kept.words(head.hash, read) == read_words(chain, head.hash, read)
        assert kept.evidence().level == "proven"
