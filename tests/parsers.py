"""Every parser of untrusted bytes, with valid inputs: what the fuzzers in tests and scripts feed.

A parser turns any bytes into a value or raises `DpkiError`. Nothing else: another exception is a
traceback in an operator's face, or an agent that dies of a neighbour's bytes.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from eth_abi.abi import encode as abi_encode

from dpki.agent import acknowledge, login
from dpki.agent.acknowledge import encode_kept_acknowledgement, parse_kept_acknowledgement
from dpki.agent.hints import Subscriptions
from dpki.agent.host import Made, encode_made, parse_made
from dpki.agent.index import (
    Access,
    IndexedAuthority,
    IndexedCertificate,
    LoginIndex,
    encode_index,
)
from dpki.agent.kept import Kept, encode_kept, parse_kept
from dpki.agent.memory import Mark, Memory, Seen
from dpki.agent.observation import Known, Unconfirmed, WatchedBatch
from dpki.agent.record import (
    Held,
    Hold,
    Record,
    encode_hold,
    encode_record,
    parse_hold,
    parse_record,
)
from dpki.agent.report import LastReport, parse_report, save_report
from dpki.agent.rotation import Pair
from dpki.agent.schedule import Hint
from dpki.agent.sessions import parse_login_record
from dpki.agent.state import Coverage, open_state
from dpki.audit import index as audit_index
from dpki.audit import sentry
from dpki.audit.alerts import Alert
from dpki.audit.state import BatchRecord, DeviceRecord
from dpki.audit.state import State as AuditState
from dpki.bundle.cid import cid_of, digest_of_cid
from dpki.bundle.codec import dumps, loads_strict
from dpki.bundle.content import Bundle, encode_bundle, open_bundle, parse_bundle, seal_bundle
from dpki.bundle.locator import IssuerKey
from dpki.bundle.parcel import encode_parcel, make_parcels, open_parcels, parse_parcel
from dpki.bundle.seal import SealingSecrets
from dpki.certificates.keys import (
    authority_spki,
    parse_public_key,
    parse_ssh_public_key,
    public_blob,
    public_key_line,
    spki_of,
    ssh_blob,
)
from dpki.certificates.krl import Revocations, build_krl, parse_krl
from dpki.certificates.profile import Profile, Subject
from dpki.certificates.ssh import (
    build_ssh_certificate,
    parse_ssh_certificate,
    ssh_line,
    verify_ssh_signature,
)
from dpki.chain import decode, rlp
from dpki.chain.events import CERTIFICATE_ISSUED, parse_issued
from dpki.chain.header import parse_header, verify_header
from dpki.chain.logs import Log
from dpki.chain.proofs import Node, NodePool, verify_words
from dpki.chain.quorum import Evidence, Fault, Standing
from dpki.chain.standings import Named, encode_standings, key_of, parse_standings
from dpki.config.admin import parse_admin_config
from dpki.config.device import Grant, parse_device_config
from dpki.config.durations import parse_duration
from dpki.config.news import parse_reader
from dpki.config.profile import dump_profile, parse_profile
from dpki.config.urls import verify_url
from dpki.config.values import verify_multiaddr, verify_secret_source
from dpki.config.witnesses import Witness
from dpki.council.actions import Speaker
from dpki.council.history import Choice
from dpki.council.parameter_file import load_parameters
from dpki.council.reading import COUNCIL, parse_proposal
from dpki.council.rounds import Proposal
from dpki.council.threshold import Kind
from dpki.council.votes import (
    RoundFile,
    encode_round,
    encode_vote,
    parse_round,
    parse_vote,
    sign_vote,
)
from dpki.council.words import describe_call, describe_calls
from dpki.devices.acknowledgement import (
    AcknowledgedCertificate,
    Stage,
    Statement,
    encode_statement,
    make_acknowledgement,
    parse_acknowledgement,
    verify_acknowledgement,
)
from dpki.devices.document import encode_key_document, make_key_document, parse_key_document
from dpki.devices.enrollment import (
    encode_request,
    make_enrollment_request,
    parse_request,
    request_line,
    request_parts,
    verify_request,
)
from dpki.devices.keys import generate_device_keys, load_device_keys, save_device_keys
from dpki.devices.prekeys import PrekeySecret
from dpki.devices.token import (
    Answer,
    Outcome,
    Token,
    make_answer,
    make_asking,
    parse_asking,
    verify_answer,
)
from dpki.devnet.state import FILE, load_state
from dpki.errors import ConfigError, DpkiError, MalformedInput
from dpki.issuance.authority_request import (
    AuthorityRequest,
    encode_authority_request,
    parse_authority_request,
)
from dpki.issuance.batch import NewCertificate
from dpki.issuance.database import Database
from dpki.issuance.handover import HandedCertificate, Handover, encode_handover, parse_handover
from dpki.issuance.index import Index
from dpki.issuance.journal import Journal
from dpki.issuance.placements import Place, Placement
from dpki.issuance.registration import load_issuer_key
from dpki.issuance.sealing import Sealed
from dpki.issuance.tokens import GivenToken, Tokens
from dpki.model import (
    Address,
    AuthorityId,
    AuthorityKind,
    Block,
    DeviceState,
    DomainId,
    Entry,
    Hash32,
    to_timestamp,
)
from dpki.model import Path as MerklePath
from dpki.note import SignedNote, VerifierKey
from dpki.remote.survey import parse_survey
from dpki.secp256k1 import recover_signer
from dpki.signer.uri import Pkcs11Uri
from dpki.transactions import abi
from dpki.transactions.actions import DomainCalls
from dpki.transactions.calls import encode_call
from dpki.transactions.confirmations import (
    Confirmation,
    encode_confirmation,
    parse_confirmation,
)
from dpki.transactions.governed import GovernanceCall
from dpki.transactions.reverts import decode_revert
from dpki.transactions.wallet import Wallet, load_wallet
from dpki.transport.address import BrokerAddress, SshAddress
from dpki.transport.base import Topic
from dpki.transport.ssh import parse_line
from dpki.verification.checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from dpki.verification.offline import TrustedBlock, check_proof_bundle
from dpki.verification.proof import CertificateProof, encode_proof, parse_proof
from dpki.verification.proof_bundle import parse_proof_bundle
from dpki.verification.witnesses import Statement as Stated
from tests.fakes.chain import FakeChain
from tests.fakes.state import State
from tests.proving_world import ProvingWorld
from tests.raw_certificates import fido_blob
from tests.world import Ca, snapshot

Opened = TypeVar("Opened")
Parse = Callable[[bytes], object]


@dataclass(frozen=True)
class Parser:
    """A parser of bytes, and inputs that it takes.

    Attributes:
        parse: Returns a value or raises `DpkiError`; anything else is a defect.
        seeds: Valid inputs.
        costly: Whether one call takes so long that only few are made.
    """

    parse: Parse
    seeds: tuple[bytes, ...]
    costly: bool = False


NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
CA = Ed25519PrivateKey.generate()
P256 = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
KEYS = generate_device_keys()
DOMAIN = DomainId(31337, Address(b"\1" * 20), Hash32(b"\2" * 32))
REGISTRY = Address(b"\3" * 20)
CA_ID = AuthorityId(b"\4" * 32)
CONTEXT = Hash32(b"\5" * 32)
CLASSICAL, HYBRID = SealingSecrets(KEYS.sealing.x25519, None), KEYS.sealing
PASSPHRASE = "fuzz"

_SUBJECTS = (
    ssh_blob(CA.public_key()),
    ssh_blob(P256.public_key()),
    ssh_blob(RSA.public_key()),
    fido_blob("ed25519"),
    fido_blob("p256"),
)


def _certificates() -> tuple[bytes, ...]:
    return tuple(
        build_ssh_certificate(
            signer,
            Profile.user(HOUR),
            Subject(subject, ("ops", "alice"), "alice"),
            serial=17,
            key_id="x/17/alice",
            valid_after=NOW,
            valid_before=NOW + HOUR,
        ).blob
        for signer in (CA, P256, RSA)
        for subject in _SUBJECTS
    )


def _private_key() -> bytes:
    return CA.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


_KEY_FILES = ("identity.key", "sealing.key", "ssh_host/1.key", "ssh_user/1.key")
_CERTIFICATES = _certificates()
_PATH = MerklePath(16, 5, (Hash32(b"\6" * 32), Hash32(b"\7" * 32)))
_BUNDLE = Bundle(certificate=_CERTIFICATES[0], key=_private_key(), path=_PATH, context=CONTEXT)
_DOCUMENT = make_key_document(KEYS)
_REQUEST = make_enrollment_request(KEYS, DOMAIN, REGISTRY, _DOCUMENT, NOW + HOUR)
_TOKEN = Token(DOMAIN, b"\x0a" * 32)
_ANSWER = Answer(
    DOMAIN,
    KEYS.address,
    Hash32(hashlib.sha256(encode_request(_REQUEST)).digest()),
    Outcome.ENROLLED,
    17,
)
_KRL = build_krl(
    [
        Revocations(_SUBJECTS[0], (3, 5, range(10, 100)), below=3),
        Revocations(_SUBJECTS[1], range(1, 100, 2)),
    ],
    [_SUBJECTS[2]],
    version=7,
    generated=NOW,
    comment="krl",
)
_HANDOVER = Handover(
    DOMAIN,
    CA_ID,
    17,
    (
        HandedCertificate(_CERTIFICATES[0], Address.zero(), Hash32.zero(), None),
        HandedCertificate(_CERTIFICATES[1], REGISTRY, CONTEXT, CONTEXT),
    ),
)
_CONFIRMATION = Confirmation(CA_ID, 17, CONTEXT, REGISTRY, NOW + HOUR, bytes(65))
_WITNESS = VerifierKey("audit.example.org/acme", Hash32(CA.public_key().public_bytes_raw()))
_NOTE = sign_checkpoint(Checkpoint(DOMAIN, 17, CONTEXT, CONTEXT), _WITNESS.name, CA)
_CA_REQUEST = AuthorityRequest(
    DOMAIN, AuthorityKind.SSH_USER, spki_of(P256.public_key()), CONTEXT, REGISTRY, HOUR
)
_ADMIN = """
version = 1
domain = "{domain}"
[chain]
chain_id = 31337
rpc = ["http://127.0.0.1:8545"]
confirmations = 1
authority_finality = "latest"
[token]
module = "/usr/lib/softhsm/libsofthsm2.so"
label = "dpki"
pin = "env:PIN"
[token.environment]
SOFTHSM2_CONF = "/etc/softhsm2.conf"
[wallet]
passphrase = "prompt"
[store]
ipfs = ["/ip4/127.0.0.1/tcp/5001"]
gateways = ["http://127.0.0.1:8080"]
directories = ["/var/lib/dpki"]
copies = 2
[broker]
address = "mqtts://broker.example.org/acme"
user = "admin"
password = "file:/etc/dpki/broker.password"
"""
_DEVICE = """
version = 1
domain = "{domain}"
rpc = ["http://127.0.0.1:8545"]
gateways = ["http://127.0.0.1:8080"]
directories = ["/var/lib/dpki"]
[sshd]
directory = "/etc/ssh/dpki"
login_user = "nobody"
reload = []
mode = "files"
fence = true
overlap = "1d"
[access]
console_access = true
outage = "closed"
maximum_age = "24h"
[access.authorities]
"{ca}" = "open"
[accounts]
ops = ["{ca}/ops"]
[chain]
confirmations = 1
authority_finality = "finalized"
[following]
interval = "12s"
[metrics]
listen = "127.0.0.1:9477"
[broker]
address = "mqtts://broker.example.org:8884/acme/gates"
user = "gate-1"
password = "file:/etc/dpki/broker.password"
authority = "/etc/dpki/broker.pem"
[acknowledge]
to = "broker"
key = "0x{reader}"
[doorbell]
listen = true
[domains.other]
domain = "{other}"
rpc = ["http://127.0.0.1:8546"]
subscribe = ["ws://127.0.0.1:8546"]
[domains.other.accounts]
ops = ["{ca}/ops"]
"""
_DEVNET = {
    "version": 1,
    "rpc": "http://127.0.0.1:1",
    "chain_id": 31337,
    "optimism": False,
    "ipfs": [],
    "token": None,
    "accounts": [],
    "logs": "/tmp",
    "processes": [],
}
_BLOCK = {"number": "0x7", "hash": "0x" + "ab" * 32, "timestamp": "0x65000000"}
_HEADER: dict[str, object] = {
    **dict.fromkeys(("parentHash", "sha3Uncles", "stateRoot", "mixHash"), f"0x{'ab' * 32}"),
    **dict.fromkeys(("transactionsRoot", "receiptsRoot", "withdrawalsRoot"), f"0x{'cd' * 32}"),
    **dict.fromkeys(("difficulty", "number", "gasLimit", "gasUsed", "timestamp"), "0x7f"),
    "miner": f"0x{'12' * 20}",
    "logsBloom": f"0x{'00' * 256}",
    "extraData": "0x1234",
    "nonce": f"0x{'00' * 8}",
    "baseFeePerGas": "0x1",
}
_HEADER_HASH = Hash32.parse("0x3b976560bce942990db0a420de8b4510719b730e53e73a7381e71bb4a726cd75")
_STATE = State({REGISTRY: {slot: slot + 1 for slot in range(20)}})
_SLOTS = (3, 4, 99)
_PROVEN = ProvingWorld()
_PROOF_BUNDLES = tuple(
    _PROVEN.export(certificate).bundle for certificate in (_PROVEN.issue(), _PROVEN.sign(99))
)
_STATE_PROOF = _STATE.proof(REGISTRY, _SLOTS)


def _certificate(data: bytes) -> object:
    certificate = parse_ssh_certificate(data)
    verify_ssh_signature(certificate)
    return certificate


def _request(data: bytes) -> object:
    return verify_request(parse_request(data), DOMAIN, REGISTRY)


def _at_login(data: bytes) -> object:
    try:
        return login.parse_certificate(data)
    except login.Refused as refused:
        # Standard library only: its refusals are no DpkiError.
        raise MalformedInput(str(refused)) from refused


def _state_proof(value: object) -> object:
    return verify_words(value, _STATE.root, REGISTRY, _SLOTS, NodePool())


def _proof_bundle(data: bytes) -> object:
    """Parse a proof bundle, and check what it proves of whatever block it says it is."""
    bundle = parse_proof_bundle(data)
    block = parse_header(bundle.header).block
    return check_proof_bundle(bundle, TrustedBlock(block.hash), domain_id=bundle.domain)


def _trie_nodes() -> tuple[bytes, ...]:
    written = NodePool().nodes(_STATE_PROOF["accountProof"])
    for entry in _STATE_PROOF["storageProof"]:  # type: ignore[attr-defined]
        written += NodePool().nodes(entry["proof"])
    return tuple(node.raw for node in written)


def _json(parse: Callable[[object], object]) -> Parse:
    def from_bytes(data: bytes) -> object:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise MalformedInput("not JSON") from error
        return parse(value)

    return from_bytes


def _message(data: bytes) -> object:
    message = parse_line(data)
    if message is None:
        raise MalformedInput("no message")
    return message


def _text(parse: Callable[[str], object]) -> Parse:
    return lambda data: parse(data.decode("utf-8", "replace"))


def _file(parse: Callable[[Path], object], name: str = "file") -> Parse:
    def from_bytes(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            path.write_bytes(data)
            path.chmod(0o600)
            return parse(path)

    return from_bytes


def _unchanged(path: Path, opened: Callable[[], Opened]) -> Opened:
    """Open a database; one that is none of ours is as it was."""
    before = path.read_bytes()
    try:
        return opened()
    except ConfigError:
        assert path.read_bytes() == before
        raise


def _journal(path: Path) -> object:
    with _unchanged(path, lambda: Database(path, DOMAIN)) as database:
        journal, index = Journal(database), Index(database)
        batches = journal.load_all()
        certificates = [c.certificate for batch in batches for c in batch.certificates]
        known = index.authorities(), index.devices(), journal.authorities()
        return batches, certificates, known, journal.placements.load(), Tokens(database).all()


def _audit_index(path: Path) -> object:
    with _unchanged(path, lambda: audit_index.Index(path, DOMAIN)) as index:
        kept = [*index.batches()], [*index.words()], [*index.devices()]
        return index.seen(), index.councils(), [*index.council_logs()], kept


def _watch_state(path: Path) -> object:
    with _unchanged(path, lambda: sentry.Memory(path, DOMAIN)) as memory:
        return memory.position(), memory.owed("stdout")


def _agent_database(path: Path) -> object:
    with ExitStack() as stack:
        state = _unchanged(path, lambda: stack.enter_context(open_state(path.parent)))
        return state.memory(), state.known(), state.coverage(CA_ID)


def _login_index(path: Path) -> object:
    try:
        return login.look_up(str(path), "ops", _CERTIFICATES[0])
    except login.Refused:
        return None  # a proper answer
    except login.Unchecked as unchecked:
        raise MalformedInput(str(unchecked)) from unchecked


def _key_folder(data: bytes) -> object:
    """Load a device's keys, one of which, as the first byte says, is the rest."""
    contents = list(_KEYS)
    if data:
        contents[data[0] % len(contents)] = data[1:]
    with tempfile.TemporaryDirectory() as folder:
        for name, content in zip(_KEY_FILES, contents, strict=True):
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.touch(mode=0o600)
            path.write_bytes(content)
        return load_device_keys(Path(folder))


