"""Access to one account of one device for a while. Pure: no key, no network, no clock.

The certificate names account and device in its one principal, so it opens nothing else anywhere,
whoever's agent sees it; and it gets no right that was not asked for, whatever its CA may give.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from dpki.certificates.principals import account_principal, is_account_principal
from dpki.certificates.profile import END_SESSIONS, Profile
from dpki.certificates.ssh import SshCertificate
from dpki.chain.snapshot import Authority, Snapshot
from dpki.config.values import verify_account
from dpki.errors import CheckedFalse, NotAllowed, UsageError
from dpki.model import Address, AuthorityId, AuthorityKind, AuthorityState, DeviceState

TERMINAL = "permit-pty"


@dataclass(frozen=True)
class Grant:
    """Who may be let in where, and what they may do there.

    Attributes:
        device: The device.
        account: The account on it.
        permits: Extensions beside a terminal, such as `permit-port-forwarding`.
        ends_sessions: Whether the device ends what is still open when the certificate ends.
    """

    device: Address
    account: str
    permits: frozenset[str] = frozenset()
    ends_sessions: bool = False

    @property
    def principal(self) -> str:
        """The one principal of its certificate."""
        return account_principal(self.account, self.device)

    @property
    def extensions(self) -> frozenset[str]:
        """The extensions of its certificate."""
        mark = {END_SESSIONS} if self.ends_sessions else frozenset[str]()
        return self.permits | {TERMINAL} | mark


def verify_grant(grant: Grant, authority: Authority, snapshot: Snapshot, profile: Profile) -> None:
    """Refuse what could not be used, or is not for the CA to give.

    Args:
        snapshot: The newest state; it must hold the device.
        profile: What the CA may issue.

    Raises:
        UsageError: The account is no account's name, or the CA is not for people.
        CheckedFalse: The device is not enrolled, or retired.
        NotAllowed: The profile does not allow an extension that was asked for.
    """
    verify_account(grant.account)
    if authority.kind is not AuthorityKind.SSH_USER:
        raise UsageError(
            f"CA {authority.id} signs {authority.kind.label} certificates, not people's",
            hint="name a user CA: --ca NAME (dpki ca list)",
        )
    state = snapshot.devices[grant.device].state
    if state is not DeviceState.ACTIVE:
        word = "retired" if state is DeviceState.RETIRED else "not enrolled"
        raise CheckedFalse(
            f"device {grant.device} is {word}, and lets nobody in",
            hint="see the devices with: dpki device list",
        )
    for name in sorted(grant.permits - profile.extensions):
        raise NotAllowed(
            f"the CA's profile does not allow the extension {name[:60]!r}",
            hint="see what it allows with: dpki ca profile lint NAME",
        )


def find_user_authority(snapshot: Snapshot, named: Collection[AuthorityId]) -> AuthorityId:
    """Return the one CA among these that issues certificates for people now.

    Raises:
        UsageError: There is none, or there are several.
    """
    found = [
        authority.id
        for authority in snapshot.authorities.values()
        if authority.id in named
        and authority.kind is AuthorityKind.SSH_USER
        and authority.state is AuthorityState.ACTIVE
    ]
    if len(found) != 1:
        many = "several user CAs issue here" if found else "no user CA here issues"
        raise UsageError(f"{many}: which is it to be?", hint="name one: --ca NAME (dpki ca list)")
    return found[0]


def granted_extensions(certificate: SshCertificate) -> frozenset[str] | None:
    """Return what a certificate may have that takes the place of this one; None for all.

    A grant stays as narrow as it was, and an ordinary certificate follows its CA's profile.
    """
    if not any(map(is_account_principal, certificate.principals)):
        return None
    return frozenset(name for name, _ in certificate.extensions)
