"""The longer `dpki ca` commands, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dpki.certificates.keys import parse_public_key
from dpki.chain.rpc import fetch_block
from dpki.chain.snapshot import Authority, Snapshot, fetch_snapshot
from dpki.cli.confirm import confirm
from dpki.cli.governing import describe_governed, open_governance, say_governed
from dpki.cli.options import argument
from dpki.cli.output import (
    Output,
    describe_receipt,
    describe_rehearsal,
    format_cost,
    say_receipt,
    say_rehearsal,
)
from dpki.cli.session import Desk, now, open_desk, open_writer, token_keys
from dpki.config.admin import Home
from dpki.config.durations import parse_duration
from dpki.config.values import verify_name
from dpki.errors import MalformedInput, UsageError
from dpki.files import create_atomic, load_bounded
from dpki.issuance.lifecycle import (
    Census,
    Change,
    count_below,
    describe_change,
    find_heirs,
    take_census,
    verify_can_close,
    verify_unsucceeded,
)
from dpki.issuance.plan import find_ssh_authority
from dpki.issuance.registration import AuthorityWish, create_authority, rehearse_authority
from dpki.model import Address, AuthorityId, AuthorityKind, Block
from dpki.signer.adapters import key_type_of
from dpki.signer.base import KeyType
from dpki.verification.reviews import fetch_watchdogs
from dpki.verification.revocations import authority_line
from dpki.verification.succession import find_successors

if TYPE_CHECKING:
    # web3 takes half a second to import: whoever only looks needn't wait for it.
    from dpki.transactions.actions import DomainActions
    from dpki.transactions.flight import Rehearsal

Outcome = TypeVar("Outcome")

PROFILE_LIMIT = 64 * 1024


def _perform(actions: DomainActions[Outcome], change: Change, ca: AuthorityId) -> Outcome:
    match change:
        case Change.CLOSE:
            return actions.close(ca)
        case Change.SUSPEND:
            return actions.suspend(ca)
        case Change.LIFT:
            return actions.lift(ca)
        case Change.RETIRE:
            return actions.retire(ca)


def find_named(desk: Desk, name: str) -> AuthorityId:
    """Return the CA of this name, or of this id: a guardian has no names.

    Raises:
        UsageError: There is none of this name.
    """
    if name not in desk.index.authorities():
        try:
            return AuthorityId.parse(name)
        except MalformedInput:
            pass
    return desk.index.find_authority(name)


def change_state(
    output: Output,
    home: Path | None,
    name: str,
    change: Change,
    *,
    yes: bool,
    dry_run: bool,
    passphrase: str | None,
) -> None:
    """Change a CA's state, after saying what that does; or only say it.

    The contract is asked before the person is: what it would refuse need not be confirmed.
    """
    with open_desk(home) as desk:
        ca = find_named(desk, name)
        snapshot = fetch_snapshot(desk.reader, desk.domain)
        authority = find_ssh_authority(snapshot, ca)
        if change is Change.CLOSE:
            verify_can_close(snapshot, authority, final_block(desk))
        census = take_census(authority, desk.journal.load_all(ca), now())
        governance = open_governance(desk, passphrase, output)
        rehearsal = _perform(governance.rehearsal(), change, ca)
        effects = describe_change(change, snapshot, authority, census)
        say_effects(output, f"{change.value} {name} ({authority.state.label})", effects, rehearsal)
        document: dict[str, object] = {
            "ca": str(ca),
            "name": name,
            "effects": list(effects),
            "live": len(census.live),
            "elsewhere": census.elsewhere,
        }
        if dry_run:
            document |= describe_rehearsal(rehearsal, f"{change.value} CA {name}")
            output.say("nothing was sent")
            output.result(document, rehearsal.gas)
            return
        if change.is_for_ever:
            confirm(output, name, yes=yes)
        with output.working(f"{change.value}: waiting for the chain"):
            governed = _perform(governance, change, ca)
        state = fetch_snapshot(desk.reader, desk.domain).authorities[ca].state.label
    say_governed(output, governed)
    soon = "devices see it at their agents' next run" if governed.pending is None else "as before"
    output.say(f"{name} is {state}; {soon}")
    output.result(document | {"state": state} | describe_governed(governed), state)


def raise_watermark(
    output: Output,
    home: Path | None,
    name: str,
    below: int,
    *,
    dry_run: bool,
    passphrase: str | None,
) -> None:
    """Revoke every certificate of a CA with a lower serial, at the price of one."""
    with open_desk(home) as desk:
        ca = find_named(desk, name)
        authority = find_ssh_authority(fetch_snapshot(desk.reader, desk.domain), ca)
        writer = open_writer(desk, passphrase, output)
        rehearsal = writer.rehearsal().revoke_below(ca, below)
        census = take_census(authority, desk.journal.load_all(ca), now())
        live = [one.serial for one in census.live if one.serial < below]
        revoked = count_below(authority, below)
        effects = (
            f"every serial below {below} is revoked, for ever: {revoked} that are not yet",
            f"of these, {len(live)} live by this journal",
        )
        say_effects(output, f"raise the watermark of {name}", effects, rehearsal)
        document: dict[str, object] = {
            "ca": str(ca),
            "revoked_below": below,
            "revoked": revoked,
            "live": live,
        }
        if dry_run:
            document |= describe_rehearsal(rehearsal, f"revoke below {below} of CA {name}")
            output.say("nothing was sent")
            output.result(document, rehearsal.gas)
            return
        with output.working("revoking"):
            receipt = writer.revoke_below(ca, below)
    say_receipt(output, receipt)
    output.result(document | describe_receipt(receipt), below)


@dataclass(frozen=True)
class Renewal:
    """What was typed of a new CA that succeeds another; None where it is to be like the old one."""

    name: str
    key_type: KeyType | None
    operator: Address | None
    maximum_lifetime: timedelta | None

    @classmethod
    def parse(
        cls, name: str, key_type: str | None, operator: str | None, validity: str | None
    ) -> Renewal:
        """Check everything that was typed, before anything is opened.

        Raises:
            UsageError: Something is misspelled.
        """
        types = {t.value: t for t in KeyType}
        if key_type is not None and key_type not in types:
            raise UsageError(f"--key-type is {' or '.join(types)}, not {key_type[:40]!r}")
        return cls(
            verify_name(name),
            None if key_type is None else types[key_type],
            None if operator is None else argument(Address.parse, operator),
            None if validity is None else parse_duration(validity),
        )

    def of(self, old: Authority) -> AuthorityWish:
        """Return the whole wish for a successor of this CA."""
        key_type = self.key_type or key_type_of(parse_public_key(old.public_key))
        return AuthorityWish(
            self.name,
            old.kind,
            key_type,
            self.operator or old.operator,
            self.maximum_lifetime or old.maximum_lifetime,
            succeeds=old.id,
        )


def make_successor(
    output: Output,
    home: Path | None,
    old: str,
    renewal: Renewal,
    *,
    dry_run: bool,
    pin: str | None,
    passphrase: str | None,
) -> None:
    """Register a CA's successor, its key made in the token; or say what that would cost."""
    with open_desk(home) as desk:
        snapshot = fetch_snapshot(desk.reader, desk.domain)
        authority = find_ssh_authority(snapshot, find_named(desk, old))
        verify_unsucceeded(authority, named_heirs(desk, snapshot, authority))
        wish = renewal.of(authority)
        governance = open_governance(desk, passphrase, output)
        if dry_run:
            rehearsal = rehearse_authority(governance, wish)
            what = f"make a {wish.key_type.value} key and register {wish.name} to succeed {old}"
            say_rehearsal(output, rehearsal, what)
            return
        keys = token_keys(desk, wish.name, wish.key_type, pin, output)
        issuer_key = desk.home.issuer_key(wish.name)
        old_name = {ca: name for name, ca in desk.index.authorities().items()}.get(authority.id)
        if old_name is not None:
            # Before there is a CA that would do without: a second run finds the name taken.
            inherit_profile(desk.home, old_name, wish.name)
        with output.working("registering the CA"):
            ca, governed = create_authority(
                desk.reader, governance, desk.index, keys, wish, issuer_key
            )
    say_governed(output, governed)
    steps = next_steps(old, wish.name, wish.kind)
    counts = "both count" if governed.pending is None else "it counts once that is executed"
    output.say(f"{wish.name} succeeds {old}; its key is in the token; {counts}")
    for step in steps:
        output.say(f"next: {step}")
    document = {"ca": str(ca), "name": wish.name, "succeeds": str(authority.id)}
    output.result(document | describe_governed(governed) | {"next": list(steps)}, ca)


