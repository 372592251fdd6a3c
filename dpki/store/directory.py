"""A folder of blocks, named by their CIDs: for one machine, a shared mount, or a stick in a pocket.

It is no IPFS node: nobody else sees what is in it. Whoever puts the same bytes on one later gets
the same CIDs.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from dpki.bundle.cid import cid_of, digest_of
from dpki.errors import ContentMismatch, ContentUnavailable, DpkiError, StoreFailed
from dpki.files import PUBLIC, fsync_directory, write_atomic
from dpki.model import Hash32
from dpki.store.base import BLOCK_LIMIT, verify_block, verify_size


@dataclass(frozen=True)
class DirectoryStore:
    """A `BlockStore` in a folder, which the first `put` makes.

    Attributes:
        path: The folder. Its content is sealed, and readable by everybody.
    """

    path: Path

    @property
    def name(self) -> str:
        """What people see."""
        return f"directory {self.path}"

    @property
    def confirms_itself(self) -> bool:
        """True: there is no other way into a folder."""
        return True

    def fetch(self, digest: Hash32, deadline: timedelta, limit: int = BLOCK_LIMIT) -> bytes:
        """Return the block; see `BlockSource.fetch`. The deadline is the file system's matter."""
        cid = cid_of(digest)
        try:
            # Media may come from anywhere: no link out of the folder, no pipe that never ends.
            descriptor = os.open(self.path / cid, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise ContentUnavailable(f"{cid} in {self.name} is not a file")
                data = file.read(limit + 1)
        except FileNotFoundError as error:
            missing = "" if self.path.is_dir() else "; the folder does not exist"
            raise ContentUnavailable(
                f"{self.name} has no {cid}{missing}",
                hint="was it published there, and is the medium mounted?",
            ) from error
        except OSError as error:
            raise ContentUnavailable(
                f"{self.name} could not read {cid}: {error.strerror}"
            ) from error
        if len(data) > limit:
            raise ContentUnavailable(f"{cid} in {self.name} is larger than {limit} bytes")
        return verify_block(self.name, digest, data)

    def put(self, data: bytes) -> Hash32:
        """Keep a block; see `BlockStore.put`. A damaged file of that name is replaced."""
        digest = digest_of(verify_size(data))
        if not self.has(digest):
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                write_atomic(self.path / cid_of(digest), data, mode=PUBLIC)
            except (OSError, DpkiError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                raise StoreFailed(
                    f"{self.name} could not keep a block: {reason}",
                    hint="check free space and permissions",
                ) from error
        return digest

    def has(self, digest: Hash32) -> bool:
        """Return whether the block is here, undamaged."""
        try:
            self.fetch(digest, timedelta())
        except (ContentUnavailable, ContentMismatch):
            return False
        return True

    def remove(self, digest: Hash32) -> None:
        """Remove the block; see `BlockStore.remove`."""
        try:
            (self.path / cid_of(digest)).unlink()
            fsync_directory(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreFailed(
                f"{self.name} could not remove {cid_of(digest)}: {error.strerror}"
            ) from error
