"""What of one CA's certificates is to be issued again by another. Pure.

For a planned rotation, and for the worst day, when the old CA is suspended or retired: what counts
is what it had granted to whom, not whether its certificates are still accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dpki.issuance.batch import JournaledCertificate
from dpki.issuance.standing import Standing
from dpki.model import Address

Standings = Iterable[tuple[JournaledCertificate, Standing]]

Holder = tuple[object, ...]
"""What two certificates have in common that are the same grant."""


@dataclass(frozen=True)
class Renewals:
    """What became of the old CA's certificates.

    Attributes:
        due: Those to be issued again: of each holder the newest, by serial.
        done: Those whose holder has one of the new CA.
        refused: Those whose holder's one of the new CA was revoked: it is not given again.
        replaced: Serials of the old CA whose holders have one of the new CA.
    """

    due: tuple[JournaledCertificate, ...]
    done: tuple[JournaledCertificate, ...]
    refused: tuple[JournaledCertificate, ...]
    replaced: tuple[int, ...]


def holder_of(certificate: JournaledCertificate) -> Holder:
    """Return what makes two certificates the same grant.

    A device's key changes with time; a person's key is what was vouched for.
    """
    parsed = certificate.certificate
    principals = frozenset(parsed.principals)
    if certificate.device != Address.zero():
        return certificate.device, principals
    return certificate.subject, parsed.subject_key, principals


# What watchdogs have yet to confirm was granted as well; they look at what takes its place too.
_GRANTED = (Standing.ANCHORED, Standing.AWAITING)


def plan_renewals(
    old: Standings,
    new: Standings,
    holder_of: Callable[[JournaledCertificate], Holder] = holder_of,
) -> Renewals:
    """Decide what is to be issued again.

    Of several certificates of one holder the newest that is neither void nor expired counts: where
    that was revoked, an older one is not brought back to life. Nor is one that was issued again and
    then revoked.
    """
    newest: dict[Holder, tuple[JournaledCertificate, Standing]] = {}
    live: list[JournaledCertificate] = []
    for certificate, standing in sorted(old, key=lambda pair: pair[0].serial):
        if standing in (*_GRANTED, Standing.REVOKED):
            newest[holder_of(certificate)] = certificate, standing
        if standing in _GRANTED:
            live.append(certificate)
    wanted = [c for c, standing in newest.values() if standing in _GRANTED]
    under_new: dict[Holder, set[Standing]] = {}
    for certificate, standing in new:
        under_new.setdefault(holder_of(certificate), set()).add(standing)

    def has(certificate: JournaledCertificate) -> bool:
        return any(s.is_live for s in under_new.get(holder_of(certificate), ()))

    def was_revoked(certificate: JournaledCertificate) -> bool:
        return Standing.REVOKED in under_new.get(holder_of(certificate), ())

    missing = [c for c in wanted if not has(c)]
    return Renewals(
        due=_in_order(c for c in missing if not was_revoked(c)),
        done=_in_order(c for c in wanted if has(c)),
        refused=_in_order(c for c in missing if was_revoked(c)),
        replaced=tuple(c.serial for c in live if has(c)),
    )


def _in_order(certificates: Iterable[JournaledCertificate]) -> tuple[JournaledCertificate, ...]:
    return tuple(sorted(certificates, key=lambda c: c.serial))
