"""What `dpki ssh grant` does: issue, say how to log in, count down, and revoke when told to."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NoReturn

from dpki.certificates.key_id import verify_reason
from dpki.certificates.keys import parse_ssh_public_key
from dpki.certificates.principals import verify_name
from dpki.chain.snapshot import fetch_snapshot
from dpki.cli.issuing import FILE_LIMIT, newest_of, writable
from dpki.cli.options import argument
from dpki.cli.output import Output
from dpki.cli.session import Desk, now, open_desk, open_writer
from dpki.cli.ssh_work import issue_request, plan_of, revoke_plans
from dpki.config.durations import parse_duration
from dpki.config.profile import load_profile
from dpki.config.values import verify_account
from dpki.errors import InvalidPrincipal, UsageError
from dpki.files import load_bounded
from dpki.issuance.grant import Grant, find_user_authority, verify_grant
from dpki.issuance.index import NamedDevice
from dpki.issuance.plan import CertificateRequest, find_ssh_authority, profile_of
from dpki.model import Address, AuthorityId


@dataclass(frozen=True)
class GrantWish:
    """What was typed."""

    device: str
    account: str
    key: Path
    lifetime: str
    ca: str | None
    identity: str | None
    permits: tuple[str, ...]
    ends_sessions: bool
    hold: bool
    reason: str
    out: Path | None


def grant_access(
    output: Output,
    home: Path | None,
    wish: GrantWish,
    *,
    pin: str | None,
    passphrase: str | None,
    dry_run: bool,
) -> None:
    """Grant, and stay until the end where that is wanted.

    Raises:
        DpkiError: Nothing was granted.
    """
    length = parse_duration(wish.lifetime)
    verify_account(wish.account)
    if wish.reason:
        verify_reason(wish.reason)
    with open_desk(home) as desk:
        device, named = find_place(desk, wish.device)
        snapshot = fetch_snapshot(desk.reader, desk.domain, devices=[device])
        names = {identifier: name for name, identifier in desk.index.authorities().items()}
        if wish.ca is None:
            ca = find_user_authority(snapshot, names)
        else:
            ca = desk.index.find_authority(wish.ca)
        name = names[ca]
        authority = find_ssh_authority(snapshot, ca)
        grant = Grant(device, wish.account, frozenset(wish.permits), wish.ends_sessions)
        profile = profile_of(authority, load_profile(desk.home.profile(name)))
        verify_grant(grant, authority, snapshot, profile)
        public = argument(parse_ssh_public_key, load_bounded(wish.key, limit=FILE_LIMIT))
        subject = wish.identity or _holder(public.comment)
        release = writable(wish.out or _file(wish, device, named))
        writer = open_writer(desk, passphrase, output)
        request = CertificateRequest(
            subject=subject,
            principals=(grant.principal,),
            until=now() + length,
            public_key=public.blob,
            release=release,
            reason=wish.reason,
            extensions=grant.extensions,
        )
        document = issue_request(
            output, desk, name, authority, request, writer, pin=pin, dry_run=dry_run
        )
        if dry_run:
            output.result(document, document["gas"])
            return
        host = _host_of(desk, named)
    serial = document["serial"]
    assert isinstance(serial, int)
    end = datetime.fromisoformat(str(document["valid_before"]))
    command = login_command(wish.key, release, wish.account, host or "HOST")
    revoke = f"dpki ssh revoke --ca {name} --serial {serial}"
    output.say(f"log in with: {command}")
    output.say(
        "the device lets it in as soon as its agent has followed the chain so far; on the device,"
        " dpki agent once makes it look now"
    )
    output.say(f"it ends by itself at {end:%Y-%m-%d %H:%M:%S} UTC; before that: {revoke}")
    facts = {"device": str(device), "account": wish.account, "login": command, "revoke": revoke}
    output.result(document | facts, document["certificate"])
    stay(output, home, end, (ca, serial), hold=wish.hold, passphrase=passphrase)


def find_place(desk: Desk, text: str) -> tuple[Address, NamedDevice | None]:
    """Return the device that a name or an address means, and what is known of it here.

    Raises:
        UsageError: There is no such name, or the address is mistyped.
    """
    if not text.startswith("0x"):
        named = desk.index.find_device(text)
        return named.address, named
    address = argument(Address.parse, text)
    return address, desk.index.device_at(address)


def login_command(key: Path, certificate: Path, account: str, host: str) -> str:
    """Return the command that logs in with the certificate, and offers nothing else."""
    private = key.absolute().with_name(key.name.removesuffix(".pub"))
    words = ["ssh", "-i", private, "-o", f"CertificateFile={certificate}"]
    return shlex.join([*map(str, words), "-o", "IdentitiesOnly=yes", f"{account}@{host}"])


def stay(
    output: Output,
    home: Path | None,
    end: datetime,
    certificate: tuple[AuthorityId, int],
    *,
    hold: bool,
    passphrase: str | None,
) -> None:
    """Show what is left, at a terminal or where it is held; revoke what is held too long.

    Raises:
        DpkiError: It could not be revoked.
    """
    if not hold and not sys.stderr.isatty():
        return
    ca, serial = certificate
    try:
        with _terminated_like_interrupted(), countdown(end) as show:
            wait_until(end, show)
    except KeyboardInterrupt:
        if not hold:
            output.say("the access goes on until its end")
            return
        output.say("interrupted: taking it back")
        with open_desk(home) as desk:
            writer = open_writer(desk, passphrase, output)
            revoke_plans(output, desk, writer, [plan_of(desk, ca, [serial])])
        return
    output.say("the access has ended")


def wait_until(
    end: datetime,
    show: Callable[[timedelta], None],
    clock: Callable[[], datetime] = now,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return at the end; tell each second how much is left."""
    while (left := end - clock()) > timedelta(0):
        show(left)
        sleep(min(1.0, left.total_seconds()))


@contextmanager
def countdown(end: datetime) -> Iterator[Callable[[timedelta], None]]:
    """Give what shows, at a terminal, how much is left."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield lambda left: status.update(
            f"{format_left(left)} left, until {end:%H:%M:%S} UTC; Ctrl-C ends this"
        )


def format_left(left: timedelta) -> str:
    """Return a span as a clock shows it, rounded up: `4:59`, `1:04:59`."""
    seconds = -int(-left.total_seconds() // 1)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C: whoever ends a grant that is held wants it taken back."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _holder(comment: str) -> str:
    try:
        return verify_name(comment)
    except InvalidPrincipal:
        raise UsageError(
            "the key's comment does not name its holder", hint="name them: --identity WHO"
        ) from None


def _file(wish: GrantWish, device: Address, named: NamedDevice | None) -> Path:
    """Return a file beside the key; the holder's everyday certificate stays as it is."""
    place = f"0x{device.hex()[:8]}" if named is None else named.name
    name = f"{wish.key.name.removesuffix('.pub')}-{place}-{wish.account}-cert.pub"
    return wish.key.with_name(name)


def _host_of(desk: Desk, named: NamedDevice | None) -> str | None:
    """Return a name under which the device presents itself; its own where it has no other."""
    if named is None:
        return None
    newest = newest_of(desk, tuple(desk.index.authorities().values()), [named])
    found = newest.get(named.address)
    return named.name if found is None else found.principals[0]
