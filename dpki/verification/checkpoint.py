"""Checkpoints: what an auditor saw of a domain at one block, signed (docs/formats.md, Checkpoint).

The text depends on domain and block alone, with no clock in it: honest witnesses of one block sign
the very same text, and two texts of one witness for one block prove that it misbehaved. It reads as
a https://c2sp.org/tlog-checkpoint too, so that others' tools can keep and cosign it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.errors import MalformedInput
from dpki.model import DomainId, Hash32
from dpki.note import VerifierKey, sign_note, verify_note

_LAST_BLOCK = 2**63 - 1
_TEXT = re.compile(
    r"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\ndpki v1 block (0x[0-9a-f]{64})\n"
)


@dataclass(frozen=True)
class Checkpoint:
    """What was seen.

    Attributes:
        number: The block's number.
        block_hash: Its hash, which binds all of the chain before it.
        state_digest: Of what the domain's events up to and with that block come to.
    """

    domain: DomainId
    number: int
    block_hash: Hash32
    state_digest: Hash32

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Parse the text of a checkpoint.

        Raises:
            MalformedInput: It is anything else than what `str` gives.
        """
        match = _TEXT.fullmatch(text)
        if match is None or int(match[2]) > _LAST_BLOCK:
            raise MalformedInput("this is not the text of a checkpoint")
        digest = Hash32(base64.b64decode(match[3]))
        checkpoint = cls(DomainId.parse(match[1]), int(match[2]), Hash32.parse(match[4]), digest)
        if str(checkpoint) != text:
            raise MalformedInput("the checkpoint is spelled otherwise than dpki does")
        return checkpoint

    def __str__(self) -> str:
        """Return the text that is signed."""
        digest = base64.b64encode(self.state_digest).decode()
        return f"{self.domain}\n{self.number}\n{digest}\ndpki v1 block {self.block_hash}\n"

    def contradicts(self, other: Checkpoint) -> bool:
        """Whether both can't be true: they are of one block number and say different things."""
        return (self.domain, self.number) == (other.domain, other.number) and self != other


def sign_checkpoint(checkpoint: Checkpoint, name: str, key: Ed25519PrivateKey) -> bytes:
    """Return the checkpoint as a note, signed under `name`.

    That this witness never signs two for one block is the caller's to see to.

    Raises:
        MalformedInput: The name can't name a key.
    """
    return sign_note(str(checkpoint), name, key)


def verify_checkpoint(note: bytes, keys: Sequence[VerifierKey], needed: int = 1) -> Checkpoint:
    """Return the checkpoint that at least `needed` of the keys signed.

    Of which domain it is, the caller compares.

    Raises:
        MalformedInput: It is no signed note, or no checkpoint.
        SignatureInvalid: Fewer signed it, or a signature does not verify.
        UsageError: So many keys are not there, or one key stands there twice.
    """
    return Checkpoint.parse(verify_note(note, keys, needed))
