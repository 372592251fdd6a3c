from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from dpki.errors import DpkiError
from dpki.files import (
    PRIVATE,
    PUBLIC,
    create_atomic,
    fsync_directory,
    load_bounded,
    make_private_directory,
    settle,
    staged,
    translated,
    verify_writable,
    write_atomic,
)
from tests.faults import leftovers, refused, refusing, walk

Write = Callable[..., None]
writers = pytest.mark.parametrize("write", [write_atomic, create_atomic])


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.fixture(params=[0o000, 0o022, 0o777])
def umask(request: pytest.FixtureRequest) -> object:
    previous = os.umask(request.param)
    yield request.param
    os.umask(previous)


class TestBothWriters:
    @writers
    def test_content(self, write: Write, path: Path) -> None:
        write(path, b"content")
        assert path.read_bytes() == b"content"

    @writers
    @pytest.mark.parametrize("mode", [PRIVATE, PUBLIC])
    def test_the_mode_is_exact_whatever_the_umask(
        self, write: Write, path: Path, mode: int, umask: int
    ) -> None:
        write(path, b"", mode=mode)
        assert mode_of(path) == mode

    @writers
    def test_private_by_default(self, write: Write, path: Path) -> None:
        write(path, b"")
        assert mode_of(path) == 0o600

    @writers
    def test_it_is_private_until_it_is_complete(
        self, write: Write, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[int] = []
        fchmod = os.fchmod

        def watching(descriptor: int, mode: int) -> None:
            seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
            assert os.fstat(descriptor).st_size == len(b"content")
            fchmod(descriptor, mode)

        monkeypatch.setattr(os, "fchmod", watching)
        write(path, b"content", mode=PUBLIC)
        assert seen == [0o600]

    @writers
    def test_it_reaches_the_disk_before_it_gets_its_name(
        self, write: Write, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced: list[tuple[bool, bool]] = []

        def note(descriptor: int) -> None:
            is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
            synced.append((is_folder, path.exists()))

        monkeypatch.setattr(os, "fsync", note)
        write(path, b"content")
        # first the file, still nameless; then the folder, with the name in it
        assert synced == [(False, False), (True, True)]

    @writers
    def test_no_folder(self, write: Write, tmp_path: Path) -> None:
        with pytest.raises(DpkiError, match=r"could not write .*No such file"):
            write(tmp_path / "missing" / "file", b"")

    @writers
    def test_a_full_disk_leaves_nothing_behind(
        self, write: Write, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(DpkiError, match="No space left") as caught:
            write(path, b"content")
        assert caught.value.hint
        assert list(path.parent.iterdir()) == []

    @writers
    def test_an_interruption_leaves_nothing_behind(
        self, write: Write, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(_: int) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write(path, b"content")
        assert list(path.parent.iterdir()) == []

    @writers
    def test_the_content_is_not_in_the_error(self, write: Write, tmp_path: Path) -> None:
        with pytest.raises(DpkiError) as caught:
            write(tmp_path / "missing" / "file", b"hunter2")
        assert "hunter2" not in f"{caught.value!r}{caught.value.hint}"

    @writers
    def test_nothing_but_the_file_is_there_afterwards(self, write: Write, path: Path) -> None:
        write(path, b"content")
        assert list(path.parent.iterdir()) == [path]

    @writers
    @pytest.mark.parametrize(
        ("code", "advice"),
        [
            (errno.ENOSPC, "make room on the file system of {}"),
            (errno.EDQUOT, "make room in {}"),
            (
                errno.EROFS,
                "mount the file system of {} writable; for its service: dpki agent install",
            ),
            (errno.EACCES, "let the user that runs dpki write in {}"),
            (errno.EFBIG, "allow larger files"),
            (errno.EPIPE, "check free space and permissions"),
        ],
    )
    def test_what_to_do(self, write: Write, path: Path, code: int, advice: str) -> None:
        path.with_name("other").touch()
        with refusing(1, path.parent, code=code), pytest.raises(DpkiError) as caught:
            write(path, b"content")
        assert caught.value.message == f"could not write {path}: {os.strerror(code)}"
        assert caught.value.hint.startswith(advice.format(path.parent))
        assert [other.name for other in path.parent.iterdir()] == ["other"]

    @writers
    def test_at_every_change(self, write: Write, path: Path) -> None:
        for refusal in walk(path.parent):
            path.unlink(missing_ok=True)
            if refused(lambda: write(path, b"content"), path.parent) is None:
                assert path.read_bytes() == b"content"
            assert leftovers(path.parent) == [], refusal.changes
        assert len(refusal.changes) >= 4


class TestCreating:
    def test_what_is_reported_as_failed_is_not_there(self, path: Path) -> None:
        for _ in walk(path.parent):
            if refused(lambda: create_atomic(path, b"content"), path.parent) is not None:
                assert not path.exists()
        assert path.read_bytes() == b"content"


class TestLookingAhead:
    def test_nothing_is_left(self, path: Path) -> None:
        verify_writable(path)
        assert list(path.parent.iterdir()) == []

    def test_a_disk_that_would_refuse(self, path: Path) -> None:
        for refusal in walk(path.parent):
            error = refused(lambda: verify_writable(path), path.parent)
            assert (error is not None) == refusal.happened
            assert list(path.parent.iterdir()) == []


class TestReplacing:
    def test_the_old_content_is_replaced_with_its_mode(self, path: Path) -> None:
        write_atomic(path, b"old", mode=PUBLIC)
        write_atomic(path, b"new")
        assert (path.read_bytes(), mode_of(path)) == (b"new", PRIVATE)

    def test_who_has_it_open_keeps_the_old_content(self, path: Path) -> None:
        write_atomic(path, b"old")
        with path.open("rb") as reader:
            write_atomic(path, b"new")
            assert reader.read() == b"old"

    def test_a_failure_keeps_the_old_content(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_atomic(path, b"old")
        monkeypatch.setattr(Path, "replace", _refuse)
        with pytest.raises(DpkiError, match="Operation not permitted"):
            write_atomic(path, b"new")
        assert path.read_bytes() == b"old"
        assert list(path.parent.iterdir()) == [path]

    def test_a_link_is_replaced_not_followed(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "target").write_bytes(b"target")
        path.symlink_to(tmp_path / "target")
        write_atomic(path, b"new")
        assert not path.is_symlink()
        assert (tmp_path / "target").read_bytes() == b"target"


class TestNeverReplacing:
    def test_an_existing_file_stays(self, path: Path) -> None:
        path.write_bytes(b"old")
        with pytest.raises(DpkiError, match="exists already and is not overwritten"):
            create_atomic(path, b"new")
        assert path.read_bytes() == b"old"
        assert list(path.parent.iterdir()) == [path]

    def test_so_does_a_link_that_leads_nowhere(self, path: Path, tmp_path: Path) -> None:
        path.symlink_to(tmp_path / "nowhere")
        with pytest.raises(DpkiError, match="not overwritten"):
            create_atomic(path, b"new")
        assert not (tmp_path / "nowhere").exists()


class TestReading:
    def test_up_to_the_limit(self, path: Path) -> None:
        path.write_bytes(b"12345")
        assert load_bounded(path, limit=5) == b"12345"
        with pytest.raises(DpkiError, match="larger than 4 bytes"):
            load_bounded(path, limit=4)

    def test_an_endless_file(self) -> None:
        with pytest.raises(DpkiError, match="larger"):
            load_bounded(Path("/dev/zero"), limit=10)

    def test_missing(self, path: Path) -> None:
        with pytest.raises(DpkiError, match=r"could not read .*No such file"):
            load_bounded(path, limit=5)

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DpkiError, match="could not read"):
            load_bounded(tmp_path, limit=5)


class TestStages:
    def test_it_becomes_the_folder(self, path: Path) -> None:
        with staged(path, "making") as stage:
            assert mode_of(stage) == 0o700
            (stage / "x").touch()
            settle(stage, path)
        assert [found.name for found in path.parent.iterdir()] == ["file"]
        assert (path / "x").exists()

    def test_it_is_gone_when_it_did_not(self, path: Path) -> None:
        with staged(path, "making") as stage:
            (stage / "x").touch()
        assert list(path.parent.iterdir()) == []

    def test_at_every_change(self, path: Path) -> None:
        def make() -> None:
            with staged(path, "making") as stage, translated(path):
                create_atomic(stage / "x", b"content")
                settle(stage, path)

        for refusal in walk(path.parent):
            if refused(make, path.parent) is not None:
                assert list(path.parent.iterdir()) == [], refusal.changes
        assert (path / "x").read_bytes() == b"content"

    def test_what_killed_processes_left_is_swept_and_nothing_else(self, path: Path) -> None:
        left = path.with_name(".file.0123456789ab.making")
        (left / "deep").mkdir(parents=True)
        others = [".file.0123456789ab.other", ".file.x.making", ".fil.0123456789ab.making", "file2"]
        for name in others:
            path.with_name(name).mkdir()
        with staged(path, "making"):
            assert not left.exists()
        assert sorted(found.name for found in path.parent.iterdir()) == sorted(others)

    def test_a_living_process_keeps_its_own(self, path: Path) -> None:
        with staged(path, "making") as first, staged(path, "making") as second:
            assert first.exists()
            assert second.exists()


class TestFolders:
    def test_for_the_owner_only(self, tmp_path: Path) -> None:
        make_private_directory(tmp_path / "private")
        assert mode_of(tmp_path / "private") == 0o700

    def test_with_parents(self, tmp_path: Path) -> None:
        make_private_directory(tmp_path / "a" / "b")
        assert (tmp_path / "a" / "b").is_dir()

    def test_an_existing_one_is_left_as_it_is(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o755)
        make_private_directory(tmp_path)
        assert mode_of(tmp_path) == 0o755

    def test_syncing_needs_a_folder(self, tmp_path: Path) -> None:
        fsync_directory(tmp_path)
        with pytest.raises(OSError, match="No such file"):
            fsync_directory(tmp_path / "missing")


def _refuse(*_: object) -> None:
    raise OSError(1, "Operation not permitted")
