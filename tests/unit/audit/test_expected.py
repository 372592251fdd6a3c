"""What the owner of a CA expects: what its own journal signed, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpki.cli.watch_work import Wishes, find_expected
from dpki.config.admin import Home
from dpki.errors import UsageError
from dpki.issuance.database import Database
from dpki.issuance.index import Index
from dpki.issuance.journal import Journal, NewCertificate
from dpki.model import AuthorityId, Hash32
from tests.world import DOMAIN, NOBODY, Ca

OTHER = AuthorityId(b"\x77" * 32)
STOLEN = Hash32(b"\x66" * 32)


def wishes(**options: object) -> Wishes:
    return Wishes(str(DOMAIN.id), ("http://127.0.0.1:1",), **options)  # type: ignore[arg-type]


def test_of_its_own_cas_only_what_the_journal_knows(tmp_path: Path) -> None:
    ca, unnamed = Ca.users(), Ca.users()
    certificate = ca.sign(1)
    with Database(Home(tmp_path).journal, DOMAIN.id) as database:
        Index(database).add_authority("users", ca.id)
        new = NewCertificate(certificate, "alice", NOBODY, False, tmp_path / "out")
        Journal(database).add(ca.id, [new])
    with find_expected(DOMAIN.id, wishes(journal=tmp_path)) as expected:
        assert expected(ca.id, 1, certificate.hash)
        assert not expected(ca.id, 1, STOLEN)
        assert not expected(ca.id, 2, certificate.hash)
        assert expected(unnamed.id, 1, STOLEN), "not a CA of this home"


def test_a_quiet_ca_is_expected_to_issue_nothing() -> None:
    with find_expected(DOMAIN.id, wishes(quiet=(str(OTHER),))) as expected:
        assert not expected(OTHER, 1, STOLEN)
        assert expected(Ca.users().id, 1, STOLEN)


def test_a_home_without_a_journal(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="no journal"),
        find_expected(DOMAIN.id, wishes(journal=tmp_path)),
    ):
        pass