def inherit_profile(home: Home, old: str, new: str) -> None:
    """Let a successor issue what the old CA may, unless it has a profile of its own."""
    source, target = home.profile(old), home.profile(new)
    if source.exists() and not target.exists():
        create_atomic(target, load_bounded(source, limit=PROFILE_LIMIT))


def describe_one(
    desk: Desk, authority: Authority, snapshot: Snapshot
) -> tuple[dict[str, object], Census]:
    """Return what `dpki ca show` adds to a line of `dpki ca list`."""
    names = {ca: name for name, ca in desk.index.authorities().items()}
    described: dict[str, object] = {
        "registered_at": authority.registered_at.isoformat(),
        "succeeds": None
        if authority.parent is None
        else names.get(authority.parent, str(authority.parent)),
        "succeeded_by": [
            names.get(heir.id, str(heir.id))
            for heir in find_successors(snapshot.authorities, authority.id)
        ],
        "public_key": authority_line(authority),
    }
    return described, take_census(authority, desk.journal.load_all(authority.id), now())


def describe_watch(desk: Desk, authority: Authority, snapshot: Snapshot) -> dict[str, object]:
    """Return who has to confirm what the CA's operator anchors; nothing where nobody has."""
    watch = authority.watch
    if watch is None:
        return {"watch": None}
    described = {
        "first_serial": watch.first_serial,
        "threshold": watch.threshold,
        "total": watch.total,
        "watchdogs": [
            {
                "account": str(watchdog.account),
                "weight": watchdog.weight,
                "sealing_key": str(watchdog.sealing_key),
            }
            for watchdog in fetch_watchdogs(desk.reader, snapshot, authority.id)
        ],
    }
    return {"watch": described}


