"""What the soak's device must look like: a model that knows the rules and none of dpki's code.

It is told what happened on chain, in order, and says who counts, who is revoked, which CAs are
trusted, and which host certificate clients are shown.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field


class State(enum.Enum):
    """A CA's."""

    ACTIVE = "active"
    CLOSED = "closed"
    SUSPENDED = "suspended"
    RETIRED = "retired"

    @property
    def is_trusted(self) -> bool:
        """Whether what it issued counts."""
        return self in (State.ACTIVE, State.CLOSED)


@dataclass
class Certificate:
    """One that is anchored.

    Attributes:
        hash: In hexadecimal.
        is_ours: Whether it is for this device, or for no device in particular.
        opens: Whether the device's user or the device itself can have it.
        principal: Whom it is for.
        person: Which of the soak's people holds its key.
        generation: Which of the device's host keys it is for.
    """

    serial: int
    hash: str
    is_ours: bool = True
    opens: bool = True
    principal: str = ""
    person: int = 0
    generation: int = 0


@dataclass
class Ca:
    """One CA's part of the model.

    Attributes:
        below: The watermark: all serials below it are revoked.
        is_granted: Whether the device's account names it.
    """

    name: str
    is_granted: bool = False
    state: State = State.ACTIVE
    next_serial: int = 1
    below: int = 0
    revoked: set[int] = field(default_factory=set)
    certificates: dict[int, Certificate] = field(default_factory=dict)
    before: State = State.ACTIVE

    def is_revoked(self, serial: int) -> bool:
        """Whether it is, by itself or by the watermark."""
        return serial in self.revoked or serial < self.below

    def counting(self) -> Iterator[Certificate]:
        """Yield the certificates that count, if the CA does."""
        for certificate in self.certificates.values():
            if not self.is_revoked(certificate.serial):
                yield certificate

    def add(self, certificate: Certificate) -> None:
        """Anchor a certificate with the next serial."""
        assert certificate.serial == self.next_serial
        self.certificates[certificate.serial] = certificate
        self.next_serial += 1

    def suspend(self) -> None:
        """Suspend it."""
        self.before, self.state = self.state, State.SUSPENDED

    def lift(self) -> None:
        """Bring back what it was before."""
        self.state = self.before


@dataclass(frozen=True)
class View:
    """What can be seen of a device; a model's and a real one's are compared.

    Attributes:
        authorities: Names of the user CAs that sshd and the index trust.
        certificates: Hashes of the user certificates that count.
        revoked: By CA's name, the serials that the KRL refuses, up to one that was never issued.
        host: Hash of the host certificate that clients are shown; nothing for none.
        troubles: Whether the agent says that something is not as it should be.
    """

    authorities: frozenset[str]
    certificates: frozenset[str]
    revoked: tuple[tuple[str, frozenset[int]], ...]
    host: str
    troubles: bool

    def differences(self, other: View) -> list[str]:
        """Say in words where another differs from this one."""
        found = []
        for name in ("authorities", "certificates", "host", "troubles"):
            wanted, seen = getattr(self, name), getattr(other, name)
            if isinstance(wanted, frozenset):
                found += [f"{name}: {item} is missing" for item in sorted(wanted - seen)]
                found += [f"{name}: {item} should not be" for item in sorted(seen - wanted)]
            elif wanted != seen:
                found.append(f"{name}: {seen!r} and not {wanted!r}")
        mine, its = dict(self.revoked), dict(other.revoked)
        for ca in sorted(mine):
            found += [f"KRL: {ca} {s} is not revoked" for s in sorted(mine[ca] - its[ca])]
            found += [f"KRL: {ca} {s} is revoked" for s in sorted(its[ca] - mine[ca])]
        return found


@dataclass
class Model:
    """The domain and the device, as they should be.

    Attributes:
        users: User CAs, by name.
        hosts: The host CA.
        generation: The newest of the device's host keys that has a certificate.
        is_enrolled: Whether the device is; nobody gets into one that is retired.
    """

    users: dict[str, Ca] = field(default_factory=dict)
    hosts: Ca = field(default_factory=lambda: Ca("hosts"))
    generation: int = 0
    is_enrolled: bool = True

    def cas(self) -> list[Ca]:
        """Return every CA."""
        return [*self.users.values(), self.hosts]

    def host(self) -> Certificate | None:
        """Return the host certificate that clients should be shown."""
        if not self.hosts.state.is_trusted or not self.is_enrolled:
            return None
        good = [c for c in self.hosts.counting() if c.is_ours and c.opens]
        newest = max(good, key=lambda c: c.serial, default=None)
        return newest if newest and newest.generation == self.generation else None

    def may_enter(self, ca: Ca, certificate: Certificate) -> bool:
        """Whether its holder gets into the device's account."""
        return (
            self.is_enrolled
            and ca.is_granted
            and ca.state.is_trusted
            and not ca.is_revoked(certificate.serial)
            and certificate.is_ours
            and certificate.principal == "ops"
        )

    def view(self) -> View:
        """Return what a device should look like."""
        users = self.users.values() if self.is_enrolled else ()
        trusted = [ca for ca in users if ca.state.is_trusted]
        host = self.host()
        shown = 0 if host is None else host.serial
        spoilt = self.hosts.state.is_trusted and any(
            c.serial > shown and c.is_ours and not c.opens for c in self.hosts.counting()
        )
        return View(
            authorities=frozenset(ca.name for ca in trusted),
            certificates=frozenset(c.hash for ca in trusted for c in ca.counting() if c.is_ours),
            revoked=tuple(
                (
                    ca.name,
                    frozenset(s for s in range(1, ca.next_serial + 1) if self._refused(ca, s)),
                )
                for ca in self.cas()
            ),
            host="" if host is None else host.hash,
            troubles=spoilt or not self.is_enrolled,
        )

    def _refused(self, ca: Ca, serial: int) -> bool:
        return not ca.state.is_trusted or ca.is_revoked(serial)
