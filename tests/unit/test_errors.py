from __future__ import annotations

import inspect

import pytest

from dpki import errors
from dpki.errors import (
    CheckedFalse,
    CouldNotCheck,
    DpkiError,
    NotAllowed,
    TransactionForbidden,
    TransactionReverted,
    UsageError,
)

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
EVERY = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
# docs/architecture.md
STATUS = {
    DpkiError: 1,
    UsageError: 2,
    CheckedFalse: 3,
    NotAllowed: 4,
    CouldNotCheck: 5,
}


def make(kind: type[DpkiError]) -> DpkiError:
    if issubclass(kind, TransactionReverted):
        return kind("SomethingWrong", {"value": 7}, hint="do this")
    return kind("what happened", hint="do this")


@EVERY
def test_there_is_one_tree(kind: type) -> None:
    assert issubclass(kind, DpkiError)


@EVERY
def test_the_family_decides_the_exit_status(kind: type[DpkiError]) -> None:
    families = [status for family, status in STATUS.items() if issubclass(kind, family)]
    assert kind.exit_status == max(families)


@EVERY
def test_no_and_could_not_check_never_mix(kind: type[DpkiError]) -> None:
    # claim T11
    assert not (issubclass(kind, CheckedFalse) and issubclass(kind, CouldNotCheck))


@EVERY
def test_message_and_hint_are_there_to_be_shown(kind: type[DpkiError]) -> None:
    error = make(kind)
    assert str(error) == error.message
    assert error.message
    assert error.hint == "do this"


@EVERY
def test_each_says_what_it_means(kind: type[DpkiError]) -> None:
    assert kind.__doc__
    assert kind.__doc__.split("\n")[0].rstrip().endswith(".")


def test_a_hint_is_not_needed() -> None:
    assert DpkiError("what happened").hint == ""


class TestReverts:
    def test_they_say_name_and_values_in_order(self) -> None:
        error = TransactionReverted("Unexpected", {"ca": "0x12", "given": 3, "expected": 4})
        assert str(error) == "the contract refused: Unexpected(ca=0x12, given=3, expected=4)"
        assert error.name == "Unexpected"
        assert error.values == {"ca": "0x12", "given": 3, "expected": 4}

    def test_without_values(self) -> None:
        assert str(TransactionReverted("Zero", {})) == "the contract refused: Zero()"

    def test_being_refused_as_a_caller_is_both(self) -> None:
        error = TransactionForbidden("Unauthorized", {"caller": "0x12"})
        assert isinstance(error, NotAllowed)
        assert isinstance(error, TransactionReverted)
        assert error.exit_status == 4