def say_watch(output: Output, authority: Authority, described: dict[str, object]) -> None:
    """Tell who has to confirm what the CA's operator anchors."""
    watch, told = authority.watch, described["watch"]
    if watch is None or not isinstance(told, dict):
        output.say("watchdogs: none; what its operator anchors counts at once")
        return
    output.say(
        f"watchdogs: from serial {watch.first_serial} on, a batch counts once {watch.threshold} of"
        f" {watch.total} confirmed it"
    )
    for watchdog in told["watchdogs"]:
        output.say(f"  {watchdog['account']} weighs {watchdog['weight']}")


def say_live(output: Output, census: Census) -> dict[str, object]:
    """Tell which certificates are out there, and return the same as plain data."""
    output.say(str(census))
    for one in census.live:
        output.say(f"  serial {one.serial}, {one.subject}, until {one.valid_before:%Y-%m-%d %H:%M}")
    live = [
        {"serial": one.serial, "subject": one.subject, "valid_before": one.valid_before.isoformat()}
        for one in census.live
    ]
    return {"live": live, "elsewhere": census.elsewhere}


def named_heirs(desk: Desk, snapshot: Snapshot, authority: Authority) -> list[str]:
    """Return what the successors that can issue are called here, as far as they have names."""
    names = {ca: name for name, ca in desk.index.authorities().items()}
    return [names[heir.id] for heir in find_heirs(snapshot, authority) if heir.id in names]


def final_block(desk: Desk) -> Block:
    """Return the newest block of those that make devices trust a new CA."""
    tag = desk.config.chain.finality.authority_finality
    return fetch_block(desk.reader, tag) or desk.domain.block


def say_effects(output: Output, doing: str, effects: tuple[str, ...], rehearsal: Rehearsal) -> None:
    """Tell what is about to be done."""
    output.say(f"{doing}: {format_cost(rehearsal)}")
    for effect in effects:
        output.say(f"  {effect}")


def next_steps(old: str, new: str, kind: AuthorityKind) -> tuple[str, ...]:
    """Return how a rotation goes on, in the order that locks nobody out."""
    give: tuple[str, ...]
    if kind is AuthorityKind.SSH_USER:
        give = (
            "devices that follow successors trust it once it is final and the agent ran",
            "other devices: name it in [accounts] of their device.toml",
            f"then give everybody a new certificate: dpki ssh rotate --from {old} --ca {new}",
        )
    else:
        give = (
            "let every client fetch the new @cert-authority line: dpki ssh known-hosts …",
            f"then give every device a new certificate: dpki ssh rotate --from {old} --ca {new}",
        )
    return (*give, f"then, and what {old} issued runs out by itself: dpki ca close {old}")
