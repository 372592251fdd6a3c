"""Asking witnesses whose checkpoints lie in folders."""

from __future__ import annotations

import os
import threading
from datetime import timedelta
from pathlib import Path

import pytest

import dpki.witness.gather as gather_module
from dpki.config.witnesses import Witnesses
from dpki.errors import CouldNotCheck
from dpki.http import Deadline, HttpClient
from dpki.model import DomainId
from dpki.verification.checkpoint import Checkpoint
from dpki.witness.archive import Archive
from dpki.witness.gather import Said, gather
from dpki.witness.source import LATEST, CheckpointSource, folder_of
from tests.witnesses import Witnessing, checkpoint
from tests.world import DOMAIN

A, B, C = Witnessing("a"), Witnessing("b"), Witnessing("c")


class Asked:
    """Three folders, and what comes of asking them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def publish(self, witness: Witnessing, *seen: Checkpoint) -> None:
        witness.publishes(self.folder / witness.name, *seen)

    def gather(self, needed: int = 2, blocks: tuple[int, ...] = ()) -> Said:
        named = [w.publishes(self.folder / w.name) for w in (A, B, C)]
        archive = Archive(self.folder / "seen")
        return gather(named, DOMAIN.id, archive, needed=needed, blocks=blocks)


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(tmp_path)


def test_enough_signed_the_latest(asked: Asked) -> None:
    asked.publish(A, checkpoint(8))
    asked.publish(B, checkpoint(8))
    said = asked.gather()
    assert said.agreed(2) == checkpoint(8)
    assert said.agreed(3) is None
    assert "has no checkpoint" in said.silences[C.key]


def test_those_ahead_are_asked_about_the_block_of_those_behind(asked: Asked) -> None:
    asked.publish(A, checkpoint(4), checkpoint(8))
    asked.publish(B, checkpoint(2), checkpoint(4))
    asked.publish(C, checkpoint(2))
    assert asked.gather(2).agreed(2) == checkpoint(4)
    asked.publish(A, checkpoint(2), checkpoint(8))
    assert asked.gather(3).agreed(3) == checkpoint(2)


def test_about_a_block_that_is_named_all_are_asked(asked: Asked) -> None:
    asked.publish(A, checkpoint(4), checkpoint(8))
    said = asked.gather(blocks=(4,))
    assert {s.checkpoint.number for s in said.statements} == {4, 8}


def test_a_witness_with_a_foreign_file_is_silent(asked: Asked) -> None:
    asked.publish(A, checkpoint(8))
    asked.publish(B, checkpoint(8))
    (asked.folder / "b" / folder_of(DOMAIN.id) / LATEST).write_bytes(A.note(checkpoint(8)))
    said = asked.gather()
    assert said.agreed(2) is None
    assert "must have signed" in said.silences[B.key]


def test_a_checkpoint_under_another_number_is_none(asked: Asked) -> None:
    asked.publish(A, checkpoint(4), checkpoint(8))
    place = asked.folder / "a" / folder_of(DOMAIN.id)
    (place / "6").write_bytes((place / "4").read_bytes())
    said = asked.gather(blocks=(6,))
    assert [s.checkpoint.number for s in said.statements] == [8]
    assert "another block than 6" in said.silences[A.key]


def test_who_contradicts_itself_counts_no_more(asked: Asked) -> None:
    asked.publish(A, checkpoint(8))
    asked.publish(B, checkpoint(8))
    assert asked.gather().agreed(2) == checkpoint(8)
    asked.publish(B, checkpoint(8, state=1))
    asked.gather()
    # and not later either, whatever it then says
    for witness in (A, B):
        asked.publish(witness, checkpoint(16))
    said = asked.gather()
    assert said.misbehaved == {B.key}
    assert said.agreed(2) is None
    asked.publish(C, checkpoint(16))
    assert asked.gather().agreed(2) == checkpoint(16)


def test_a_pipe_that_never_ends_holds_nobody_up(asked: Asked) -> None:
    asked.publish(A, checkpoint(8))
    place = asked.folder / "b" / folder_of(DOMAIN.id)
    place.mkdir(parents=True)
    os.mkfifo(place / LATEST)
    named = [w.publishes(asked.folder / w.name) for w in (A, B)]
    said = gather(
        named, DOMAIN.id, Archive(asked.folder / "x"), needed=1, deadline=timedelta(seconds=5)
    )
    assert said.agreed(1) == checkpoint(8)
    assert "is not a file" in said.silences[B.key]


class Stalling:
    """A source that answers when it is told to."""

    def __init__(self) -> None:
        self.name = "stalling"
        self.told = threading.Event()

    def fetch(self, domain: DomainId, which: str, deadline: Deadline) -> bytes | None:
        self.told.wait(20)
        return None


def test_who_stalls_holds_nobody_up_once_enough_have_spoken(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalling = Stalling()
    real = gather_module.open_source

    def open_source(place: str, client: HttpClient) -> CheckpointSource:
        return stalling if place.endswith("/c") else real(place, client)

    monkeypatch.setattr(gather_module, "open_source", open_source)
    asked.publish(A, checkpoint(8))
    asked.publish(B, checkpoint(8))
    named = [w.publishes(asked.folder / w.name) for w in (A, B, C)]
    said = gather(
        named,
        DOMAIN.id,
        Archive(asked.folder / "x"),
        needed=2,
        deadline=timedelta(hours=1),
        patience=timedelta(milliseconds=10),
    )
    stalling.told.set()
    assert said.agreed(2) == checkpoint(8)
    assert "did not answer in time" in said.silences[C.key]


def test_what_is_missing_is_said_with_the_reasons(asked: Asked) -> None:
    asked.publish(A, checkpoint(8))
    asked.publish(B, checkpoint(8), checkpoint(8, state=1))
    named = tuple(w.publishes(asked.folder / w.name) for w in (A, B, C))
    with pytest.raises(CouldNotCheck, match=r"no block that 2 of 3 witnesses signed; c: .*"):
        asked.gather().required(Witnesses(named, 2))
