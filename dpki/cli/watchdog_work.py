"""The longer `dpki watchdog` commands, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dpki.bundle.seal import SealingSecrets
from dpki.cli.ca_work import find_named
from dpki.cli.output import Output, describe_receipt, describe_rehearsal, format_cost, say_receipt
from dpki.cli.reviewing import describe_review
from dpki.cli.session import Desk, now, open_desk, open_writer, publisher_of
from dpki.config.profile import load_profile
from dpki.errors import BatchRefused, CouldNotCheck, DpkiError, UsageError
from dpki.files import PUBLIC, create_atomic, load_bounded, make_private_directory, write_atomic
from dpki.issuance.publishing import Publisher
from dpki.model import Address, AuthorityId
from dpki.watchdog.examine import Opinion, View, examine, shorten
from dpki.watchdog.lookout import Lookout, Review

if TYPE_CHECKING:
    # web3 takes half a second to import: whoever only looks needn't wait for it.
    from dpki.transactions.wallet import Wallet
    from dpki.transactions.writer import DomainWriter

KEY_LIMIT = 256

GOOD_FOR = timedelta(days=7)
"""How long a signed confirmation can be brought."""


def load_watchdog_key(desk: Desk) -> SealingSecrets:
    """Load the key that parcels are read with.

    Raises:
        UsageError: There is none yet.
        DpkiError: It is damaged.
    """
    if not desk.home.watchdog_key.exists():
        raise UsageError("this home has no watchdog's key", hint="make it: dpki watchdog keys")
    return SealingSecrets.load(load_bounded(desk.home.watchdog_key, limit=KEY_LIMIT))


def make_keys(output: Output, home: Path | None, *, passphrase: str | None) -> None:
    """Make the key that parcels are read with, once, and say what the governor has to know."""
    from dpki.cli.session import unlock_wallet
    from dpki.config.admin import find_home, load_admin_config

    place = find_home(home)
    account = unlock_wallet(place, load_admin_config(place), passphrase, output).address
    if not place.watchdog_key.exists():
        make_private_directory(place.directory)
        secret = SealingSecrets(SealingSecrets.generate().x25519, None)
        create_atomic(place.watchdog_key, secret.dump())
    secret = SealingSecrets.load(load_bounded(place.watchdog_key, limit=KEY_LIMIT))
    key = "0x" + secret.public.x25519.hex()
    output.say(f"the governor names you with: --watchdog {account}:WEIGHT:{key}")
    output.result({"account": str(account), "sealing_key": key}, f"{account}:1:{key}")


@dataclass
class Duty:
    """A watchdog at work.

    Attributes:
        wallet: Whose confirmations are signed for others to bring, or None.
        folder: Where they go, or None to send them.
        dry_run: Whether nothing is said, only told here.
    """

    desk: Desk
    output: Output
    secret: SealingSecrets
    account: Address
    writer: DomainWriter
    wallet: Wallet
    publisher: Publisher
    lookout: Lookout
    folder: Path | None
    dry_run: bool
    told: dict[tuple[AuthorityId, int], str]

    def round(self) -> list[dict[str, object]]:
        """Look once, say what there is to be said, and return what happened.

        One batch's trouble does not keep the others waiting.
        """
        _, reviews = self.lookout.look(self.desk.reader)
        events = []
        for review in reviews:
            if not review.is_owed_by(self.account):
                continue
            try:
                opinion = self.opinion(review)
                document = self._act(review, opinion)
            except DpkiError as error:
                document = describe_review(review) | {"said": "failed", "reason": error.message}
            sentence = say_opinion(self._name(review.batch.ca), review, document)
            if self.told.get(review.place) != sentence:
                self.told[review.place] = sentence
                self.output.event(document, sentence)
                events.append(document)
        return events

    def opinion(self, review: Review) -> Opinion:
        """Return what is thought of a batch, by this home's profile of its CA."""
        name = self._named(review.batch.ca)
        profile = None if name is None else load_profile(self.desk.home.profile(name))
        publisher = self.publisher
        return examine(
            self.desk.domain,
            review,
            self.secret,
            profile,
            publisher.sources,
            now(),
            publisher.backoff,
        )

    def confirm(self, review: Review) -> dict[str, object]:
        """Confirm a batch: on chain, or signed for others to bring."""
        ca, first = review.place
        if self.folder is None:
            receipt = self.writer.confirm_batch(ca, first, review.commitment)
            return {"said": "confirmed", **describe_receipt(receipt)}
        from dpki.transactions.confirmations import encode_confirmation, sign_confirmation

        file = self.folder / f"{ca.hex()[:16]}-{first}-v{review.watch.version}.confirmation"
        signed = sign_confirmation(
            self.wallet,
            self.desk.domain,
            ca,
            version=review.watch.version,
            first_serial=first,
            commitment=review.commitment,
            deadline=now().replace(microsecond=0) + GOOD_FOR,
        )
        write_atomic(file, encode_confirmation(self.desk.domain.id, signed), mode=PUBLIC)
        return {"said": "signed", "file": str(file)}

    def _act(self, review: Review, opinion: Opinion) -> dict[str, object]:
        described = describe_review(review)
        if opinion.view is View.WAIT:
            return described | {"said": "waits", "reason": opinion.reason}
        if self.dry_run:
            said = f"would {opinion.view.value}"
            return described | {"said": said, "reason": opinion.reason}
        if opinion.view is View.CONFIRM:
            if self.told.get(review.place, "").endswith(".confirmation"):
                # Signed before; it is somebody else's turn now.
                return described | {"said": "signed", "file": self.told[review.place].split()[-1]}
            return described | self.confirm(review)
        if self.folder is not None:
            # The contract takes objections from the watchdog itself only.
            return described | {"said": "refused", "reason": opinion.reason}
        receipt = self.writer.object_to_batch(*review.place, review.commitment, opinion.reason)
        return described | {
            "said": "objected",
            "reason": opinion.reason,
            **describe_receipt(receipt),
        }

    def _named(self, ca: AuthorityId) -> str | None:
        return {found: name for name, found in self.desk.index.authorities().items()}.get(ca)

    def _name(self, ca: AuthorityId) -> str:
        return self._named(ca) or str(ca)


