"""What issuing with one CA works with."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from dpki.bundle.locator import IssuerKey
from dpki.certificates.profile import Profile
from dpki.devices.document import KeyDocument
from dpki.issuance.chain import Chain
from dpki.issuance.journal import Journal
from dpki.issuance.progress import Progress
from dpki.issuance.publishing import Publisher
from dpki.locks import Turn
from dpki.model import Address, AuthorityId
from dpki.signer.base import Signer

OpenSigner = Callable[[], AbstractContextManager[Signer]]
FindDocument = Callable[[Address], KeyDocument | None]


@dataclass(frozen=True)
class Bench:
    """Everything that issuing with one CA needs.

    Attributes:
        chain: The domain, with the operator's account.
        ca: The CA.
        issuer_key: Its key for locators.
        open_signer: Opens its key in the token; called only when something is to be signed.
        journal: Where everything is recorded.
        publisher: Where bundles go.
        find_document: Gives the key document of a device, as far as known here.
        lock: File whose lock is held meanwhile.
        turn: How to wait for it.
        clock: Gives the time, aware.
        progress: Told about every step.
        profile: What the CA may issue, by configuration; None for the default.
    """

    chain: Chain
    ca: AuthorityId
    issuer_key: IssuerKey
    open_signer: OpenSigner
    journal: Journal
    publisher: Publisher
    find_document: FindDocument
    lock: Path
    clock: Callable[[], datetime]
    progress: Progress
    profile: Profile | None = None
    turn: Turn = field(default_factory=Turn)
