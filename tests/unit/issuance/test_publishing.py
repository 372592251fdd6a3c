from pathlib import Path

import pytest

from dpki.bundle.cid import digest_of
from dpki.config.admin import StoreConfig
from dpki.errors import ConfigError, StoreFailed
from dpki.issuance.publishing import Publisher, open_publisher
from dpki.model import Hash32
from dpki.store.directory import DirectoryStore


class Down:
    """A store that does not answer."""

    confirms_itself = True

    def __init__(self, name: str) -> None:
        self.name = name

    def has(self, digest: Hash32) -> bool:
        raise StoreFailed(f"{self.name}: nobody answers there")


def test_a_folder_keeps_and_gives_back(tmp_path: Path) -> None:
    publisher = open_publisher(StoreConfig(directories=(tmp_path,)))
    publisher.check()
    digest = publisher.publish(b"sealed")
    assert digest == digest_of(b"sealed")
    assert publisher.publish(b"sealed") == digest


def test_more_copies_than_places(tmp_path: Path) -> None:
    publisher = open_publisher(StoreConfig(directories=(tmp_path,), copies=2))
    with pytest.raises(ConfigError, match="2 copies"):
        publisher.check()


def test_checking_changes_nothing(tmp_path: Path) -> None:
    open_publisher(StoreConfig(directories=(tmp_path / "store",))).check()
    assert not (tmp_path / "store").exists()


def test_too_few_answer_says_who_does_not(tmp_path: Path) -> None:
    stores = [DirectoryStore(tmp_path), Down("a"), Down("b")]
    publisher = Publisher(stores, stores, 2)  # type: ignore[arg-type]
    with pytest.raises(StoreFailed, match="a: nobody answers there; b: nobody"):
        publisher.check()


def test_one_that_is_down_can_be_spared(tmp_path: Path) -> None:
    stores = [Down("a"), DirectoryStore(tmp_path)]
    Publisher(stores, stores, 1).check()  # type: ignore[arg-type]


def test_the_nodes_token_is_asked_for_once_and_late() -> None:
    nobody = ("/ip4/127.0.0.1/tcp/9", "/ip4/127.0.0.1/tcp/10")
    asked: list[str] = []

    def source(what: str) -> str:
        asked.append(what)
        return "token"

    publisher = open_publisher(StoreConfig(ipfs=nobody, ipfs_token="prompt"), source)
    assert asked == []
    with pytest.raises(StoreFailed, match="nobody answers there"):
        publisher.check()
    assert asked == ["bearer token of the IPFS nodes"]