def open_duty(
    desk: Desk,
    output: Output,
    folder: Path | None,
    *,
    passphrase: str | None,
    dry_run: bool = False,
) -> Duty:
    """Return a watchdog ready to work.

    Raises:
        UsageError: It has no key, or there is no such folder.
    """
    if folder is not None and not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    secret = load_watchdog_key(desk)
    writer = open_writer(desk, passphrase, output)
    return Duty(
        desk=desk,
        output=output,
        secret=secret,
        account=writer.account,
        writer=writer,
        wallet=writer.wallet,
        publisher=publisher_of(desk, output),
        lookout=Lookout(desk.domain, writer.account),
        folder=folder,
        dry_run=dry_run,
        told={},
    )


def watch(
    output: Output,
    home: Path | None,
    *,
    once: bool,
    interval: timedelta,
    folder: Path | None,
    dry_run: bool,
    passphrase: str | None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Look for batches to confirm, for ever or once; an endpoint that is away is waited for."""
    with open_desk(home) as desk:
        duty = open_duty(desk, output, folder, passphrase=passphrase, dry_run=dry_run)
        _warn_of_defaults(duty)
        while True:
            try:
                with output.working("looking at what was anchored"):
                    events = duty.round()
            except CouldNotCheck as error:
                if once:
                    raise
                output.event({"said": "failed", "reason": error.message}, error.message)
                events = []
            if once:
                if not events:
                    output.say("nothing waits for this watchdog")
                return
            with output.working(f"next look in {interval.total_seconds():g} s"):
                sleep(interval.total_seconds())


def judge_one(
    output: Output,
    home: Path | None,
    name: str,
    serial: int,
    *,
    objection: str | None,
    dry_run: bool,
    passphrase: str | None,
) -> None:
    """Confirm one batch after looking at it, or object to it.

    Raises:
        UsageError: No batch that waits for this watchdog begins there.
        BatchRefused: It is not in order, and was to be confirmed.
        CouldNotCheck: Its certificates could not be looked at, and it was to be confirmed.
    """
    with open_desk(home) as desk:
        duty = open_duty(desk, output, None, passphrase=passphrase)
        place = (find_named(desk, name), serial)
        with output.working("asking the chain"):
            _, reviews = duty.lookout.look(desk.reader)
        found = [one for one in reviews if one.place == place and one.is_owed_by(duty.account)]
        if not found:
            raise UsageError(
                f"no batch of {name} that begins at serial {serial} waits for {duty.account}",
                hint="see what waits with: dpki watchdog list",
            )
        (review,) = found
        if objection is None:
            with output.working("looking at its certificates"):
                opinion = duty.opinion(review)
            if opinion.view is View.OBJECT:
                raise BatchRefused(opinion.reason, hint="object to it with: dpki watchdog object")
            if opinion.view is View.WAIT:
                raise CouldNotCheck(
                    f"its certificates can't be looked at: {opinion.reason}",
                    hint="nothing was sent; try again, or ask the operator",
                )
        actions = duty.writer
        ca, first = review.place
        document = describe_review(review)
        if dry_run:
            tried = actions.rehearsal()
            cost = (
                tried.confirm_batch(ca, first, review.commitment)
                if objection is None
                else tried.object_to_batch(ca, first, review.commitment, shorten(objection))
            )
            output.say(f"{format_cost(cost)}; nothing was sent")
            output.result(document | describe_rehearsal(cost, "say so"), cost.gas)
            return
        with output.working("waiting for the chain"):
            receipt = (
                actions.confirm_batch(ca, first, review.commitment)
                if objection is None
                else actions.object_to_batch(ca, first, review.commitment, shorten(objection))
            )
    say_receipt(output, receipt)
    said = "confirmed" if objection is None else "objected"
    output.result(document | {"said": said} | describe_receipt(receipt), said)


def say_opinion(name: str, review: Review, document: dict[str, object]) -> str:
    """Return what a watchdog did, in words."""
    batch = review.batch
    where = f"{name}, serials {batch.first_serial} to {batch.last_serial}"
    match document["said"]:
        case "confirmed":
            return f"{where}: confirmed"
        case "signed":
            return f"{where}: signed {document['file']}"
        case "objected":
            return f"{where}: OBJECTED: {document['reason']}"
        case "refused":
            return (
                f"{where}: NOT confirmed: {document['reason']}; objecting takes a transaction:"
                " dpki watchdog object"
            )
        case "waits":
            return f"{where}: not looked at yet: {document['reason']}"
        case "would confirm" | "would object":
            return f"{where}: {document['said']} {document['reason']}".rstrip()
    return f"{where}: failed: {document['reason']}"


def _warn_of_defaults(duty: Duty) -> None:
    snapshot, _ = duty.lookout.look(duty.desk.reader)
    names = {ca: name for name, ca in duty.desk.index.authorities().items()}
    watched = [a for a in snapshot.authorities.values() if a.id in duty.lookout.watched]
    if not watched:
        duty.output.say(f"warning: {duty.account} watches no CA of this domain")
    for authority in watched:
        name = names.get(authority.id)
        if name is None or load_profile(duty.desk.home.profile(name)) is None:
            duty.output.say(
                f"warning: there is no profile of your own for CA {name or authority.id}: any"
                " principal is confirmed; name it (dpki ca name) and write profiles/NAME.toml"
            )
