"""Whose certificates are issued again: pure, by what the journal and the chain say."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from dpki.issuance.reissue import plan_renewals
from dpki.issuance.standing import Standing
from dpki.model import Address

NOBODY = Address.zero()
GATE = Address(b"\x01" * 20)
A, R, E, V, U, W = (
    Standing.ANCHORED,
    Standing.REVOKED,
    Standing.EXPIRED,
    Standing.VOID,
    Standing.UNFINISHED,
    Standing.AWAITING,
)


@dataclass(frozen=True)
class Parsed:
    principals: tuple[str, ...]
    subject_key: bytes


@dataclass(frozen=True)
class Fake:
    serial: int
    subject: str = "alice"
    key: bytes = b"k"
    principals: tuple[str, ...] = ("ops",)
    device: Address = NOBODY

    @property
    def certificate(self) -> Parsed:
        return Parsed(self.principals, self.key)


def due(old: list[tuple[Fake, Standing]], new: list[tuple[Fake, Standing]]) -> list[int]:
    return [c.serial for c in plan_renewals(old, new).due]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "expected"),
    [
        ([], []),
        ([A], [1]),
        ([A, A], [2]),
        ([A, R], []),
        ([R, A], [2]),
        ([A, E], [1]),
        ([A, V], [1]),
        ([A, U], [1]),
        ([W], [1]),
        ([A, W], [2]),
        ([W, R], []),
        ([E], []),
    ],
)
def test_the_newest_of_a_holder_counts(old: list[Standing], expected: list[int]) -> None:
    assert due([(Fake(i), s) for i, s in enumerate(old, 1)], []) == expected


@pytest.mark.parametrize(
    ("new", "expected"), [([A], []), ([U], []), ([E], [1]), ([V], [1]), ([R], []), ([R, A], [])]
)
def test_whoever_has_one_is_passed_over(new: list[Standing], expected: list[int]) -> None:
    assert due([(Fake(1), A)], [(Fake(i), s) for i, s in enumerate(new, 1)]) == expected


def test_other_keys_and_principals_are_other_grants() -> None:
    old = [
        (Fake(1), A),
        (Fake(2, key=b"other"), A),
        (Fake(3, principals=("root",)), A),
        (Fake(4, subject="bob"), A),
    ]
    assert due(old, []) == [1, 2, 3, 4]
    assert due(old, [(Fake(1, principals=("ops",)), A)]) == [2, 3, 4]


def test_a_device_is_one_holder_whatever_its_key() -> None:
    old = [(Fake(1, device=GATE, key=b"old"), A), (Fake(2, device=GATE, key=b"new"), A)]
    assert due(old, []) == [2]
    found = plan_renewals(old, [(Fake(1, device=GATE, key=b"newest"), A)])  # type: ignore[arg-type]
    assert (found.due, [c.serial for c in found.done], found.replaced) == ((), [2], (1, 2))


def test_one_that_was_taken_back_is_told() -> None:
    found = plan_renewals([(Fake(1), A)], [(Fake(9), R)])  # type: ignore[arg-type]
    assert [c.serial for c in found.refused] == [1]
