import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from dpki.devices.document import Prekey
from dpki.devices.prekeys import PrekeySecret
from dpki.errors import ConfigError, DpkiError
from dpki.issuance.batch import BatchState, JournaledBatch, NewCertificate
from dpki.issuance.database import SCHEMA, Database
from dpki.issuance.journal import Journal
from dpki.issuance.placements import Place, Placement
from dpki.issuance.sealing import Sealed
from dpki.model import Address, Entry, Hash32
from tests.world import DOMAIN, Ca

CA = Ca.users()
DEVICE = Address(b"\x77" * 20)
OTHER_DOMAIN = replace(DOMAIN.id, chain_id=1135)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "journal.db"


@pytest.fixture
def database(path: Path) -> Database:
    return Database(path, DOMAIN.id)


@pytest.fixture
def journal(database: Database) -> Journal:
    return Journal(database)


def add(journal: Journal, *serials: int, replaces: JournaledBatch | None = None) -> JournaledBatch:
    return journal.add(
        CA.id,
        [NewCertificate(CA.sign(s), "alice", DEVICE, True, Path("/x/a-cert.pub")) for s in serials],
        replaces=replaces,
    )


PREKEY = PrekeySecret.generate(7)
USED = Prekey(7, PREKEY.ssh_public, PREKEY.x25519_public)


def use(journal: Journal, serial: int, device: Address = DEVICE) -> JournaledBatch:
    """Sign for the one-time key."""
    certificate = CA.sign(serial, subject=PREKEY.ssh)
    new = NewCertificate(certificate, "gate-1", device, False, None, USED)
    return journal.add(CA.id, [new])


class TestPrekeys:
    def test_are_known_with_their_certificates(self, journal: Journal) -> None:
        batch = use(journal, 1)
        assert batch.certificates[0].prekey == USED
        assert journal.load_all() == (batch,)
        assert add(journal, 2).certificates[0].prekey is None

    def test_are_used_once(self, journal: Journal) -> None:
        batch = use(journal, 1)
        with pytest.raises(DpkiError, match="one-time key is used already"):
            use(journal, 2)
        assert journal.load_all() == (batch,)

    def test_another_device_counts_for_itself(self, journal: Journal) -> None:
        use(journal, 1)
        use(journal, 2, Address(b"\x78" * 20))

    def test_what_was_never_anchored_does_not_count(self, journal: Journal) -> None:
        journal.mark_void(use(journal, 1), "taken")
        use(journal, 2)
        with pytest.raises(DpkiError, match="one-time key is used already"):
            use(journal, 3)

    def test_are_not_forgotten(self, journal: Journal, database: Database) -> None:
        use(journal, 1)
        with pytest.raises(DpkiError, match="forgets nothing"):
            database.change("DELETE FROM prekeys")

    def test_keys_that_had_a_certificate(self, journal: Journal) -> None:
        first = use(journal, 1)
        second = add(journal, 2)
        journal.mark_void(second, "taken")
        use(journal, 3, Address(b"\x78" * 20))
        keys = {b.certificates[0].certificate.subject_key for b in (first, second)}
        assert journal.subject_keys(DEVICE) == keys
        assert journal.subject_keys(Address(b"\x79" * 20)) == frozenset()


def seal(journal: Journal, batch: JournaledBatch) -> JournaledBatch:
    sealed = [
        Sealed(
            Entry(
                c.certificate.hash,
                DEVICE,
                c.certificate.valid_before,
                Hash32(bytes([c.serial] * 32)),
            ),
            b"sealed %d" % c.serial,
        )
        for c in batch.certificates
    ]
    return journal.mark_sealed(batch, sealed)


