"""T4, T6, T10: what carries an acknowledgement can't forge, alter, repeat or read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dpki.bundle.codec import dumps
from dpki.bundle.seal import SealingKeys, SealingSecrets, seal
from dpki.devices import acknowledgement as module
from dpki.devices.acknowledgement import (
    AcknowledgedCertificate,
    Stage,
    Statement,
    encode_statement,
    make_acknowledgement,
    opening_of,
    verify_acknowledgement,
)
from dpki.devices.document import make_key_document
from dpki.devices.keys import generate_device_keys
from dpki.errors import (
    CheckedFalse,
    DpkiError,
    MalformedInput,
    NotForThisDevice,
    OutOfSequence,
    SignatureInvalid,
    WrongContext,
    WrongDomain,
)
from dpki.issuance.acknowledgements import Acknowledgements, take_in
from dpki.issuance.batch import NewCertificate
from dpki.issuance.database import Database
from dpki.issuance.index import Index
from dpki.issuance.journal import Journal
from dpki.model import Address, AuthorityId, DomainId, Hash32
from dpki.transport.base import MESSAGE_LIMIT, Kind, Message, Topic
from tests.world import DOMAIN as WORLD
from tests.world import Ca

DOMAIN = WORLD.id
NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEYS, OTHERS = generate_device_keys(), generate_device_keys()
HOME = SealingSecrets(SealingSecrets.generate().x25519, None)
READER = HOME.public.x25519
CA = Ca.hosts()
ISSUED = CA.sign(17, subject=KEYS.ssh_host[-1])
OPENING = opening_of(KEYS.address, ISSUED.blob)
CERTIFICATE = AcknowledgedCertificate(CA.id, 17, OPENING, Stage.INSTALLED)
SAID = Statement(DOMAIN, KEYS.address, 100, 7, Hash32(b"\x03" * 32), "strict", 5, (CERTIFICATE,))


def message(data: bytes, device: Address = KEYS.address) -> Message:
    return Message(Topic(Kind.ACKNOWLEDGEMENT, device), data)


def said(**changes: object) -> bytes:
    return make_acknowledgement(KEYS, replace(SAID, **changes), READER)  # type: ignore[arg-type]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "journal.db", DOMAIN) as database:
        Index(database).add_device("gate-1", KEYS.address, make_key_document(KEYS))
        issued = NewCertificate(ISSUED, "gate-1", KEYS.address, pair_made_here=False, release=None)
        Journal(database).add(CA.id, [issued])
        yield database


def take(database: Database, data: bytes, device: Address = KEYS.address) -> Statement | None:
    return take_in(database, message(data, device), HOME, DOMAIN, NOW)


def test_a_true_one_is_taken_in_once(database: Database) -> None:
    assert take(database, said()) == SAID
    assert take(database, said()) is None
    heard = Acknowledgements(database)
    assert heard.newest()[KEYS.address].sequence == 100
    place = (KEYS.address, CERTIFICATE.authority, 17, ISSUED.hash)
    assert heard.stages() == {place: Stage.INSTALLED}


def test_a_device_that_invents_certificates_fills_no_journal(database: Database) -> None:
    """Nor does it speak for certificates of others, or of other words, that were issued."""
    others = replace(CERTIFICATE, authority=AuthorityId(b"\x01" * 32))
    invented = [others, replace(CERTIFICATE, opening=Hash32(b"\x02" * 32))]
    invented += [replace(CERTIFICATE, serial=serial) for serial in range(18, 32)]
    before = Acknowledgements(database).stages()
    assert take(database, said(certificates=tuple(invented))) is not None
    Index(database).add_device("gate-2", OTHERS.address, make_key_document(OTHERS))
    stolen = make_acknowledgement(OTHERS, replace(SAID, device=OTHERS.address), READER)
    assert take(database, stolen, OTHERS.address) is not None
    assert Acknowledgements(database).stages() == before == {}


class TestWhetherItHasItsSealingKey:
    """The ML-KEM half signs nothing in a request: who opened what was sealed for it has it."""

    def test_who_opened_it_has_it(self, database: Database) -> None:
        assert Acknowledgements(database).proven() == frozenset()
        take(database, said())
        assert Acknowledgements(database).proven() == {KEYS.address}

    @pytest.mark.parametrize("stage", Stage)
    def test_what_everybody_reads_on_chain_shows_nothing(
        self, database: Database, stage: Stage
    ) -> None:
        """The attack: a device that enrolled another's key says that all is well."""
        public = replace(CERTIFICATE, opening=ISSUED.hash, stage=stage)
        assert take(database, said(certificates=(public,))) is not None
        assert Acknowledgements(database).stages() == {}
        assert Acknowledgements(database).proven() == frozenset()

    def test_other_keys_are_to_be_shown_anew(self, database: Database) -> None:
        take(database, said())
        document = make_key_document(KEYS, sequence=1)
        Index(database).update_document(KEYS.address, document)
        assert Acknowledgements(database).proven() == {KEYS.address}
        other = replace(document, sealing=OTHERS.sealing.public)
        Index(database).update_document(KEYS.address, other)
        take(database, said(sequence=101))
        assert Acknowledgements(database).proven() == frozenset()
        later = CA.sign(18, subject=KEYS.ssh_host[-1])
        issued = NewCertificate(later, "gate-1", KEYS.address, pair_made_here=False, release=None)
        Journal(database).add(CA.id, [issued])
        opened = replace(CERTIFICATE, serial=18, opening=opening_of(KEYS.address, later.blob))
        take(database, said(sequence=102, certificates=(CERTIFICATE, opened)))
        assert Acknowledgements(database).proven() == {KEYS.address}


