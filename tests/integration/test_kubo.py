"""The Kubo store and the gateway against real IPFS nodes."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.bundle.cid import cid_of, digest_of
from dpki.devnet.kubo import Kubo, find_kubo
from dpki.errors import ContentUnavailable, StoreFailed
from dpki.store.gateway import Gateway
from dpki.store.kubo import KuboStore
from dpki.store.publish import publish

DEADLINE = timedelta(seconds=20)
TOKEN = "a-token.of_the~node"


@pytest.fixture
def kubo(kubo_nodes: tuple[Kubo, Kubo]) -> Iterator[KuboStore]:
    store = KuboStore(kubo_nodes[0].addresses.api_multiaddr)
    yield store
    store.close()


@pytest.fixture
def data() -> bytes:
    return secrets.token_bytes(3000)


def ipfs(node: Kubo, *arguments: str, stdin: bytes = b"") -> bytes:
    """Ask the node with Kubo's own command line."""
    return subprocess.run(
        [find_kubo(), "--api", node.addresses.api_multiaddr, *arguments],
        input=stdin,
        env={"IPFS_PATH": str(node.repository)},
        check=True,
        capture_output=True,
        timeout=30,
    ).stdout


def test_kubo_computes_the_same_cid(kubo_nodes: tuple[Kubo, Kubo], data: bytes) -> None:
    cid = ipfs(kubo_nodes[1], "block", "put", "--cid-codec=raw", "--mhtype=sha2-256", stdin=data)
    assert cid.decode().strip() == cid_of(digest_of(data))


def test_what_is_put_survives_garbage_collection(
    kubo: KuboStore, kubo_nodes: tuple[Kubo, Kubo], data: bytes
) -> None:
    kubo.put(data)
    ipfs(kubo_nodes[0], "repo", "gc")
    assert ipfs(kubo_nodes[0], "block", "get", cid_of(digest_of(data))) == data
    pins = json.loads(ipfs(kubo_nodes[0], "pin", "ls", "--type=recursive", "--enc=json"))
    assert cid_of(digest_of(data)) in pins["Keys"]


def test_removed_is_gone_from_the_disk(
    kubo: KuboStore, kubo_nodes: tuple[Kubo, Kubo], data: bytes
) -> None:
    cid = cid_of(kubo.put(data))
    kubo.remove(digest_of(data))
    with pytest.raises(subprocess.CalledProcessError):
        ipfs(kubo_nodes[0], "block", "stat", "--offline", cid)


def test_a_block_that_is_there_but_not_pinned_is_not_kept(
    kubo: KuboStore, kubo_nodes: tuple[Kubo, Kubo], data: bytes
) -> None:
    ipfs(kubo_nodes[0], "block", "put", "--cid-codec=raw", stdin=data)
    assert not kubo.has(digest_of(data))
    kubo.put(data)
    assert kubo.has(digest_of(data))


def test_published_on_one_node_and_read_back_from_the_other_s_gateway(
    kubo: KuboStore, kubo_nodes: tuple[Kubo, Kubo], data: bytes
) -> None:
    gateway = Gateway(kubo_nodes[1].addresses.gateway)
    assert publish(data, [kubo], [gateway], 1) == digest_of(data)
    assert gateway.fetch(digest_of(data), DEADLINE) == data


def test_published_where_the_other_cannot_reach_it(
    kubo: KuboStore, tmp_path: Path, data: bytes
) -> None:
    with Kubo(tmp_path / "lonely", tmp_path / "lonely.log") as lonely:
        gateway = Gateway(lonely.addresses.gateway)
        with pytest.raises(StoreFailed, match="can't be read back") as caught:
            publish(data, [kubo], [gateway], 1, timedelta(seconds=1))
    assert gateway.name in str(caught.value)
    assert "Nothing was anchored" in caught.value.hint


