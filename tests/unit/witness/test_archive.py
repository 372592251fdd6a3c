"""What witnesses said is kept, and convicts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpki.errors import DpkiError
from dpki.verification.checkpoint import verify_checkpoint
from dpki.witness import archive as archive_module
from dpki.witness.archive import Archive, describe
from tests.witnesses import Witnessing, checkpoint
from tests.world import DOMAIN

A, B = Witnessing("a"), Witnessing("b")
FIRST, SECOND = A.says(checkpoint(7)), A.says(checkpoint(7, state=1))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_two_that_contradict_each_other_convict_however_far_apart(tmp_path: Path) -> None:
    Archive(tmp_path).keep([FIRST, B.says(checkpoint(7))])
    assert Archive(tmp_path).equivocations([A.key, B.key], DOMAIN.id) == []
    Archive(tmp_path).keep([SECOND])
    (proof,) = Archive(tmp_path).equivocations([A.key, B.key], DOMAIN.id)
    assert {proof.first, proof.second} == {FIRST, SECOND}


def test_the_proof_can_be_handed_on(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.keep([FIRST, SECOND])
    (proof,) = archive.equivocations([A.key], DOMAIN.id)
    said = describe(proof)
    assert said.startswith("witness a signed two different checkpoints for block 7:\n")
    assert FIRST.note.decode() in said
    assert SECOND.note.decode() in said
    for note in (proof.first.note, proof.second.note):
        verify_checkpoint(note, [A.key])


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.keep([FIRST, SECOND])
    before = {path: path.stat().st_mtime_ns for path in _files(tmp_path)}
    archive.keep([SECOND, FIRST])
    assert {path: path.stat().st_mtime_ns for path in _files(tmp_path)} == before


def test_old_ones_go_and_proofs_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "KEPT", 3)
    archive = Archive(tmp_path)
    archive.keep([FIRST, SECOND])
    archive.keep(A.says(checkpoint(number)) for number in range(8, 20))
    names = sorted(path.name.split("-")[0] for path in _files(tmp_path))
    assert names == ["17", "18", "19", "7", "7"]
    assert len(archive.equivocations([A.key], DOMAIN.id)) == 1


def test_what_somebody_else_puts_there_convicts_nobody(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.keep([FIRST])
    (path,) = _files(tmp_path)
    path.with_name(f"7-{'0' * 16}").write_bytes(B.note(checkpoint(7, state=1)))
    path.with_name(f"7-{'1' * 16}").write_bytes(FIRST.note)
    path.with_name("notes.txt").write_text("hello")
    assert archive.equivocations([A.key], DOMAIN.id) == []


def test_a_disk_that_refuses_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DpkiError, match="could not write"):
        Archive(tmp_path / "file" / "x").keep([FIRST])