class TestBatches:
    def test_holds_all_that_is_needed_to_go_on(self, journal: Journal) -> None:
        batch = add(journal, 1, 2)
        first = batch.certificates[0]
        assert (batch.state, batch.first_serial, batch.last_serial) == (BatchState.ISSUED, 1, 2)
        assert first.certificate.serial == 1
        assert (first.subject, first.device, first.pair_made_here) == ("alice", DEVICE, True)
        assert (first.release, first.is_released) == (Path("/x/a-cert.pub"), False)
        assert (first.entry, first.bundle) == (None, None)
        with pytest.raises(DpkiError, match="not sealed yet"):
            _ = batch.entries
        batch = seal(journal, batch)
        assert batch.entries[1].locator == Hash32(b"\x02" * 32)
        assert batch.entries[1].certificate_hash == batch.certificates[1].certificate.hash
        assert batch.certificates[1].bundle == b"sealed 2"
        batch = journal.mark_published(batch)
        batch = journal.mark_anchored(batch, Hash32(b"\x01" * 32), 7)
        assert (batch.transaction, batch.block_number) == (Hash32(b"\x01" * 32), 7)

    def test_survives_reopening(self, journal: Journal, path: Path) -> None:
        batch = seal(journal, add(journal, 1))
        with Database(path, DOMAIN.id) as again:
            assert Journal(again).load(batch.number) == batch

    @pytest.mark.parametrize(
        ("way", "forbidden"),
        [
            ((), {"published", "anchored"}),
            (("sealed",), {"sealed", "anchored"}),
            (("sealed", "published"), {"sealed", "published"}),
            (("sealed", "published", "anchored"), {"sealed", "anchored", "void"}),
            (("void",), {"sealed", "published", "anchored", "void"}),
        ],
    )
    def test_no_step_is_left_out_or_taken_back(
        self, journal: Journal, way: tuple[str, ...], forbidden: set[str]
    ) -> None:
        steps = {
            "sealed": lambda b: seal(journal, b),
            "published": journal.mark_published,
            "anchored": lambda b: journal.mark_anchored(b, None, None),
            "void": lambda b: journal.mark_void(b, "why"),
        }
        batch = add(journal, 1)
        for step in way:
            batch = steps[step](batch)
        for step in forbidden:
            with pytest.raises(DpkiError, match=f"can't become {step}"):
                steps[step](batch)
        assert journal.load(batch.number) == batch

    def test_a_stale_view_does_not_overwrite(self, journal: Journal) -> None:
        batch = add(journal, 1)
        seal(journal, batch)
        with pytest.raises(DpkiError, match="changed by somebody else"):
            journal.mark_void(batch, "why")
        assert journal.load(batch.number).state is BatchState.SEALED

    @pytest.mark.parametrize("serials", [(3,), (1, 2, 3), (3, 4, 5), (4,), (2, 3, 4, 5, 6)])
    def test_no_serial_is_in_two_batches(self, journal: Journal, serials: tuple[int, ...]) -> None:
        add(journal, 3, 4)
        with pytest.raises(DpkiError, match="is in another one"):
            add(journal, *serials)
        assert len(journal.load_all()) == 1

    def test_serials_of_a_void_batch_are_free(self, journal: Journal) -> None:
        void = journal.mark_void(add(journal, 1, 2), "why")
        batch = add(journal, 1, 2, replaces=void)
        assert journal.load(void.number).successor == batch.number
        assert journal.load_owed(CA.id) == ()

    def test_a_successor_is_owed_once(self, journal: Journal) -> None:
        void = journal.mark_void(add(journal, 1), "why")
        assert journal.load_owed(CA.id) == (void,)
        journal.give_up(void)
        assert journal.load_owed(CA.id) == ()
        with pytest.raises(DpkiError, match="owed no successor"):
            add(journal, 1, replaces=void)
        assert len(journal.load_all()) == 1

    def test_lists(self, journal: Journal) -> None:
        later, earlier = add(journal, 5), add(journal, 1)
        assert journal.load_unfinished(CA.id) == (earlier, later)
        assert journal.load_unfinished(Ca.users().id) == ()
        assert journal.load_all() == (later, earlier)
        assert journal.authorities() == (CA.id,)
        for batch in (later, earlier):
            batch = journal.mark_published(seal(journal, batch))
            journal.mark_anchored(batch, None, None)
        assert journal.load_anchored_latest_first(CA.id) == (later.number, earlier.number)
        assert [b.first_serial for b in journal.load_unreleased(CA.id)] == [1, 5]
        journal.mark_released(earlier, 1)
        assert [b.first_serial for b in journal.load_unreleased(CA.id)] == [5]

    def test_unknown_number(self, journal: Journal) -> None:
        with pytest.raises(DpkiError, match="no batch 9"):
            journal.load(9)