def test_the_gateway_sends_localhost_elsewhere_and_is_not_followed(
    kubo: KuboStore, kubo_nodes: tuple[Kubo, Kubo], data: bytes
) -> None:
    # Kubo redirects "localhost" to a host name per CID; 127.0.0.1 it serves directly.
    kubo.put(data)
    url = kubo_nodes[0].addresses.gateway
    assert Gateway(url).fetch(digest_of(data), DEADLINE) == data
    with pytest.raises(ContentUnavailable, match="not followed") as caught:
        Gateway(url.replace("127.0.0.1", "localhost")).fetch(digest_of(data), DEADLINE)
    assert "127.0.0.1 instead of localhost" in caught.value.hint


def test_the_gateway_s_port_given_as_the_rpc_port(
    kubo_nodes: tuple[Kubo, Kubo], data: bytes
) -> None:
    port = kubo_nodes[0].addresses.gateway.rsplit(":", 1)[1]
    wrong = KuboStore(f"/ip4/127.0.0.1/tcp/{port}")
    for act in (lambda: wrong.put(data), lambda: wrong.has(digest_of(data))):
        with pytest.raises(StoreFailed) as caught:
            act()
        assert "not the gateway's" in caught.value.hint
    with pytest.raises(ContentUnavailable):
        wrong.fetch(digest_of(data), timedelta(seconds=2))
    wrong.close()


class TestDown:
    @pytest.fixture
    def down(self) -> Iterator[KuboStore]:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers, nobody can
            store = KuboStore(f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}")
            yield store
            store.close()

    def test_every_question_says_what_to_do(self, down: KuboStore, data: bytes) -> None:
        for act in (
            lambda: down.put(data),
            lambda: down.has(digest_of(data)),
            lambda: down.remove(digest_of(data)),
        ):
            with pytest.raises(StoreFailed, match="nobody answers there") as caught:
                act()
            assert "ipfs daemon" in caught.value.hint
        with pytest.raises(ContentUnavailable, match="could not connect"):
            down.fetch(digest_of(data), DEADLINE)

    def test_nothing_is_published(self, down: KuboStore, kubo: KuboStore, data: bytes) -> None:
        with pytest.raises(StoreFailed, match="only 0 of 1 copies"):
            publish(data, [down], [kubo], 1)


def test_a_full_node(tmp_path: Path, data: bytes) -> None:
    with Kubo(tmp_path / "full", tmp_path / "full.log") as node:
        store = KuboStore(node.addresses.api_multiaddr)
        blocks = tmp_path / "full" / "blocks"
        blocks.rename(tmp_path / "gone")
        blocks.write_bytes(b"")  # a disk that takes nothing more
        with pytest.raises(StoreFailed, match="could not keep a block") as caught:
            store.put(data)
        assert "Kubo's own words" in caught.value.hint
        store.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    """The RPC address of a node that wants a bearer token."""
    repository, log = tmp_path / "guarded", tmp_path / "guarded.log"
    node = Kubo(repository, log)
    node.wait()
    node.stop()
    config = json.loads((repository / "config").read_bytes())
    rule = {"AuthSecret": f"bearer:{TOKEN}", "AllowedPaths": ["/api/v0"]}
    config["API"]["Authorizations"] = {"admin": rule}
    (repository / "config").write_text(json.dumps(config))
    node = Kubo(repository, log)
    try:
        node.process.wait_ready((repository / "gateway").exists, timedelta(seconds=30))
        yield (repository / "api").read_text().strip()
    finally:
        node.stop()


def test_a_node_that_wants_a_bearer_token(guarded: str, data: bytes) -> None:
    asked: list[str] = []

    def token() -> str:
        asked.append("")
        return TOKEN

    store = KuboStore(guarded, token)
    assert asked == []
    digest = store.put(data)
    assert store.has(digest)
    assert store.fetch(digest, DEADLINE) == data
    store.remove(digest)
    assert not store.has(digest)
    assert asked == [""]
    store.close()
    for wrong in (None, lambda: "another"):
        stranger = KuboStore(guarded, wrong)
        for act in (
            lambda s=stranger: s.put(data),
            lambda s=stranger: s.has(digest),
            lambda s=stranger: s.remove(digest),
        ):
            with pytest.raises(StoreFailed, match="refuses") as caught:
                act()
            assert "ipfs_token" in caught.value.hint
        with pytest.raises(ContentUnavailable):
            stranger.fetch(digest, DEADLINE)
        stranger.close()