class TestRefused:
    """Whatever it is, nothing is recorded, and it is told what is wrong."""

    @pytest.fixture(autouse=True)
    def nothing_is_recorded(self, database: Database) -> Iterator[None]:
        yield
        assert Acknowledgements(database).newest() == {}
        assert Acknowledgements(database).stages() == {}

    def test_altered_anywhere(self, database: Database) -> None:
        data = said()
        for at in range(0, len(data), 7):
            altered = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            with pytest.raises(CheckedFalse):
                take(database, altered)

    @pytest.mark.parametrize("size", [0, 1, 100, -1])
    def test_cut_off(self, database: Database, size: int) -> None:
        with pytest.raises(MalformedInput):
            take(database, said()[:size])

    def test_oversized(self, database: Database) -> None:
        with pytest.raises(MalformedInput):
            take(database, said() + bytes(MESSAGE_LIMIT))
        with pytest.raises(MalformedInput):
            take(database, bytes(module.SEALED_LIMIT + 1))

    def test_signed_by_another_device(self, database: Database) -> None:
        data = make_acknowledgement(OTHERS, SAID, READER)
        with pytest.raises(SignatureInvalid):
            take(database, data)

    def test_a_signature_for_other_words(self, database: Database) -> None:
        statement, signature = module.parse_acknowledgement(_opened(said()))
        forged = {
            "v": 2,
            "statement": encode_statement(replace(statement, sequence=101)),
            "signature": signature,
        }
        with pytest.raises(SignatureInvalid):
            take(database, seal(dumps(forged), SealingKeys(READER), module._CONTEXT))

    def test_sealed_for_another_home(self, database: Database) -> None:
        other = SealingSecrets(SealingSecrets.generate().x25519, None)
        data = make_acknowledgement(KEYS, SAID, other.public.x25519)
        with pytest.raises(NotForThisDevice, match="another home"):
            take(database, data)

    def test_of_another_trust_domain(self, database: Database) -> None:
        foreign = DomainId(DOMAIN.chain_id + 1, DOMAIN.address, DOMAIN.block_hash)
        with pytest.raises(WrongDomain):
            take(database, said(domain=foreign))

    def test_in_another_devices_place(self, database: Database) -> None:
        with pytest.raises(WrongContext, match="in another's place"):
            take(database, said(), OTHERS.address)

    def test_of_a_device_that_nobody_knows(self, database: Database) -> None:
        stranger = replace(SAID, device=OTHERS.address)
        with pytest.raises(WrongContext, match="no name here"):
            take(database, make_acknowledgement(OTHERS, stranger, READER), OTHERS.address)


@pytest.mark.parametrize("sequence", [100, 99, 1])
def test_repeated_and_out_of_sequence(database: Database, sequence: int) -> None:
    take(database, said())
    with pytest.raises(OutOfSequence):
        take(database, said(sequence=sequence, mode="files"))
    assert Acknowledgements(database).newest()[KEYS.address].mode == "strict"
    assert take(database, said(sequence=101, mode="files")) is not None
    with pytest.raises(OutOfSequence):
        take(database, said())


def test_the_journal_itself_refuses_to_go_back(database: Database) -> None:
    heard = Acknowledgements(database)
    heard.record(SAID, NOW)
    with pytest.raises(DpkiError, match="newer"):
        heard.record(replace(SAID, sequence=99), NOW)


def test_whoever_carries_it_reads_nothing() -> None:
    data = said()
    for word in (
        bytes(KEYS.address),
        bytes(OPENING),
        bytes(ISSUED.hash),
        b"strict",
        str(DOMAIN).encode(),
    ):
        assert word not in data
    # Nor how much there is to say.
    assert len(said(certificates=())) == len(data) == len(said(certificates=(CERTIFICATE,) * 8))
    assert len(data) == 1078


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "open"},
        {"sequence": 0},
        {"sequence": 1 << 53},
        {"prekeys": 1 << 60},
        {"certificates": (CERTIFICATE,) * 17},
        {"certificates": (replace(CERTIFICATE, serial=0),)},
    ],
)
def test_what_no_device_says(changes: dict[str, object]) -> None:
    with pytest.raises(MalformedInput):
        verify_acknowledgement(said(**changes), HOME, DOMAIN)


def _opened(data: bytes) -> bytes:
    from dpki.bundle.seal import open_sealed

    return open_sealed(data, HOME, module._CONTEXT)
