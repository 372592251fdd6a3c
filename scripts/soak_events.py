"""What happens in the soak: on chain, by random, and at once in the model."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.principals import account_principal
from dpki.certificates.ssh import SshCertificate, ssh_line
from dpki.config.device import Grant
from dpki.devices.document import make_key_document
from dpki.devices.enrollment import make_enrollment_request
from dpki.devices.prekeys import PrekeySecret
from dpki.model import Address, Entry, Hash32
from scripts.soak_device import Device
from scripts.soak_model import Ca as ModelCa
from scripts.soak_model import Certificate, Model, State
from tests.chain_world import ChainWorld
from tests.world import Ca

STRANGER = Address(b"\x77" * 20)
LIFETIME = timedelta(days=2)
MOST_CAS = 12


@dataclass
class Events:
    """The hand that operators, governor and device write with.

    Attributes:
        people: Keys that user certificates are for.
        cas: CAs with their private keys, by the model's names.
        lines: User certificates as files hold them, by hash.
        settled: Whether every device shows a certificate for its newest host key.
    """

    chance: random.Random
    world: ChainWorld
    model: Model
    devices: list[Device]
    account: str
    people: list[Ed25519PrivateKey]
    cas: dict[str, Ca] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)
    settled: bool = True
    nonce: int = 1
    prekeys: int = 0

    def happen(self) -> str:
        """Let something happen; return what."""
        kinds: list[tuple[int, Callable[[], str]]] = [
            (6, self.issue),
            (3, self.grant),
            (1, self.issue_many),
            (4, self.revoke),
            (1, self.revoke_below),
            (2, self.issue_host),
            (2, self.rotate),
            (1, self.revoke_host),
            (1, self.wrong_bundle),
            (1, self.suspend_or_lift),
            (1, self.end_a_ca),
            (1, self.new_ca),
            (1, self.update_device),
        ]
        weights = [weight for weight, _ in kinds]
        (event,) = self.chance.choices([kind for _, kind in kinds], weights)
        return event()

    # --- user certificates ----------------------------------------------------------------------

    def issue(self, *, principal: str = "ops") -> str:
        """Anchor one user certificate, for whoever and wherever."""
        name = self._issuing()
        if not name:
            return "no CA issues any more"
        device = self.chance.choice([Address.zero(), Address.zero(), self.device, STRANGER])
        certificate, record = self.sign_user(name, principal, device)
        self.anchor(name, certificate, record, device)
        return f"issued {name} {record.serial} for {principal}, device {device}"

    def grant(self) -> str:
        """Give somebody the account on this device alone, or a principal that opens nothing."""
        here = account_principal(self.account, self.device)
        return self.issue(principal=self.chance.choice([here, "guests"]))

    def sign_user(
        self, name: str, principal: str, device: Address
    ) -> tuple[SshCertificate, Certificate]:
        """Sign a user certificate, and return it with what the model knows of it."""
        ca, person = self.cas[name], self.chance.randrange(len(self.people))
        now = datetime.now(UTC).replace(microsecond=0)
        certificate = ca.sign(
            self.model.users[name].next_serial,
            principals=[principal],
            subject=self.people[person],
            valid_after=now - timedelta(minutes=5),
            valid_before=now + LIFETIME,
            extensions=["permit-pty"],
        )
        self.lines[str(certificate.hash)] = ssh_line(certificate)
        opens = principal in ("ops", account_principal(self.account, self.device))
        record = Certificate(
            certificate.serial,
            str(certificate.hash),
            is_ours=device != STRANGER,
            principal="ops" if opens else principal,
            person=person,
        )
        return certificate, record

    def anchor(
        self, name: str, certificate: SshCertificate, record: Certificate, device: Address
    ) -> None:
        """Anchor it, and tell the model."""
        entry = Entry(certificate.hash, device, certificate.valid_before, Hash32.zero())
        self.world.writer.issue(self.cas[name].id, certificate.serial, [entry])
        self.model.users[name].add(record)

    def issue_many(self, count: int | None = None) -> str:
        """Anchor a batch for another device: nothing of it matters here, but as revoked."""
        name = self._issuing()
        if not name:
            return "no CA issues any more"
        count = count or self.chance.randint(2, 20)
        ca, until = self.model.users[name], datetime.now(UTC) + LIFETIME
        first = ca.next_serial
        entries = [
            Entry(Hash32(secrets.token_bytes(32)), STRANGER, until, Hash32.zero())
            for _ in range(count)
        ]
        self.world.writer.issue(self.cas[name].id, first, entries)
        for i, entry in enumerate(entries):
            ca.add(Certificate(first + i, str(entry.certificate_hash), is_ours=False))
        return f"issued {name} {first} to {first + count - 1} for another device"

    def revoke(self) -> str:
        """Revoke one to four, of whatever CA in whatever state."""
        name = self.chance.choice(sorted(self.model.users))
        ca = self.model.users[name]
        left = [c.serial for c in ca.counting()]
        if not left:
            return f"nothing to revoke of {name}"
        serials = sorted(self.chance.sample(left, min(len(left), self.chance.randint(1, 4))))
        self.world.writer.revoke(self.cas[name].id, serials)
        ca.revoked.update(serials)
        return f"revoked {name} {serials}"

    def revoke_below(self) -> str:
        """Raise a CA's watermark, not by much."""
        name = self.chance.choice(sorted(self.model.users))
        ca = self.model.users[name]
        below = min(ca.below + self.chance.randint(1, 5), ca.next_serial)
        if below <= max(ca.below, 1):
            return f"nothing to revoke of {name}"
        self.world.writer.revoke_below(self.cas[name].id, below)
        ca.below = below
        return f"revoked {name} below {below}"

    # --- the device -----------------------------------------------------------------------------

    @property
    def device(self) -> Address:
        """The device."""
        return self.world.keys.address

    def issue_host(self) -> str:
        """Certify the device's newest host key anew, once that is in use."""
        if not self._hosts_issue() or not self.settled:
            return self.rotate()
        certificate = self.world.issue_host()
        self._add_host(certificate)
        return f"issued host certificate {certificate.serial} for the same key"

    def rotate(self) -> str:
        """Let the device have a new host key: a one-time key, in an updated key document."""
        if not self._hosts_issue():
            return "the host CA is suspended"
        self.prekeys += 1
        prekey = PrekeySecret.generate(self.prekeys)
        for device in self.devices:
            device.give_prekey(prekey)
        keys = self.world.keys
        self.world.keys = replace(keys, prekeys=(*keys.prekeys, prekey))
        self.update_device()
        self.model.generation += 1
        self.settled = False
        certificate = self.world.issue_host(prekey=prekey)
        self._add_host(certificate)
        self.world.keys = replace(keys, ssh_host=(prekey.ssh,))
        return f"rotated to host certificate {certificate.serial}, one-time key {prekey.number}"

    def revoke_host(self) -> str:
        """Revoke a host certificate, but not the last one for the newest key."""
        hosts = self.model.hosts
        good = [c for c in hosts.counting() if c.opens]
        newest = [c for c in good if c.generation == self.model.generation]
        old = [c for c in hosts.counting() if c not in newest or len(newest) > 1]
        if not old:
            return "no host certificate to revoke"
        serial = self.chance.choice(old).serial
        self.world.writer.revoke(self.world.hosts.id, [serial])
        hosts.revoked.add(serial)
        return f"revoked host certificate {serial}"

    def wrong_bundle(self) -> str:
        """Anchor a host certificate whose bundle opens, and holds another one."""
        if not self._hosts_issue():
            return "the host CA is suspended"
        other = self.world.hosts.sign(subject=self.world.keys.ssh_host[-1])
        certificate = self.world.issue_host(lambda b: replace(b, certificate=other.blob))
        self._add_host(certificate, opens=False)
        return f"host certificate {certificate.serial} comes in a bundle that holds another"

    def retire_device(self) -> str:
        """Retire the device, for ever."""
        self.world.writer.retire_device(self.device)
        self.model.is_enrolled = False
        return "retired the device"

    def update_device(self) -> str:
        """Write a new key document of the device on chain."""
        keys, world = self.world.keys, self.world
        document = make_key_document(keys, self.nonce)
        request = make_enrollment_request(
            keys,
            world.domain.id,
            world.domain.devices,
            document,
            datetime.now(UTC) + timedelta(hours=1),
            self.nonce,
        )
        world.writer.update_device(
            keys.address, document.digest, request.deadline, request.signature
        )
        self.nonce += 1
        return f"the device's key document {self.nonce - 1} is on chain"

    def _hosts_issue(self) -> bool:
        return self.model.hosts.state is State.ACTIVE

    def _add_host(self, certificate: SshCertificate, *, opens: bool = True) -> None:
        self.model.hosts.add(
            Certificate(
                certificate.serial,
                str(certificate.hash),
                opens=opens,
                generation=self.model.generation,
            )
        )

    # --- CAs ------------------------------------------------------------------------------------

    def suspend_or_lift(self) -> str:
        """Suspend a CA, or lift it again."""
        ca = self.chance.choice(self.model.cas())
        if ca.state is State.RETIRED:
            return f"{ca.name} is retired"
        id = self.cas[ca.name].id
        if ca.state is State.SUSPENDED:
            self.world.writer.lift(id)
            ca.lift()
            return f"lifted {ca.name}, which is {ca.state.value}"
        self.world.writer.suspend(id)
        ca.suspend()
        return f"suspended {ca.name}"

    def lift_all(self) -> str:
        """Lift the host CA, so that a device is not without a certificate for long."""
        hosts = self.model.hosts
        if hosts.state is not State.SUSPENDED:
            return "the host CA is not suspended"
        self.world.writer.lift(self.cas["hosts"].id)
        hosts.lift()
        return "lifted hosts"

    def end_a_ca(self) -> str:
        """Close a user CA, or retire one; not the last ones that issue."""
        active = [ca for ca in self.model.users.values() if ca.state is State.ACTIVE]
        closed = [ca for ca in self.model.users.values() if ca.state is State.CLOSED]
        if len(active) > 2 and self.chance.random() < 0.6:
            ca = self.chance.choice(active)
            self.world.writer.close(self.cas[ca.name].id)
            ca.state = State.CLOSED
            return f"closed {ca.name}"
        if not closed:
            return "no CA to retire"
        ca = self.chance.choice(closed)
        self.world.writer.retire(self.cas[ca.name].id)
        ca.state = State.RETIRED
        return f"retired {ca.name}"

    def new_ca(self) -> str:
        """Register a user CA, and perhaps let it open the account of the devices."""
        issuing = [ca for ca in self.model.users.values() if ca.state is State.ACTIVE]
        if len(self.model.users) >= MOST_CAS and len(issuing) > 1:
            return "there are CAs enough"
        return self.register(is_granted=self.chance.random() < 0.7)

    def register(self, *, is_granted: bool) -> str:
        """Register a user CA."""
        name, ca = f"users-{len(self.model.users)}", Ca.users()
        world = self.world
        world.writer.register_authority(
            ca.kind,
            ca.spki,
            world.issuer.public,
            operator=world.writer.account,
            maximum_lifetime=timedelta(days=30),
        )
        self.take(name, ca, is_granted=is_granted)
        return f"registered {name}" + (", which may open the account" if is_granted else "")

    def take(self, name: str, ca: Ca, *, is_granted: bool) -> None:
        """Take a registered user CA into the model and the devices' settings."""
        self.cas[name] = ca
        self.model.users[name] = ModelCa(name, is_granted, next_serial=ca.next_serial)
        if is_granted:
            granted = [n for n, known in self.model.users.items() if known.is_granted]
            grants = tuple(Grant(self.cas[n].id, "ops") for n in granted)
            for device in self.devices:
                device.site.configure(accounts={self.account: grants})

    # --- forks ----------------------------------------------------------------------------------

    def snapshot(self) -> Any:
        """Mark a point of the chain that a fork leads back to."""
        return self.world.reader.call("evm_snapshot")

    def revert(self, mark: object) -> None:
        """Let all that came after the mark be undone, as by a reorganisation."""
        self.world.reader.call("evm_revert", [mark])

    def _issuing(self) -> str:
        names = [n for n, ca in self.model.users.items() if ca.state is State.ACTIVE]
        return self.chance.choice(names) if names else ""
