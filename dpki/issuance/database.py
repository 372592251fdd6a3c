"""The admin's database: one SQLite file with the journal and the index of names.

Write-ahead logging with `synchronous = FULL`: what was committed survives a power cut, which is
what the journal is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dpki.errors import DpkiError
from dpki.model import DomainId
from dpki.sqlite import DomainDatabase, Schema

Row = Sequence[object]
Scalar = int | str | bytes | None

_SCHEMA = """
CREATE TABLE domain (
  id TEXT NOT NULL
) STRICT;

CREATE TABLE authorities (
  name TEXT PRIMARY KEY,
  id BLOB NOT NULL UNIQUE CHECK (length(id) = 32)
) STRICT;

CREATE TABLE devices (
  name TEXT PRIMARY KEY,
  address BLOB NOT NULL UNIQUE CHECK (length(address) = 20),
  document BLOB NOT NULL
) STRICT;

CREATE TABLE batches (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  authority BLOB NOT NULL CHECK (length(authority) = 32),
  first_serial INTEGER NOT NULL CHECK (first_serial BETWEEN 1 AND 4294967295),
  count INTEGER NOT NULL CHECK (count BETWEEN 1 AND 1000),
  state TEXT NOT NULL CHECK (state IN ('issued', 'sealed', 'published', 'anchored', 'void')),
  reason TEXT NOT NULL DEFAULT '',
  successor INTEGER,
  transaction_hash BLOB CHECK (length(transaction_hash) = 32),
  block_number INTEGER
) STRICT;

CREATE TABLE certificates (
  batch INTEGER NOT NULL REFERENCES batches (number),
  serial INTEGER NOT NULL,
  subject TEXT NOT NULL,
  device BLOB NOT NULL CHECK (length(device) = 20),
  certificate BLOB NOT NULL,
  pair_made_here INTEGER NOT NULL CHECK (pair_made_here IN (0, 1)),
  release TEXT,
  not_after INTEGER,
  locator BLOB CHECK (length(locator) = 32),
  bundle BLOB,
  released INTEGER NOT NULL DEFAULT 0 CHECK (released IN (0, 1)),
  PRIMARY KEY (batch, serial)
) STRICT;

CREATE INDEX certificates_of_device ON certificates (device);

-- What must never happen whatever the program does: a serial in two batches that are not void, a
-- void batch that comes back, a certificate released before it is anchored.
CREATE TRIGGER serials_once BEFORE INSERT ON batches
WHEN EXISTS (
  SELECT 1 FROM batches WHERE authority = NEW.authority AND state <> 'void'
  AND first_serial < NEW.first_serial + NEW.count AND NEW.first_serial < first_serial + count
)
BEGIN SELECT RAISE(ABORT, 'a serial of this batch is in another one'); END;

CREATE TRIGGER void_for_ever BEFORE UPDATE OF state ON batches WHEN OLD.state = 'void'
BEGIN SELECT RAISE(ABORT, 'a void batch stays void'); END;

CREATE TRIGGER anchored_before_released BEFORE UPDATE OF released ON certificates
WHEN NEW.released = 1 AND NOT EXISTS (
  SELECT 1 FROM batches WHERE number = NEW.batch AND state = 'anchored'
)
BEGIN SELECT RAISE(ABORT, 'only anchored certificates are released'); END;

CREATE TRIGGER batches_for_ever BEFORE DELETE ON batches
BEGIN SELECT RAISE(ABORT, 'the journal forgets nothing'); END;

CREATE TRIGGER certificates_for_ever BEFORE DELETE ON certificates
BEGIN SELECT RAISE(ABORT, 'the journal forgets nothing'); END;
"""

_PLACEMENTS = """
CREATE TABLE placements (
  batch INTEGER NOT NULL,
  serial INTEGER NOT NULL,
  store TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('kept', 'pending', 'removed')),
  PRIMARY KEY (batch, serial, store),
  FOREIGN KEY (batch, serial) REFERENCES certificates (batch, serial)
) STRICT;
"""

_LABELS = """
CREATE TABLE labels (
  device BLOB NOT NULL REFERENCES devices (address),
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (device, key)
) STRICT;
"""

_PREKEYS = """
CREATE TABLE prekeys (
  batch INTEGER NOT NULL,
  serial INTEGER NOT NULL,
  device BLOB NOT NULL CHECK (length(device) = 20),
  number INTEGER NOT NULL CHECK (number BETWEEN 1 AND 4294967295),
  x25519 BLOB NOT NULL CHECK (length(x25519) = 32),
  PRIMARY KEY (batch, serial),
  FOREIGN KEY (batch, serial) REFERENCES certificates (batch, serial)
) STRICT;

CREATE INDEX prekeys_of_device ON prekeys (device, number);

-- A one-time key is for one certificate; one that will never be anchored does not count.
CREATE TRIGGER prekeys_once BEFORE INSERT ON prekeys
WHEN EXISTS (
  SELECT 1 FROM prekeys JOIN batches ON batches.number = prekeys.batch
  WHERE prekeys.device = NEW.device AND prekeys.number = NEW.number AND batches.state <> 'void'
)
BEGIN SELECT RAISE(ABORT, 'this one-time key is used already'); END;

