"""A trust domain on a real Anvil, with CAs whose keys are in memory, and a device's agent to look.

For tests of what the agent and `verify` make of a chain, and of an endpoint that lies about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.agent.observation import Observation
from dpki.agent.observe import observe
from dpki.agent.opened import OpenedBundles
from dpki.agent.state import open_state
from dpki.bundle.cid import digest_of
from dpki.bundle.content import Bundle, bundle_context, seal_bundle
from dpki.bundle.locator import IssuerKey, locator_for
from dpki.certificates.ssh import SshCertificate
from dpki.chain import merkle
from dpki.chain.domain import Domain, fetch_domain
from dpki.chain.rpc import Call, Endpoint, Reader
from dpki.config.device import Access, DeviceConfig
from dpki.config.finality import Finality
from dpki.config.outbound import Outbound
from dpki.devices.document import make_key_document
from dpki.devices.enrollment import make_enrollment_request
from dpki.devices.keys import DeviceKeys, generate_device_keys
from dpki.devices.prekeys import PrekeySecret
from dpki.devnet.accounts import development_wallet
from dpki.devnet.anvil import Anvil
from dpki.model import Address, Entry, Hash32
from dpki.store.directory import DirectoryStore
from dpki.transactions.deploy import deploy_domain
from dpki.transactions.writer import DomainWriter
from tests.world import Ca

HOST = "pump-17.example"


@dataclass
class ChainWorld:
    """One domain, one device, one folder that stands for IPFS."""

    directory: Path
    reader: Reader
    domain: Domain
    writer: DomainWriter
    keys: DeviceKeys = field(default_factory=generate_device_keys)
    users: Ca = field(default_factory=Ca.users)
    hosts: Ca = field(default_factory=Ca.hosts)
    issuer: IssuerKey = field(default_factory=IssuerKey.generate)
    confirmations: int = 1
    finality: str = "latest"
    outbound: Outbound | None = None
    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    def __post_init__(self) -> None:
        for ca in (self.users, self.hosts):
            self.writer.register_authority(
                ca.kind,
                ca.spki,
                self.issuer.public,
                operator=self.writer.account,
                maximum_lifetime=timedelta(days=30),
            )
        self.enroll(self.keys)

    def enroll(self, keys: DeviceKeys) -> None:
        """Enrol a device with these keys."""
        document = make_key_document(keys)
        request = make_enrollment_request(
            keys,
            self.domain.id,
            self.domain.devices,
            document,
            self.now + timedelta(hours=1),
        )
        self.writer.enroll_device(
            keys.address, document.digest, request.deadline, request.signature
        )

    @property
    def store_directory(self) -> Path:
        return self.directory / "store"

    @property
    def store(self) -> DirectoryStore:
        return DirectoryStore(self.store_directory)

    def sign_user(self, serial: int | None = None) -> SshCertificate:
        """Return a user certificate with the next serial, or another."""
        return self.users.sign(
            serial,
            valid_after=self.now - timedelta(minutes=5),
            valid_before=self.now + timedelta(hours=8),
        )

    def anchor_users(self, *certificates: SshCertificate, holder: Address | None = None) -> None:
        """Anchor user certificates as one batch; people's, or a device's."""
        device = holder or Address.zero()
        entries = [Entry(c.hash, device, c.valid_before, Hash32.zero()) for c in certificates]
        self.writer.issue(self.users.id, self.users.next_serial, entries)
        self.users.next_serial += len(entries)

    def issue_host(
        self,
        change: Callable[[Bundle], Bundle] = lambda bundle: bundle,
        prekey: PrekeySecret | None = None,
    ) -> SshCertificate:
        """Sign, seal, publish and anchor a host certificate for the device's newest host key.

        Args:
            change: What to do to the bundle before it is sealed.
            prekey: The one-time key that it is for instead.
        """
        return self._issue_own(self.hosts, [HOST], self.keys.ssh_host[-1], change, prekey)

    def issue_client(
        self,
        change: Callable[[Bundle], Bundle] = lambda bundle: bundle,
        prekey: PrekeySecret | None = None,
    ) -> SshCertificate:
        """Do the same with a user certificate for its SSH client's newest key."""
        return self._issue_own(self.users, ["ops"], self.keys.ssh_user[-1], change, prekey)

    def _issue_own(
        self,
        ca: Ca,
        principals: list[str],
        key: Ed25519PrivateKey,
        change: Callable[[Bundle], Bundle],
        prekey: PrekeySecret | None,
    ) -> SshCertificate:
        serial, device = ca.next_serial, self.keys.address
        certificate = ca.sign(
            principals=principals,
            subject=key if prekey is None else prekey.ssh,
            valid_after=self.now - timedelta(minutes=5),
            valid_before=self.now + timedelta(days=1),
        )
        context = merkle.leaf_context(self.domain.id.chain_id, self.domain.certificates, ca.id)
        bare = Entry(certificate.hash, device, certificate.valid_before, Hash32.zero())
        path = merkle.Tree([merkle.leaf(context, serial, bare)]).path(0, serial)
        place = bundle_context(self.domain.id, ca.id, serial, device)
        bundle = change(Bundle(certificate.blob, None, path, place))
        public = self.keys.sealing.public
        if prekey is not None:
            public = public.for_prekey(prekey.x25519_public)
        sealed = seal_bundle(bundle, public)
        self.store.put(sealed)
        locator = locator_for(
            self.issuer,
            self.keys.sealing.public.x25519,
            ca.id,
            device,
            certificate.hash,
            digest_of(sealed),
        )
        entry = Entry(certificate.hash, device, certificate.valid_before, locator)
        self.writer.issue(ca.id, serial, [entry])
        ca.next_serial += 1
        return certificate

    @property
    def key_folder(self) -> Path:
        """The device's folder of keys, for who saves them."""
        return self.directory / "device/keys"

    def observe(self, reader: Reader | None = None) -> Observation:
        """Look as the agent does, at this endpoint or another."""
        folder = self.directory / "device"
        folder.mkdir(exist_ok=True)
        config = DeviceConfig(
            domain=self.domain.id,
            rpc=("unused",),
            access=Access(console_access=True),
            chain=Finality(authority_finality=self.finality, confirmations=self.confirmations),
            outbound=self.outbound,
        )
        with open_state(folder) as state:
            return observe(
                reader or self.reader,
                self.domain,
                config,
                self.keys,
                [self.store],
                state,
                OpenedBundles(folder / "bundles", self.key_folder),
                datetime.now(UTC),
            )


