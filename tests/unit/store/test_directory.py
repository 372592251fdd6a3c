from __future__ import annotations

import os
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.bundle.cid import cid_of, digest_of
from dpki.errors import ContentMismatch, ContentUnavailable, StoreFailed
from dpki.store.directory import DirectoryStore

DATA = b"sealed"
DIGEST = digest_of(DATA)
CID = cid_of(DIGEST)
SECOND = timedelta(seconds=1)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "deep" / "blocks")


def test_a_block_is_a_file_named_by_its_cid(store: DirectoryStore) -> None:
    store.put(DATA)
    assert [path.name for path in store.path.iterdir()] == [CID]
    assert (store.path / CID).read_bytes() == DATA
    assert stat.S_IMODE((store.path / CID).stat().st_mode) == 0o644


def test_a_damaged_file_is_told_from_a_missing_one(store: DirectoryStore) -> None:
    with pytest.raises(ContentUnavailable, match="the folder does not exist"):
        store.fetch(DIGEST, SECOND)
    store.put(DATA)
    (store.path / CID).write_bytes(b"damaged")
    with pytest.raises(ContentMismatch, match=CID):
        store.fetch(DIGEST, SECOND)
    assert not store.has(DIGEST)


def test_a_damaged_file_is_repaired_by_putting_again(store: DirectoryStore) -> None:
    store.put(DATA)
    (store.path / CID).write_bytes(b"damaged")
    store.put(DATA)
    assert store.fetch(DIGEST, SECOND) == DATA


def test_putting_again_does_not_write(store: DirectoryStore) -> None:
    store.put(DATA)
    before = (store.path / CID).stat()
    store.put(DATA)
    assert (store.path / CID).stat().st_ino == before.st_ino


def test_a_link_out_of_the_folder_is_not_followed(store: DirectoryStore, tmp_path: Path) -> None:
    store.path.mkdir(parents=True)
    (tmp_path / "outside").write_bytes(DATA)
    (store.path / CID).symlink_to(tmp_path / "outside")
    with pytest.raises(ContentUnavailable):
        store.fetch(DIGEST, SECOND)


def test_a_pipe_does_not_hold_anybody(store: DirectoryStore) -> None:
    store.path.mkdir(parents=True)
    os.mkfifo(store.path / CID)
    with pytest.raises(ContentUnavailable, match="not a file"):
        store.fetch(DIGEST, SECOND)


def test_a_folder_of_that_name(store: DirectoryStore) -> None:
    (store.path / CID).mkdir(parents=True)
    with pytest.raises(ContentUnavailable):
        store.fetch(DIGEST, SECOND)
    with pytest.raises(StoreFailed):
        store.put(DATA)
    with pytest.raises(StoreFailed):
        store.remove(DIGEST)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreFailed, match="could not keep a block"):
        DirectoryStore(tmp_path / "file").put(DATA)
    with pytest.raises(ContentUnavailable):
        DirectoryStore(tmp_path / "file").fetch(DIGEST, SECOND)


def test_a_full_disk(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFailed, match="No space left"):
        store.put(DATA)
    assert list(store.path.iterdir()) == []


def test_name_says_where(store: DirectoryStore) -> None:
    assert store.name == f"directory {store.path}"
    assert store.confirms_itself
