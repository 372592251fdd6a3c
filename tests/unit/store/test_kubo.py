from __future__ import annotations

from typing import Any

import pytest
from ipfshttpclient import exceptions as ipfs

from dpki.bundle.cid import cid_of, digest_of
from dpki.errors import ConfigError, StoreFailed
from dpki.http import HttpClient, Response, TransferFailed
from dpki.store.kubo import KuboStore

ADDRESS = "/ip4/127.0.0.1/tcp/5001"
DATA = b"sealed"


class Section:
    """Stands in for a part of the IPFS client: what the real one can be asked, answered."""

    def __init__(self, real: object, answer: Any) -> None:
        self.real = real
        self.answer = answer
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        getattr(self.real, name)

        def call(*args: Any, **options: Any) -> Any:
            self.calls.append(((name, *args), options))
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

        return call


@pytest.fixture
def store() -> KuboStore:
    return KuboStore(ADDRESS)


@pytest.mark.parametrize(
    "address",
    [
        "/ip4/127.0.0.1/tcp/5001",
        "/ip4/127.0.0.1/tcp/5001/http",
        "/ip6/::1/tcp/5001",
        "/dns/localhost/tcp/5001",
        "/dns4/kubo.example.org/tcp/443/https",
    ],
)
def test_addresses(address: str) -> None:
    assert KuboStore(address).name == f"kubo {address}"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "http://127.0.0.1:5001",
        "127.0.0.1:5001",
        "/ip4/127.0.0.1",
        "/ip4/127.0.0.1/udp/5001",
        "/ip4/127.0.0.1/tcp/0",
        "/ip4/127.0.0.1/tcp/65536",
        "/ip4/999.0.0.1/tcp/5001",
        "/ip4/127.0.0.1/tcp/5001/p2p/QmX",
        "/unix/tmp/kubo.sock",
        "/dns/user:pw@host/tcp/5001",
    ],
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ConfigError, match=r"multiaddress|RPC port"):
        KuboStore(address)


def test_no_proxy_and_no_netrc_of_the_environment(store: KuboStore) -> None:
    assert store._client._client._session.trust_env is False


def test_what_is_put_is_raw_and_pinned(store: KuboStore) -> None:
    section = store._client.block = Section(store._client.block, {"Key": cid_of(digest_of(DATA))})
    assert store.put(DATA) == digest_of(DATA)
    ((_, options),) = section.calls
    assert options["opts"] == {"cid-codec": "raw", "mhtype": "sha2-256", "pin": "true"}


def test_another_cid_than_ours(store: KuboStore) -> None:
    store._client.block = Section(store._client.block, {"Key": "QmWrong"})
    with pytest.raises(StoreFailed, match="kept 'QmWrong' instead of bafkrei"):
        store.put(DATA)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ipfs.ConnectionError(OSError("refused")), "nobody answers there"),
        (ipfs.TimeoutError(OSError("slow")), "no answer within 5 s"),
        (ipfs.ErrorResponse("no space left\x1b[2J", None), "no space left  *.2J"),
        (ipfs.ProtocolError(ValueError("html")), "not one of a Kubo RPC port"),
        (ipfs.StatusError(ValueError("404")), "not one of a Kubo RPC port"),
        (ipfs.DecodingError("json", ValueError("{")), "not one of a Kubo RPC port"),
        (KeyError("Key"), "not one of a Kubo RPC port"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_failures_say_what_to_do(store: KuboStore, error: Exception, message: str) -> None:
    store._client.block = Section(store._client.block, error)
    store._client.pin = Section(store._client.pin, error)
    for act in (
        lambda: store.put(DATA),
        lambda: store.has(digest_of(DATA)),
        lambda: store.remove(digest_of(DATA)),
    ):
        with pytest.raises(StoreFailed, match=message) as caught:
            act()
        assert ADDRESS in str(caught.value)
        assert caught.value.hint


def test_not_pinned_is_an_answer(store: KuboStore) -> None:
    store._client.pin = Section(
        store._client.pin, ipfs.ErrorResponse("path 'x' is not pinned", None)
    )
    assert not store.has(digest_of(DATA))


class Post(HttpClient):
    """Stands in for the HTTP client that ipfshttpclient is too small for."""

    def __init__(self, answer: Response | TransferFailed) -> None:
        self.answer = answer
        self.urls: list[str] = []

    def request(self, method: str, url: str, **_: Any) -> Response:
        self.urls.append(f"{method} {url}")
        if isinstance(self.answer, TransferFailed):
            raise self.answer
        return self.answer


def test_removing_unpins_and_deletes(store: KuboStore) -> None:
    pins = store._client.pin = Section(store._client.pin, {})
    reader = store._reader = Post(Response(200, {}, b""))
    store.remove(digest_of(DATA))
    cid = cid_of(digest_of(DATA))
    assert [call for call, _ in pins.calls] == [("ls", cid), ("rm", cid)]
    assert reader.urls == [f"POST http://127.0.0.1:5001/api/v0/block/rm?arg={cid}&force=true"]


@pytest.mark.parametrize("answer", [Response(500, {}, b""), TransferFailed("broken")], ids=str)
def test_a_block_that_cannot_be_deleted(
    store: KuboStore, answer: Response | TransferFailed
) -> None:
    store._client.pin = Section(store._client.pin, {})
    store._reader = Post(answer)
    with pytest.raises(StoreFailed, match=r"remove a block: (it answers 500|broken)"):
        store.remove(digest_of(DATA))


def test_it_does_not_confirm_itself(store: KuboStore) -> None:
    assert not store.confirms_itself


class TestBearerToken:
    @pytest.mark.parametrize("address", ["/ip4/10.0.0.1/tcp/5001", "/dns/kubo.example/tcp/80/http"])
    def test_never_travels_readable(self, address: str) -> None:
        with pytest.raises(ConfigError, match="readable by everybody") as caught:
            KuboStore(address, lambda: "x")
        assert "/https" in caught.value.hint

    @pytest.mark.parametrize(
        "address", ["/ip6/::1/tcp/5001", "/dns/localhost/tcp/5001", "/dns/a.example/tcp/443/https"]
    )
    def test_is_asked_for_when_it_is_needed(self, address: str) -> None:
        KuboStore(address, lambda: pytest.fail("asked")).close()

    @pytest.mark.parametrize("token", ["two words", "a\r\nX-Injected: 1", "", "bearer:x", "\u00e9"])
    def test_what_is_none_is_not_repeated(self, token: str) -> None:
        store = KuboStore(ADDRESS, lambda: token)
        with pytest.raises(ConfigError, match="not a bearer token") as caught:
            store.put(DATA)
        assert token not in str(caught.value) or not token
        store.close()
