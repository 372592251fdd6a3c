"""Publishing checkpoints: which blocks to sign, and never two for one block."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.errors import CheckedFalse, ConfigError, WouldContradict
from dpki.files import (
    PUBLIC,
    create_atomic,
    load_bounded,
    make_private_directory,
    translated,
    write_atomic,
)
from dpki.locks import hold
from dpki.model import DomainId, Hash32
from dpki.note import SIZE_LIMIT, VerifierKey
from dpki.verification.checkpoint import Checkpoint, sign_checkpoint
from dpki.verification.witnesses import Statement
from dpki.witness.source import LATEST, folder_of

EVERY = 256
"""Blocks between two checkpoints, where nobody says otherwise."""

AT_ONCE = 16
"""Checkpoints for the time since the last ones, at most (one more where it begins in between)."""


def blocks_to_sign(after: int, newest: int, every: int = EVERY) -> list[int]:
    """Return the numbers of the blocks to sign, oldest first.

    Witnesses that come by at different times must meet in common blocks. So each signs all the
    multiples of `every` since it was last here; and where those are too many, of twice as much, and
    so on. Two of them then meet in the newest multiple of the larger step before which both were
    here.

    Args:
        after: The newest block that was signed, or the one before the first that can be.
        newest: The newest block that is final.
        every: Of witnesses of one domain the same, or powers of two times the same.
    """
    step = every
    while (newest - after) // step > AT_ONCE:
        step *= 2
    return list(range(after - after % step + step, newest + 1, step))


@dataclass(frozen=True)
class Publication:
    """The folder that a witness's checkpoints are served from. One witness to a folder.

    Attributes:
        folder: For any web server, `ipfs add -r`, or a stick.
    """

    folder: Path
    name: str
    key: Ed25519PrivateKey

    @property
    def public_key(self) -> VerifierKey:
        """Whom to name as the witness."""
        return VerifierKey(self.name, Hash32(self.key.public_key().public_bytes_raw()))

    def newest(self, domain: DomainId) -> Checkpoint | None:
        """Return the newest checkpoint of the domain that was signed here.

        Raises:
            ConfigError: The folder holds something else.
        """
        return self._load(self.folder / folder_of(domain) / LATEST, domain)

    def publish(self, checkpoint: Checkpoint) -> Path:
        """Sign a checkpoint and put it where it is served from.

        The same again changes nothing. Killed at any moment, it can be done again.

        Raises:
            WouldContradict: This witness has signed another one for that block, or has signed a
                later block already, so that nobody can tell.
            ConfigError: The folder holds something else.
            DpkiError: The disk refused.
        """
        place = self.folder / folder_of(checkpoint.domain)
        make_private_directory(place)
        with translated(place, "nothing was signed"):
            for path in (self.folder, place):
                path.chmod(0o755)
        path = place / str(checkpoint.number)
        with hold(self.folder / ".lock"):
            earlier = self._load(path, checkpoint.domain)
            latest = self.newest(checkpoint.domain)
            if earlier is not None:
                self._refuse_another(earlier, checkpoint)
            elif latest is not None and latest.number >= checkpoint.number:
                raise WouldContradict(
                    f"block {latest.number} was signed already, and block {checkpoint.number} is"
                    " not after it",
                    hint="nothing was signed; a witness only goes forward",
                )
            else:
                create_atomic(path, sign_checkpoint(checkpoint, self.name, self.key), mode=PUBLIC)
            if latest is None or latest.number < checkpoint.number:
                write_atomic(place / LATEST, load_bounded(path, limit=SIZE_LIMIT), mode=PUBLIC)
        return path

    def _refuse_another(self, earlier: Checkpoint, checkpoint: Checkpoint) -> None:
        if earlier != checkpoint:
            raise WouldContradict(
                f"this witness signed another checkpoint for block {checkpoint.number}: then block"
                f" {earlier.block_hash}, state {earlier.state_digest}; now block"
                f" {checkpoint.block_hash}, state {checkpoint.state_digest}",
                hint="nothing was signed; one of the two is wrong: ask other endpoints and other"
                " witnesses which",
            )

    def _load(self, path: Path, domain: DomainId) -> Checkpoint | None:
        if not path.exists():
            return None
        try:
            note = load_bounded(path, limit=SIZE_LIMIT)
            return Statement.parse(note, self.public_key, domain).checkpoint
        except CheckedFalse as error:
            raise ConfigError(
                f"{path} is no checkpoint that {self.name} signed: {error.message}",
                hint="publish each witness to a folder of its own",
            ) from error
