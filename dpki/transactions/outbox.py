"""What an account has sent and not yet seen in a block, for whoever comes after a crash.

In the user's state folder, by chain and account, so that every home and every command of the same
user with the same wallet finds it: a lock, and a file with the newest transaction of each number.
Nothing in it is secret: it was, or was about to be, given to a node.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from dpki.errors import DpkiError
from dpki.files import load_bounded, make_private_directory, state_folder, write_atomic
from dpki.locks import Turn, hold
from dpki.model import Address, from_timestamp, to_timestamp

_VERSION = 1
_LIMIT = 16 * 1024 * 1024
"""A hundred of the largest transactions that nodes take."""


@dataclass(frozen=True)
class Sent:
    """A transaction that was sent, or was about to be.

    Attributes:
        nonce: Its number.
        raw: Its bytes.
        doing: The command that sent it.
        time: When.
    """

    nonce: int
    raw: bytes
    doing: str
    time: datetime


class Outbox:
    """One account's, on one chain. All but `load` is for who holds its lock."""

    def __init__(self, chain_id: int, account: Address) -> None:
        self._folder = state_folder("wallets")
        self._file = self._folder / f"{chain_id}-{str(account).lower()}.json"

    @contextmanager
    def hold(self, turn: Turn) -> Iterator[None]:
        """Be the only one of this user that sends with the account, for the block.

        Two that ask for the account's next number at once would get the same.

        Raises:
            DpkiError: Another held it all the time, or the folder can't be written.
        """
        try:
            make_private_directory(self._folder)
        except DpkiError as error:
            raise DpkiError(
                error.message, hint="nothing was sent; name another folder with XDG_STATE_HOME"
            ) from error
        with hold(self._file.with_suffix(".lock"), turn):
            yield

    def load(self) -> tuple[Sent, ...]:
        """Return what is recorded, by number; nothing where the file is missing or damaged."""
        try:
            document = json.loads(load_bounded(self._file, limit=_LIMIT))
            if document["version"] != _VERSION:
                return ()
            sent = [
                Sent(
                    int(one["nonce"]),
                    bytes.fromhex(one["raw"]),
                    str(one["doing"]),
                    from_timestamp(one["time"]),
                )
                for one in document["sent"]
            ]
        except (DpkiError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
            # The chain knows what counts; this only says more about it.
            return ()
        return tuple(sorted(sent, key=lambda one: one.nonce))

    def find(self, nonce: int) -> Sent | None:
        """Return what is recorded under a number."""
        return next((one for one in self.load() if one.nonce == nonce), None)

    def record(self, nonce: int, raw: bytes, doing: str) -> None:
        """Record what is about to be sent, in place of what had its number."""
        others = [one for one in self.load() if one.nonce != nonce]
        self._save([*others, Sent(nonce, raw, doing, datetime.now(UTC))])

    def forget(self, below: int) -> None:
        """Forget the numbers below one: they are used."""
        sent = self.load()
        left = [one for one in sent if one.nonce >= below]
        if len(left) < len(sent):
            self._save(left)

    def restore(self, nonce: int, before: Sent | None) -> None:
        """Undo `record`: what had the number before has it still."""
        others = [one for one in self.load() if one.nonce != nonce]
        self._save(others if before is None else [*others, before])

    def _save(self, sent: list[Sent]) -> None:
        document = {
            "version": _VERSION,
            "sent": [
                {
                    "nonce": one.nonce,
                    "raw": one.raw.hex(),
                    "doing": one.doing,
                    "time": to_timestamp(one.time),
                }
                for one in sent
            ],
        }
        # A revocation must not wait for room on a disk, and the chain knows what is under way.
        with suppress(DpkiError):
            write_atomic(self._file, json.dumps(document).encode())