CREATE TRIGGER prekeys_for_ever BEFORE DELETE ON prekeys
BEGIN SELECT RAISE(ABORT, 'the journal forgets nothing'); END;
"""

_REPLACEMENTS = """
CREATE TABLE replacements (
  old BLOB PRIMARY KEY CHECK (length(old) = 20),
  new BLOB NOT NULL UNIQUE CHECK (length(new) = 20 AND new <> old),
  name TEXT NOT NULL,
  begun INTEGER NOT NULL,
  done INTEGER NOT NULL DEFAULT 0 CHECK (done IN (0, 1))
) STRICT;

CREATE TRIGGER replaced_for_ever BEFORE UPDATE ON replacements WHEN OLD.done = 1
BEGIN SELECT RAISE(ABORT, 'this device is replaced already'); END;
"""

_ACKNOWLEDGEMENTS = """
CREATE TABLE acknowledgements (
  device BLOB PRIMARY KEY CHECK (length(device) = 20),
  sequence INTEGER NOT NULL CHECK (sequence >= 1),
  digest BLOB NOT NULL CHECK (length(digest) = 32),
  block INTEGER NOT NULL,
  mode TEXT NOT NULL CHECK (mode IN ('strict', 'files')),
  prekeys INTEGER NOT NULL,
  taken INTEGER NOT NULL
) STRICT;

CREATE TRIGGER acknowledgements_rise BEFORE UPDATE ON acknowledgements
WHEN NEW.sequence <= OLD.sequence
BEGIN SELECT RAISE(ABORT, 'this device has said something newer'); END;

CREATE TABLE acknowledged (
  device BLOB NOT NULL CHECK (length(device) = 20),
  authority BLOB NOT NULL CHECK (length(authority) = 32),
  serial INTEGER NOT NULL CHECK (serial BETWEEN 1 AND 4294967295),
  hash BLOB NOT NULL CHECK (length(hash) = 32),
  stage TEXT NOT NULL CHECK (stage IN ('fetched', 'installed')),
  PRIMARY KEY (device, authority, serial, hash)
) STRICT;
"""

_TOKENS = """
CREATE TABLE tokens (
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  request_key BLOB NOT NULL CHECK (length(request_key) = 32),
  answer_key BLOB NOT NULL CHECK (length(answer_key) = 32),
  name TEXT NOT NULL,
  labels TEXT NOT NULL,
  expires INTEGER NOT NULL,
  device BLOB CHECK (length(device) = 20),
  request BLOB CHECK (length(request) = 32),
  block INTEGER CHECK (block IS NULL OR device IS NOT NULL)
) STRICT;

-- A token is for one device, and for one request of it once that device is enrolled.
CREATE TRIGGER tokens_once BEFORE UPDATE ON tokens
WHEN OLD.device IS NOT NULL AND NEW.device IS NOT OLD.device
OR OLD.block IS NOT NULL AND (NEW.request IS NOT OLD.request OR NEW.block IS NOT OLD.block)
BEGIN SELECT RAISE(ABORT, 'this token is used already'); END;

CREATE TRIGGER tokens_for_ever BEFORE DELETE ON tokens
BEGIN SELECT RAISE(ABORT, 'the journal forgets nothing'); END;
"""

_OPENED = """
-- The batch of what a device named as only who opened it can; 0 for earlier acknowledgements, which
-- named a certificate by its hash on chain.
ALTER TABLE acknowledged ADD COLUMN opened INTEGER NOT NULL DEFAULT 0;

-- The last batch that was begun before the document had the sealing keys that it has.
ALTER TABLE devices ADD COLUMN sealed_after INTEGER NOT NULL DEFAULT 0;
"""

SCHEMA = Schema(
    "the journal",
    (_SCHEMA, _PLACEMENTS, _LABELS, _PREKEYS, _REPLACEMENTS, _ACKNOWLEDGEMENTS, _TOKENS, _OPENED),
    "move it away, and have it back from a backup with: dpki restore; it was not changed",
)


class Database(DomainDatabase):
    """The open database of one trust domain; see `DomainDatabase`."""

    def __init__(self, path: Path, domain: DomainId) -> None:
        super().__init__(
            path,
            SCHEMA,
            str(domain),
            "use another home for another domain: --home",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
        )

    def rows(self, statement: str, *values: Scalar) -> list[Row]:
        """Return the rows of a query."""
        with self.translated():
            return self._connection.execute(statement, values).fetchall()

    def change(self, statement: str, *values: Scalar) -> int:
        """Run one change; return how many rows it touched, or the number of an inserted one."""
        with self.translated():
            cursor = self._connection.execute(statement, values)
        if statement.startswith("INSERT") and cursor.lastrowid is not None:
            return cursor.lastrowid
        return cursor.rowcount

    def verify_writable(self) -> None:
        """Find out, before a transaction is sent, whether it could be recorded.

        Raises:
            DpkiError: The disk is full or read-only, say.
        """
        with self.transaction():
            self.change(f"PRAGMA user_version = {SCHEMA.version}")

    def verify(self) -> None:
        """Let SQLite look at every page.

        Raises:
            DpkiError: Something is damaged.
        """
        ((found,),) = self.rows("PRAGMA integrity_check(1)")
        if found != "ok":
            raise DpkiError(f"the journal {self._path} is damaged: {found}")
