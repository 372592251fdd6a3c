"""What witnesses said, judged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dpki.errors import MalformedInput, SignatureInvalid, WrongContext
from dpki.model import Hash32
from dpki.verification.witnesses import (
    Answer,
    Confirmation,
    Equivocation,
    Opinion,
    Outcome,
    Seen,
    Statement,
    compare_with_each_other,
    find_equivocations,
    form_opinion,
    newest_agreed,
    trusted,
)
from tests.witnesses import Witnessing, checkpoint
from tests.world import DOMAIN

A, B, C = Witnessing("a"), Witnessing("b"), Witnessing("c")
OTHER = Hash32(b"\xee" * 32)
SEEN = Seen({n: checkpoint(n).block_hash for n in range(10, 31)}, {}, oldest=20)


class TestAStatement:
    def test_is_what_this_witness_signed_of_this_domain(self) -> None:
        seen = checkpoint(7)
        assert Statement.parse(A.note(seen), A.key, DOMAIN.id) == A.says(seen)

    def test_of_another_witness_is_none(self) -> None:
        with pytest.raises(SignatureInvalid):
            Statement.parse(A.note(checkpoint(7)), B.key, DOMAIN.id)

    def test_of_another_domain_is_none(self) -> None:
        other = replace(DOMAIN.id, chain_id=1)
        with pytest.raises(WrongContext, match="of a is of another trust domain"):
            Statement.parse(A.note(checkpoint(7, domain=other)), A.key, DOMAIN.id)

    def test_that_is_no_checkpoint_is_none(self) -> None:
        with pytest.raises(MalformedInput):
            Statement.parse(b"hello\n", A.key, DOMAIN.id)

    def test_has_one_digest_whoever_else_signed(self) -> None:
        assert A.says(checkpoint(7)).digest == B.says(checkpoint(7)).digest
        assert A.says(checkpoint(7)).digest != A.says(checkpoint(7, state=1)).digest


class TestEquivocation:
    @pytest.mark.parametrize("second", [checkpoint(7, state=1), checkpoint(7, block=OTHER)])
    def test_is_two_different_checkpoints_for_one_block(self, second: object) -> None:
        first, other = A.says(checkpoint(7)), A.says(second)  # type: ignore[arg-type]
        (proof,) = find_equivocations([first, A.says(checkpoint(8)), other, other])
        assert proof == Equivocation(first, other)
        assert str(proof) == "witness a signed two different checkpoints for block 7"

    def test_is_not_to_say_the_same_twice_nor_to_differ_from_others(self) -> None:
        said = [A.says(checkpoint(7)), A.says(checkpoint(7)), B.says(checkpoint(7, state=1))]
        other = replace(DOMAIN.id, chain_id=1)
        said.append(A.says(checkpoint(7, domain=other, state=1)))
        assert find_equivocations(said) == ()


class TestTheNewestThatEnoughSigned:
    def test_is_one_that_they_signed_to_the_letter(self) -> None:
        said = [A.says(checkpoint(8)), A.says(checkpoint(6)), B.says(checkpoint(6))]
        said += [C.says(checkpoint(8, state=1)), A.says(checkpoint(4)), B.says(checkpoint(4))]
        assert newest_agreed(said, 2) == checkpoint(6)
        assert newest_agreed(said, 3) is None

    def test_is_none_where_enough_stand_on_either_side(self) -> None:
        said = [A.says(checkpoint(8)), B.says(checkpoint(8, block=OTHER))]
        assert newest_agreed([*said, A.says(checkpoint(4))], 1) is None

    def test_counts_nobody_twice_and_nobody_who_misbehaved(self) -> None:
        said = [A.says(checkpoint(8)), A.says(checkpoint(8)), B.says(checkpoint(8))]
        assert newest_agreed(said[:2], 2) is None
        assert newest_agreed(trusted(said, {B.key}), 2) is None
        assert newest_agreed(trusted(said, set()), 2) == checkpoint(8)


def _opinion(*statements: Statement, seen: Seen = SEEN, misbehaved: bool = False) -> Opinion:
    return form_opinion(A.key, statements, seen, misbehaved=misbehaved, silence="")


class TestAnOpinion:
    def test_agrees_on_the_block(self) -> None:
        said = A.says(checkpoint(25))
        opinion = _opinion(said)
        assert opinion.answer is Answer.AGREES
        assert opinion.statement == said
        assert "nobody here recomputed the state" in opinion.reason

    def test_agrees_on_the_state_that_was_recomputed_however_old(self) -> None:
        said = A.says(checkpoint(12, state=5))
        seen = replace(SEEN, states={12: said.checkpoint.state_digest})
        opinion = _opinion(A.says(checkpoint(25)), said, seen=seen)
        assert opinion == Opinion(A.key, Answer.AGREES, "on block and state", said)

    def test_disagrees_on_the_block(self) -> None:
        opinion = _opinion(A.says(checkpoint(25)), A.says(checkpoint(12, block=OTHER)))
        assert opinion.answer is Answer.DISAGREES
        assert "block 12 is 0xee" in opinion.reason

    def test_disagrees_on_the_state(self) -> None:
        seen = replace(SEEN, states={12: OTHER})
        opinion = _opinion(A.says(checkpoint(12)), seen=seen)
        assert opinion.answer is Answer.DISAGREES
        assert "the state at block 12" in opinion.reason

    def test_is_stale(self) -> None:
        assert _opinion(A.says(checkpoint(12))).answer is Answer.STALE

    def test_is_silent(self) -> None:
        assert _opinion().answer is Answer.SILENT
        ahead = _opinion(A.says(checkpoint(99)))
        assert ahead.answer is Answer.SILENT
        assert "nothing about blocks that we see" in ahead.reason
        why = form_opinion(A.key, [], SEEN, misbehaved=False, silence="no answer in time")
        assert why.reason == "no answer in time"

    def test_of_one_that_contradicted_itself_counts_for_nothing(self) -> None:
        assert _opinion(A.says(checkpoint(25)), misbehaved=True).answer is Answer.MISBEHAVED


def test_two_that_sign_one_block_and_two_states_disagree() -> None:
    opinions = [
        Opinion(A.key, Answer.AGREES, "", A.says(checkpoint(25))),
        Opinion(B.key, Answer.AGREES, "", B.says(checkpoint(25, state=1))),
        Opinion(C.key, Answer.AGREES, "", C.says(checkpoint(24))),
        Opinion(C.key, Answer.SILENT),
    ]
    a, b, c, silent = compare_with_each_other(opinions)
    assert (a.answer, b.answer) == (Answer.DISAGREES, Answer.DISAGREES)
    assert "another state than b" in a.reason
    assert (c, silent) == tuple(opinions[2:])


AGREES, DISAGREES, MISBEHAVED, STALE, SILENT = (Opinion(A.key, answer) for answer in Answer)


@pytest.mark.parametrize(
    ("opinions", "needed", "outcome", "status"),
    [
        ((AGREES, AGREES), 2, Outcome.ALL_AGREE, 0),
        ((AGREES, SILENT), 1, Outcome.ALL_AGREE, 0),
        ((AGREES, SILENT), 2, Outcome.ALL_AGREE, 5),
        ((AGREES, STALE), 2, Outcome.ALL_AGREE, 5),
        ((AGREES, DISAGREES), 1, Outcome.MIXED, 3),
        ((AGREES, MISBEHAVED), 1, Outcome.MIXED, 3),
        ((DISAGREES, SILENT), 1, Outcome.ALL_DISAGREE, 3),
        ((SILENT, STALE), 1, Outcome.SILENT, 5),
    ],
)
def test_what_it_comes_to(
    opinions: tuple[Opinion, ...], needed: int, outcome: Outcome, status: int
) -> None:
    confirmation = Confirmation(opinions, needed)
    assert confirmation.outcome is outcome
    assert confirmation.exit_status == status


def test_as_plain_data() -> None:
    first, second = A.says(checkpoint(25)), A.says(checkpoint(25, state=1))
    opinion = Opinion(A.key, Answer.MISBEHAVED, "why", first)
    data = Confirmation((opinion, SILENT), 1, (Equivocation(first, second),)).to_json()
    assert (data["outcome"], data["asked"], data["needed"]) == ("all disagree", 2, 1)
    counts = [data[answer.value] for answer in Answer]
    assert counts == [0, 0, 1, 0, 1]
    witness, silent = data["witnesses"]  # type: ignore[misc]
    assert witness["block"] == 25
    assert witness["note"] == first.note.decode()
    assert (silent["block"], silent["note"], silent["reason"]) == (None, None, None)
    (proof,) = data["equivocations"]  # type: ignore[misc]
    assert proof["notes"] == [first.note.decode(), second.note.decode()]
