"""The tables of an audit's index. CAs go by their numbers, in the order of registration."""

from __future__ import annotations

from dpki.sqlite import Schema

_SCHEMA = """
CREATE TABLE domain (
  id TEXT NOT NULL
) STRICT;

CREATE TABLE progress (
  number INTEGER PRIMARY KEY CHECK (number = 1),
  block INTEGER NOT NULL,
  hash BLOB NOT NULL CHECK (length(hash) = 32),
  time INTEGER NOT NULL,
  state BLOB NOT NULL,
  counts BLOB NOT NULL
) STRICT;

CREATE TABLE batches (
  authority INTEGER NOT NULL,
  first_serial INTEGER NOT NULL,
  count INTEGER NOT NULL,
  commitment BLOB NOT NULL CHECK (length(commitment) = 32),
  lifetime INTEGER NOT NULL,
  version INTEGER NOT NULL,
  weight INTEGER NOT NULL,
  confirmations INTEGER NOT NULL,
  objections INTEGER NOT NULL,
  confirmed INTEGER NOT NULL CHECK (confirmed IN (0, 1)),
  PRIMARY KEY (authority, first_serial)
) STRICT, WITHOUT ROWID;

CREATE TABLE certificates (
  authority INTEGER NOT NULL,
  serial INTEGER NOT NULL,
  hash BLOB NOT NULL CHECK (length(hash) = 32),
  device BLOB CHECK (length(device) = 20),
  not_after INTEGER NOT NULL,
  PRIMARY KEY (authority, serial)
) STRICT, WITHOUT ROWID;

CREATE TABLE words (
  authority INTEGER NOT NULL,
  number INTEGER NOT NULL,
  bits BLOB NOT NULL CHECK (length(bits) = 32),
  PRIMARY KEY (authority, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE devices (
  address BLOB PRIMARY KEY CHECK (length(address) = 20),
  document BLOB NOT NULL CHECK (length(document) = 32),
  state INTEGER NOT NULL,
  nonce INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE councils (
  address BLOB PRIMARY KEY CHECK (length(address) = 20)
) STRICT;

CREATE TABLE council_logs (
  block INTEGER NOT NULL,
  number INTEGER NOT NULL,
  time INTEGER NOT NULL,
  hash BLOB NOT NULL CHECK (length(hash) = 32),
  sent BLOB NOT NULL CHECK (length(sent) = 32),
  council BLOB NOT NULL CHECK (length(council) = 20),
  topics BLOB NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (block, number)
) STRICT, WITHOUT ROWID;
"""

SCHEMA = Schema(
    "the audit's index",
    (_SCHEMA,),
    "move it away; the next audit makes a new one, from the first block on",
)