class TestDatabase:
    def test_is_private(self, database: Database, path: Path) -> None:
        database.change("INSERT INTO authorities VALUES ('x', ?)", bytes(32))
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    def test_is_durable(self, database: Database) -> None:
        assert database.rows("PRAGMA journal_mode") == [("wal",)]
        assert database.rows("PRAGMA synchronous") == [(2,)]

    def test_belongs_to_one_domain(self, database: Database, path: Path) -> None:
        with pytest.raises(ConfigError, match="belongs to the trust domain"):
            Database(path, OTHER_DOMAIN)

    def test_refuses_another_version(self, database: Database, path: Path) -> None:
        database.change("PRAGMA user_version = 99")
        with pytest.raises(ConfigError, match="version 99"):
            Database(path, DOMAIN.id)

    def test_types_are_strict(self, database: Database) -> None:
        with pytest.raises(DpkiError, match="failed"):
            database.change("INSERT INTO authorities VALUES ('x', 'text')")
        with pytest.raises(DpkiError, match="failed"):
            database.change("INSERT INTO authorities VALUES ('x', ?)", bytes(31))

    def test_a_transaction_is_all_or_nothing(self, database: Database) -> None:
        def interrupted() -> None:
            with database.transaction():
                database.change("INSERT INTO authorities VALUES ('x', ?)", bytes(32))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert database.rows("SELECT * FROM authorities") == []

    def test_a_damaged_file_is_told(self, path: Path) -> None:
        path.parent.mkdir()
        path.write_bytes(b"this is no database, whatever it may look like" * 100)
        with pytest.raises(DpkiError, match=r"the journal .* failed"):
            Database(path, DOMAIN.id)

    def test_an_older_one_is_brought_up_to_date(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as past:
            older = replace(SCHEMA, steps=SCHEMA.steps[:1])
            past.setattr("dpki.issuance.database.SCHEMA", older)
            with Database(path, DOMAIN.id) as old:
                blob = CA.sign(1).blob
                old.change(
                    "INSERT INTO batches VALUES (1, ?, 1, 1, 'issued', '', NULL, NULL, NULL)",
                    bytes(CA.id),
                )
                old.change(
                    "INSERT INTO certificates VALUES"
                    " (1, 1, 'alice', ?, ?, 0, NULL, NULL, NULL, NULL, 0)",
                    bytes(DEVICE),
                    blob,
                )
        with Database(path, DOMAIN.id) as database:
            journal = Journal(database)
            batch = journal.load(1)
            assert [(c.blob, c.prekey) for c in batch.certificates] == [(blob, None)]
            journal.placements.record([Placement(batch.number, 1, "node", Place.KEPT)])
            assert journal.placements.load() == {(batch.number, 1): {"node": Place.KEPT}}
            assert database.rows("PRAGMA user_version") == [(SCHEMA.version,)]

    def test_a_half_made_schema_does_not_stay(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken = replace(SCHEMA, steps=("CREATE TABLE a (b INTEGER); CREATE;",))
        monkeypatch.setattr("dpki.issuance.database.SCHEMA", broken)
        with pytest.raises(DpkiError):
            Database(path, DOMAIN.id)
        monkeypatch.undo()
        with sqlite3.connect(path) as plain:
            assert plain.execute("SELECT name FROM sqlite_master").fetchall() == []
        Database(path, DOMAIN.id)

    def test_a_folder_in_its_place(self, tmp_path: Path) -> None:
        (tmp_path / "journal.db").mkdir()
        with pytest.raises(DpkiError, match="Is a directory"):
            Database(tmp_path / "journal.db", DOMAIN.id)


def test_no_private_key_has_a_column(database: Database) -> None:
    columns = [row[1] for row in database.rows("PRAGMA table_info(certificates)")]
    assert not [c for c in columns if "key" in str(c) or "secret" in str(c)]