def _key_files() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as folder:
        save_device_keys(Path(folder, "keys"), KEYS)
        return tuple(Path(folder, "keys", name).read_bytes() for name in _KEY_FILES)


def _small(path: Path) -> bytes:
    """Return a database in small pages: a fuzzer's mutations then hit something."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA page_size = 512")
        connection.execute("VACUUM")
    return path.read_bytes()


def _journals() -> tuple[bytes, ...]:
    certificate = parse_ssh_certificate(_CERTIFICATES[0])
    entry = Entry(certificate.hash, Address(b"\x08" * 20), NOW + HOUR, CONTEXT)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "journal.db")
        with Database(path, DOMAIN) as database:
            journal = Journal(database)
            index = Index(database)
            index.add_authority("users", CA_ID)
            index.add_device("gate-1", KEYS.address, _DOCUMENT)
            new = NewCertificate(certificate, "alice", entry.device, False, Path("/x"))
            batch = journal.mark_sealed(journal.add(CA_ID, [new]), [Sealed(entry, b"bundle")])
            journal.placements.record([Placement(batch.number, 17, "node", Place.KEPT)])
            tokens, keys = Tokens(database), _TOKEN.keys
            tokens.add(GivenToken(keys, "gate-2", {"fleet": "gates"}, NOW + HOUR), NOW)
            tokens.claim(keys.id, KEYS.address, CONTEXT)
            tokens.finish(keys.id, 17)
        return (_small(path),)


def _audit_indices() -> tuple[bytes, ...]:
    state = AuditState(Address(b"\x01" * 20), is_created=True, is_founded=True)
    log = Log((CONTEXT,), b"data", 7, CONTEXT, 1, Address(b"\x02" * 20), CONTEXT)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "index.sqlite")
        with audit_index.Index(path, DOMAIN) as index, index.transaction():
            index.put_batch(BatchRecord(0, 1, 2, CONTEXT, 60))
            index.put_word(0, 0, 6)
            index.put_device(DeviceRecord(KEYS.address, CONTEXT, DeviceState.ACTIVE, 1))
            index.put_council(log.contract)
            index.put_council_log(log, 1_800_000_000)
            index.save(Block(7, CONTEXT, NOW), state, Counter({"DomainCreated": 1}))
        return (_small(path),)


def _watch_states() -> tuple[bytes, ...]:
    alert = Alert(CONTEXT, "ca", "a new CA", 7, CONTEXT, "AuthorityRegistered", {"kind": 1})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "watch.sqlite")
        with sentry.Memory(path, DOMAIN) as memory:
            memory.begin(1)
            memory.note(7, str(DOMAIN), [alert], ["stdout"])
        return (_small(path),)


def _agent_databases() -> tuple[bytes, ...]:
    mark = Mark(Block(7, CONTEXT, NOW), {CA_ID: 2}, {KEYS.address: 1})
    entry = Entry(CONTEXT, Address.zero(), NOW + HOUR, CONTEXT)
    with tempfile.TemporaryDirectory() as folder:
        with open_state(Path(folder)) as state, state.transaction():
            state.save_memory(Memory({CA_ID: Seen(frozenset({1, 9}), 1, False)}, mark, None))
            state.save_known(CA_ID, Coverage(2, 7), [Known(CA_ID, 1, entry, 7)])
        return (_small(Path(folder, "agent.db")),)


def _agent_report() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_report(Path(folder), LastReport({"block": {"number": 7}}, ("block 7",)))
        return Path(folder, "report.json").read_bytes()


def _kept() -> Kept:
    users = Ca.users()
    users.issue()
    users.revoked.add(1)
    users.watched()
    seen = snapshot(users, devices={KEYS.address: DeviceState.ACTIVE})
    waits = Unconfirmed(WatchedBatch(users.id, 2, 1, 50), "awaiting watchdogs: 20 of 40")
    return Kept(seen, seen.block, (waits,), ("it waits",), _CERTIFICATES[0], Evidence(3, 2), NOW)


def _subscription(data: bytes) -> object:
    """Take a message after the endpoint has answered both subscriptions."""
    hints: list[Hint] = []
    subscriptions = Subscriptions("endpoint", (), hints.append, lambda: None)
    for answer in _MESSAGES[:2]:
        subscriptions.take(answer)
    subscriptions.take(data)
    return hints


_MESSAGES = (
    b'{"jsonrpc": "2.0", "id": 1, "result": "0x1"}',
    b'{"jsonrpc": "2.0", "id": 2, "result": "0x2"}',
    b'{"jsonrpc": "2.0", "method": "eth_subscription", "params": {"subscription": "0x2"}}',
    b'{"jsonrpc": "2.0", "id": 2, "error": {"code": -32601, "message": "no"}}',
)


def _login_indices() -> tuple[bytes, ...]:
    certificate = parse_ssh_certificate(_CERTIFICATES[0])
    index = LoginIndex(
        authorities=(IndexedAuthority(CA_ID, certificate.authority_key, HOUR, NOW, None),),
        certificates=(IndexedCertificate(certificate.hash, CA_ID, 17, NOW + HOUR),),
        access=(Access("ops", CA_ID, "ops"),),
    )
    return (encode_index(index),)


_RECORD = Record("ab", (Pair("0" * 16), Pair("1" * 16, NOW)), {"krl": frozenset([b"7" * 32])})
_HOLD = Hold(Held("0" * 16, ("1" * 16,)), Held("ab", ("cd",)))


def _toml(template: str) -> bytes:
    other = DomainId(1, DOMAIN.address, DOMAIN.block_hash)
    reader = CLASSICAL.public.x25519.hex()
    return template.format(domain=DOMAIN, other=other, ca=CA_ID, reader=reader).encode()


def _profiles() -> tuple[bytes, ...]:
    strict = Profile(
        AuthorityKind.SSH_USER,
        HOUR,
        frozenset({"permit-pty"}),
        (("source-address", "192.0.2.0/24"), ("verify-required", "")),
    )
    text = dump_profile(strict).replace("allow = []", 'allow = ["ops"]')
    return dump_profile(Profile.user(HOUR)).encode(), text.encode()


_CALLS = DomainCalls(FakeChain().domain)
_MADE = (
    _CALLS.close(CA_ID),
    _CALLS.revoke(CA_ID, [1, 2]),
    _CALLS.register_authority(
        AuthorityKind.SSH_USER,
        spki_of(CA.public_key()),
        CONTEXT,
        operator=REGISTRY,
        maximum_lifetime=HOUR,
    ),
    GovernanceCall(REGISTRY, encode_call(COUNCIL, "addMember", str(REGISTRY), 3)),
)
_ROUND = RoundFile(DOMAIN, REGISTRY, Proposal(Kind.DECISION, _MADE, NOW + HOUR, CONTEXT))
_VOTE = sign_vote(Wallet.create(), _ROUND, Choice.APPROVE, nonce=0, deadline=NOW + HOUR)
_OPENED = abi.find_event(COUNCIL, "RoundOpened")


def _round(data: bytes) -> object:
    proposal = parse_round(data).proposal
    return proposal.id, describe_calls(proposal.calls)


def _vote(data: bytes) -> object:
    vote = parse_vote(data)
    return recover_signer(vote.signature, vote.digest)


def _call(data: bytes) -> object:
    told = describe_call(GovernanceCall(REGISTRY, data))
    if told is None:
        raise MalformedInput("not understood")
    return told


def _action(text: str) -> object:
    speaker = Speaker(_CALLS, REGISTRY, lambda _: CA_ID, lambda name: load_parameters(Path(name)))
    return speaker.parse(text)


def _opened(data: bytes) -> object:
    topics = [_OPENED.topic, CONTEXT, Hash32(bytes(REGISTRY).rjust(32, b"\0")), Hash32.zero()]
    return parse_proposal(_OPENED.decode(topics, data)["proposal"])


def _opened_seed() -> bytes:
    kinds = [p.kind for p in _OPENED.parameters if not p.is_indexed]
    return abi_encode(kinds, [1, 0, _ROUND.proposal.abi()])


def _texts(*values: object) -> tuple[bytes, ...]:
    return tuple(str(value).encode() for value in values)


_KEYS = _key_files()
_STATEMENT = Statement(
    *(DOMAIN, KEYS.address, 9, 7, CONTEXT, "strict", 16),
    (AcknowledgedCertificate(CA_ID, 17, CONTEXT, Stage.INSTALLED),),
)


def _acknowledged() -> bytes:
    signed = {"v": 2, "statement": encode_statement(_STATEMENT), "signature": b"\x01" * 65}
    return dumps(signed)


_SURVEY = b"""uid=0
python=python3.12 3.12
venv=python3.12
systemd=yes
sshd=OpenSSH_9.2
config=yes
include=/etc/ssh/sshd_config.d/*.conf
room=9000000
clock=1796000000
dpki=/usr/bin/dpki dpki 0.1.0
"""
_STANDINGS = {
    key_of("https://rpc.example"): Named("https://rpc.example", Standing(2, 1.8e9, Fault.FORKED))
}

_ISSUED = b"".join(
    [
        *(CERTIFICATE_ISSUED, CA_ID, bytes(12), KEYS.address, (17).to_bytes(32, "big")),
        *(CONTEXT, to_timestamp(NOW).to_bytes(32), CONTEXT),
    ]
)


def _issued(data: bytes) -> object:
    topics = tuple(Hash32(data[i : i + 32]) for i in range(0, min(len(data), 128) - 31, 32))
    return parse_issued(Log(topics, data[128:], 7, CONTEXT, 0, REGISTRY), "rpc")


def _topic(text: str) -> object:
    topic = Topic.find(text)
    if topic is None:
        raise MalformedInput("no topic")
    return topic


PARSERS: Mapping[str, Parser] = {
    "certificate": Parser(_certificate, _CERTIFICATES),
    "certificate-line": Parser(
        _certificate, _texts(*(ssh_line(parse_ssh_certificate(c), "x") for c in _CERTIFICATES[:5]))
    ),
    "certificate-at-login": Parser(_at_login, _CERTIFICATES),
    "public-key": Parser(parse_ssh_public_key, _SUBJECTS),
    "public-key-line": Parser(parse_ssh_public_key, _texts(*map(public_key_line, _SUBJECTS))),
    "ca-key-of-ssh": Parser(authority_spki, _SUBJECTS[:3]),
    "ca-key": Parser(parse_public_key, (spki_of(CA.public_key()), spki_of(P256.public_key()))),
    "private-key": Parser(public_blob, (_private_key(),)),
    "krl": Parser(parse_krl, (_KRL, build_krl((), (), version=1, generated=NOW))),
    "cbor": Parser(lambda data: loads_strict(data, 1 << 16), (encode_bundle(_BUNDLE),)),
    "key-document": Parser(parse_key_document, (encode_key_document(_DOCUMENT),)),
    "enrolment-request": Parser(_request, (encode_request(_REQUEST),)),
    "enrolment-request-text": Parser(
        _request,
        _texts(
            request_line(_REQUEST),
            "\n".join(request_parts(_REQUEST, 7)),
            "\r\n".join(request_parts(_REQUEST, 3)[::-1]),
        ),
    ),
    "token": Parser(_text(Token.parse), _texts(_TOKEN.dump())),
    "token-request": Parser(parse_asking, (make_asking(_TOKEN, encode_request(_REQUEST)),)),
    "token-answer": Parser(
        lambda data: verify_answer(data, _TOKEN, KEYS.address, encode_request(_REQUEST)),
        (make_answer(_TOKEN.keys, _ANSWER),),
    ),
    "acknowledgement": Parser(parse_acknowledgement, (_acknowledged(),)),
    "sealed-acknowledgement": Parser(
        lambda data: verify_acknowledgement(data, CLASSICAL, DOMAIN),
        (make_acknowledgement(KEYS, _STATEMENT, CLASSICAL.public.x25519),),
    ),
    "kept-acknowledgement": Parser(
        parse_kept_acknowledgement,
        (
            encode_kept_acknowledgement(
                acknowledge.Kept(KEYS.address, 9, 7, CONTEXT, "/outbox", b"sealed", NOW)
            ),
        ),
    ),
    "acknowledgement-key": Parser(
        _text(parse_reader), (f"0x{CLASSICAL.public.x25519.hex()}".encode(),)
    ),
    "prekey": Parser(lambda data: PrekeySecret.load(7, data), (PrekeySecret.generate(7).dump(),)),
    "message-topic": Parser(_text(_topic), _texts(f"acknowledgement/0x{KEYS.address.hex()}")),
    "bundle": Parser(parse_bundle, (encode_bundle(_BUNDLE),)),
    "sealed-x25519": Parser(
        lambda data: open_bundle(data, CLASSICAL, CONTEXT),
        (seal_bundle(_BUNDLE, CLASSICAL.public),),
    ),
    "sealed-hybrid": Parser(
        lambda data: open_bundle(data, HYBRID, CONTEXT),
        (seal_bundle(_BUNDLE, HYBRID.public),),
    ),
    "sealing-secrets": Parser(SealingSecrets.load, (HYBRID.dump(),)),
    "proof": Parser(parse_proof, (encode_proof(CertificateProof(DOMAIN, CA_ID, 17, _PATH)),)),
    "endpoint-standings": Parser(parse_standings, (encode_standings(_STANDINGS),)),
    "admin-config": Parser(
        lambda data: parse_admin_config(data.decode("utf-8", "replace"), Path("config.toml")),
        (_toml(_ADMIN),),
    ),
    "device-config": Parser(
        lambda data: parse_device_config(data.decode("utf-8", "replace")), (_toml(_DEVICE),)
    ),
    "council-round": Parser(_round, (encode_round(_ROUND),)),
    "council-vote": Parser(_vote, (encode_vote(_VOTE),)),
    "council-call": Parser(_call, tuple(call.data for call in _MADE)),
    "council-action": Parser(_text(_action), (b"ca close users", b"ca lifetime users 12h")),
    "council-event": Parser(_opened, (_opened_seed(),)),
    "council-parameters": Parser(
        _file(load_parameters), (b'version = 1\ndelay = "2d"\n[root]\ninitial = 70\n',)
    ),
    "profile": Parser(lambda data: parse_profile(data, Path("users.toml")), _profiles()),
    "keystore": Parser(
        _file(lambda path: load_wallet(path, lambda _: PASSPHRASE)),
        (Wallet.create().encrypt(PASSPHRASE, work=2),),
        costly=True,
    ),
    "issuer-key": Parser(_file(load_issuer_key), (IssuerKey.generate().dump(),)),
    "key-folder": Parser(
        _key_folder, tuple(bytes([number]) + key for number, key in enumerate(_KEYS))
    ),
    "journal": Parser(_file(_journal, "journal.db"), _journals()),
    "audit-index": Parser(_file(_audit_index, "index.sqlite"), _audit_indices()),
    "watch-state": Parser(_file(_watch_state, "watch.sqlite"), _watch_states()),
    "agent-database": Parser(_file(_agent_database, "agent.db"), _agent_databases()),
    "agent-report": Parser(
        lambda data: parse_report(data, Path("report.json")), (_agent_report(),)
    ),
    "agent-kept": Parser(parse_kept, (encode_kept(_kept()),)),
    "subscription": Parser(_subscription, _MESSAGES),
    "installed-record": Parser(parse_record, (encode_record(_RECORD),)),
    "host-survey": Parser(parse_survey, (_SURVEY,)),
    "made-on-host": Parser(parse_made, (encode_made(Made("login", ("/etc/ssh",))),)),
    "hold": Parser(parse_hold, (encode_hold(_HOLD),)),
    "login-record": Parser(
        _text(parse_login_record),
        _texts(
            f"17-0123abcd-1500-{'ab' * 32}-7-{'cd' * 32}",
            f"1-0123abcd-0-{'00' * 32}-0-{'00' * 32}-marked",
        ),
    ),
    "login-index": Parser(_file(_login_index, "login.db"), _login_indices()),
    "parcel": Parser(
        lambda data: parse_parcel(data, CONTEXT),
        (encode_parcel(CONTEXT, 0, 2, _CERTIFICATES[:3]),),
    ),
    "sealed-parcel": Parser(
        lambda data: open_parcels([data], CLASSICAL, CONTEXT),
        make_parcels(_CERTIFICATES[:3], CONTEXT, [KEYS.sealing.public.x25519]),
    ),
    "confirmation": Parser(
        lambda data: parse_confirmation(data, DOMAIN), (encode_confirmation(DOMAIN, _CONFIRMATION),)
    ),
    "handover": Parser(parse_handover, (encode_handover(_HANDOVER),)),
    "ca-request": Parser(parse_authority_request, (encode_authority_request(_CA_REQUEST),)),
    "signed-note": Parser(SignedNote.parse, (_NOTE,)),
    "checkpoint": Parser(lambda data: verify_checkpoint(data, [_WITNESS]), (_NOTE,)),
    "checkpoint-text": Parser(_text(Checkpoint.parse), (SignedNote.parse(_NOTE).text.encode(),)),
    "witness-statement": Parser(lambda data: Stated.parse(data, _WITNESS, DOMAIN), (_NOTE,)),
    "witness": Parser(_text(Witness.parse), _texts(f"{_WITNESS}=https://a.example/x")),
    "witness-key": Parser(_text(VerifierKey.parse), _texts(_WITNESS)),
    "devnet-state": Parser(
        _file(lambda path: load_state(path.parent), FILE), (json.dumps(_DEVNET).encode(),)
    ),
    "block": Parser(
        _json(lambda value: decode.block(value, "rpc")), (json.dumps(_BLOCK).encode(),)
    ),
    "header": Parser(
        _json(lambda value: verify_header(value, _HEADER_HASH)), (json.dumps(_HEADER).encode(),)
    ),
    "header-rlp": Parser(parse_header, (parse_proof_bundle(_PROOF_BUNDLES[0]).header,)),
    "proof-bundle": Parser(_proof_bundle, _PROOF_BUNDLES),
    "issued-event": Parser(_issued, (_ISSUED,)),
    "rlp": Parser(rlp.decode_list, _trie_nodes()),
    "trie-node": Parser(Node.parse, _trie_nodes()),
    "state-proof": Parser(_json(_state_proof), (json.dumps(_STATE_PROOF).encode(),)),
    "revert": Parser(
        _json(decode_revert), (b'"0x08c379a0' + b"00" * 31 + b'20"', b'{"data": "0x4e487b71"}')
    ),
    "domain-id": Parser(_text(DomainId.parse), _texts(DOMAIN)),
    "ca-id": Parser(_text(AuthorityId.parse), _texts(CA_ID)),
    "address": Parser(_text(Address.parse), _texts(REGISTRY)),
    "cid": Parser(_text(digest_of_cid), _texts(cid_of(CONTEXT))),
    "grant": Parser(_text(Grant.parse), _texts(f"{CA_ID}/ops")),
    "key-uri": Parser(_text(Pkcs11Uri.parse), (b"pkcs11:token=acme;object=ssh-user-ca",)),
    "duration": Parser(_text(parse_duration), (b"8h", b"30d")),
    "url": Parser(_text(verify_url), (b"https://rpc.example.org/x?y=z", b"http://[::1]:8545")),
    "multiaddress": Parser(_text(verify_multiaddr), (b"/ip4/127.0.0.1/tcp/5001",)),
    "broker-address": Parser(
        _text(BrokerAddress.parse), (b"mqtts://broker.example.org:8884/acme", b"mqtts://[::1]/x")
    ),
    "ssh-address": Parser(_text(SshAddress.parse), (b"ssh://root@gate-1:2222/var/lib/outbox",)),
    "ssh-output": Parser(
        _message, (f"acknowledgement-0x{KEYS.address.hex()}.message bWVzc2FnZQ==".encode(),)
    ),
    "secret-source": Parser(_text(verify_secret_source), (b"env:PIN", b"file:/run/pin")),
}


def parses(parser: Parser, data: bytes) -> bool:
    """Return whether the bytes parse; any exception but `DpkiError` goes on its way."""
    try:
        parser.parse(data)
    except DpkiError:
        return False
    return True
