"""What witnesses have said, kept: who contradicts itself, even weeks apart, is convicted.

One file per statement, named by witness, domain, block and what was said, and never overwritten:

    <folder>/<SHA-256 of the key's text, 16 digits>/<the domain's folder>/<block number>-<16 digits>

Two files of one block are the proof, and stay for ever; of the others the newest are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from dpki.errors import CheckedFalse
from dpki.files import PUBLIC, create_atomic, load_bounded, make_private_directory, translated
from dpki.model import DomainId
from dpki.note import SIZE_LIMIT, VerifierKey
from dpki.verification.witnesses import Equivocation, Statement, find_equivocations
from dpki.witness.source import folder_of

KEPT = 256
"""Statements of a witness that are kept; those that convict it come on top."""

_NAME = re.compile(r"([0-9]{1,19})-[0-9a-f]{16}")


class Archive:
    """A folder of statements. Nothing of what lies in it is believed without its signature.

    Args:
        folder: Made when there is something to keep.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, statements: Iterable[Statement]) -> None:
        """Keep statements.

        Raises:
            DpkiError: The disk refused.
        """
        places: dict[Path, None] = {}
        for statement in statements:
            place = self._place(statement.key, statement.checkpoint.domain)
            path = place / f"{statement.checkpoint.number}-{statement.digest.hex()[:16]}"
            make_private_directory(place)
            places[place] = None
            if not path.exists():
                create_atomic(path, statement.note, mode=PUBLIC)
        for place in places:
            _prune(place)

    def equivocations(self, keys: Iterable[VerifierKey], domain: DomainId) -> list[Equivocation]:
        """Return the proofs against any of these witnesses, of what they said of a domain.

        Raises:
            DpkiError: What was kept can't be read.
        """
        proofs: list[Equivocation] = []
        for key in keys:
            files = _by_block(self._place(key, domain))
            said = [
                statement
                for paths in files.values()
                if len(paths) > 1
                for path in sorted(paths)
                if (statement := _load(path, key, domain)) is not None
            ]
            proofs += find_equivocations(said)
        return proofs

    def _place(self, key: VerifierKey, domain: DomainId) -> Path:
        return self._folder / sha256(str(key).encode()).hexdigest()[:16] / folder_of(domain)


def _by_block(place: Path) -> dict[int, list[Path]]:
    files: dict[int, list[Path]] = {}
    if place.is_dir():
        for path in place.iterdir():
            match = _NAME.fullmatch(path.name)
            if match is not None:
                files.setdefault(int(match[1]), []).append(path)
    return files


def _load(path: Path, key: VerifierKey, domain: DomainId) -> Statement | None:
    try:
        return Statement.parse(load_bounded(path, limit=SIZE_LIMIT), key, domain)
    except CheckedFalse:
        # Damaged, or put there by somebody else: it convicts nobody.
        return None


def _prune(place: Path) -> None:
    alone = {number: paths for number, paths in _by_block(place).items() if len(paths) == 1}
    for number in sorted(alone)[:-KEPT]:
        with translated(alone[number][0], "an old checkpoint that is no longer needed"):
            alone[number][0].unlink()


def describe(proof: Equivocation) -> str:
    """Return a proof as text that can be handed on: what happened, and the two notes."""
    notes = (proof.first.note.decode(), proof.second.note.decode())
    return "\n".join([f"{proof}:", "", *notes])