@contextmanager
def open_world(
    directory: Path,
    *,
    optimism: bool = False,
    block_time: int | None = None,
    epoch: int | None = None,
) -> Iterator[ChainWorld]:
    """Start an Anvil, deploy a domain, and end the Anvil.

    Args:
        block_time: Seconds between blocks; None mines a block for each transaction, at once.
        epoch: Blocks of an epoch; two epochs back a block is final.
    """
    with (
        Anvil(directory, optimism=optimism, block_time=block_time, epoch=epoch) as anvil,
        world_on(anvil.url, directory) as world,
    ):
        yield world


@contextmanager
def world_on(
    url: str, directory: Path, users: Ca | None = None, hosts: Ca | None = None
) -> Iterator[ChainWorld]:
    """Deploy a domain on a node with the devnet's accounts; with these CAs, or new ones."""
    with Endpoint(url) as reader:
        wallet = development_wallet(0, chain_id=31337)
        domain_id, _ = deploy_domain(
            reader, wallet, governor=wallet.address, registrars=[wallet.address]
        )
        domain = fetch_domain(reader, domain_id)
        yield ChainWorld(
            directory,
            reader,
            domain,
            DomainWriter(reader, domain, wallet),
            users=users or Ca.users(),
            hosts=hosts or Ca.hosts(),
        )


@dataclass
class Liar:
    """A reader that passes questions on, and then says what it likes.

    Attributes:
        tell: From a question and the true answer to the one given.
    """

    honest: Reader
    tell: Callable[[Call, object], object]

    @property
    def name(self) -> str:
        return "liar"

    def call(self, method: str, params: Sequence[object] = ()) -> object:
        return self.tell(Call(method, params), self.honest.call(method, params))

    def batch(self, calls: Sequence[Call]) -> list[object]:
        answers = self.honest.batch(calls)
        return [self.tell(call, answer) for call, answer in zip(calls, answers, strict=True)]
