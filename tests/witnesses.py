"""Witnesses for tests: keys, statements, and folders of what they published."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.config.witnesses import Witness
from dpki.model import DomainId, Hash32
from dpki.note import VerifierKey
from dpki.verification.checkpoint import Checkpoint, sign_checkpoint
from dpki.verification.witnesses import Statement
from dpki.witness.source import LATEST, folder_of
from tests.world import DOMAIN


def checkpoint(
    number: int,
    *,
    domain: DomainId = DOMAIN.id,
    block: Hash32 | None = None,
    state: int = 0,
) -> Checkpoint:
    """Return a checkpoint whose block hash follows from its number, as in `tests.world`."""
    hash = Hash32(number.to_bytes(32)) if block is None else block
    return Checkpoint(domain, number, hash, Hash32(state.to_bytes(32)))


@dataclass
class Witnessing:
    """A witness with its private key, which signs whatever it is asked to."""

    name: str
    secret: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def key(self) -> VerifierKey:
        return VerifierKey(self.name, Hash32(self.secret.public_key().public_bytes_raw()))

    def note(self, seen: Checkpoint) -> bytes:
        return sign_checkpoint(seen, self.name, self.secret)

    def says(self, seen: Checkpoint) -> Statement:
        return Statement(self.key, seen, self.note(seen))

    def publishes(self, folder: Path, *seen: Checkpoint) -> Witness:
        """Put signed checkpoints into a folder, the last one as the latest; return the witness."""
        for one in seen:
            place = folder / folder_of(one.domain)
            place.mkdir(parents=True, exist_ok=True)
            (place / str(one.number)).write_bytes(self.note(one))
            (place / LATEST).write_bytes(self.note(one))
        return Witness(self.key, str(folder))
