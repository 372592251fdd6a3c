"""`dpki device token | tokens | watch`, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dpki.cli.device_asking import open_place
from dpki.cli.output import Output, describe_receipt, say_receipt, say_rehearsal
from dpki.cli.session import Desk, now, open_desk, open_writer
from dpki.config.admin import find_home, load_admin_config
from dpki.config.durations import parse_duration
from dpki.config.values import verify_name
from dpki.devices.token import ID_BYTES, Token
from dpki.errors import CheckedFalse, CouldNotCheck, DpkiError, UsageError
from dpki.issuance.asking import Refused, Round, enroll_due, leave_answers, look
from dpki.issuance.database import Database
from dpki.issuance.enrolment import Enrolled, rehearse_enrolments
from dpki.issuance.index import Index
from dpki.issuance.selection import parse_labels
from dpki.issuance.tokens import GivenToken, Tokens
from dpki.model import Address

if TYPE_CHECKING:
    from dpki.transactions.writer import DomainWriter
    from dpki.transport.base import Transport


def give_token(
    output: Output,
    home: Path | None,
    lifetime: str,
    name: str | None,
    fleet: str | None,
    label: Sequence[str],
) -> None:
    """Make a token, remember what checks its messages, and print it."""
    duration, labels = parse_duration(lifetime), parse_labels(label, fleet)
    place = find_home(home)
    domain = load_admin_config(place).require_domain()
    token = Token.generate(domain)
    keys = token.keys
    called = verify_name(name or f"device-{keys.id.hex()[:8]}")
    moment = now()
    given = GivenToken(keys, called, labels, (moment + duration).replace(microsecond=0))
    with Database(place.journal, domain) as database:
        if any(device.name == called for device in Index(database).devices()):
            raise UsageError(
                f"the name {called} is taken",
                hint="choose another name; see them with: dpki device list",
            )
        Tokens(database).add(given, moment)
    output.say(f"token {keys.id.hex()} is for {called}, until {given.expires:%Y-%m-%d %H:%M} UTC")
    output.say("it is shown this once; whoever has it can be enrolled in that name")
    output.result(describe_token(given, "open") | {"token": token.dump()}, token.dump())


def show_tokens(output: Output, home: Path | None, cancel: Sequence[str]) -> None:
    """List the tokens; cancel some first, all of them or none."""
    ids = [_parse_id(text) for text in cancel]
    place = find_home(home)
    domain = load_admin_config(place).require_domain()
    moment = now()
    with Database(place.journal, domain) as database:
        tokens = Tokens(database)
        for id in ids:
            tokens.cancel(id, moment)
            output.say(f"token {id.hex()} is good for nothing now")
        described = [describe_token(one, one.state(moment)) for one in tokens.all()]
    columns = ("id", "name", "state", "expires", "device")
    output.table(columns, [[row[column] or "" for column in columns] for row in described])
    output.result({"tokens": described})


def describe_token(token: GivenToken, state: str) -> dict[str, object]:
    """Return what may be known of a token."""
    return {
        "id": token.keys.id.hex(),
        "name": token.name,
        "labels": dict(token.labels),
        "state": state,
        "expires": f"{token.expires:%Y-%m-%dT%H:%M:%SZ}",
        "device": None if token.device is None else str(token.device),
    }


def watch_devices(
    output: Output,
    home: Path | None,
    place: str,
    ssh_config: Path | None,
    passphrase: str | None,
    *,
    pause: timedelta | None,
    dry_run: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Enrol whoever asks, for ever (what fails is told, and tried again), or (no `pause`) once.

    Raises:
        CouldNotCheck: Once: an answer could not be left; everything else was done.
    """
    with open_desk(home) as desk:
        transport = open_place(place, desk.config.broker, ssh_config)
        writer = open_writer(desk, passphrase, output)
        watch = _Watch(output, desk, writer, transport)
        if pause is None:
            watch.look_once(dry_run=dry_run)
            return
        while True:
            try:
                watch.go_on()
            except DpkiError as error:
                output.say(f"warning: {error.message}; it will be tried again")
            with output.working(f"next look in {pause.total_seconds():g} s"):
                sleep(pause.total_seconds())


@dataclass
class _Watch:
    output: Output
    desk: Desk
    writer: DomainWriter
    transport: Transport
    answered: dict[Address, bytes] = field(default_factory=dict)
    told: frozenset[Refused] = frozenset()

    def look_once(self, *, dry_run: bool) -> None:
        """Look, enrol, print addresses, answer."""
        found = self._look(binding=not dry_run)
        if dry_run:
            self._rehearse(found)
        else:
            told = list(found.refused)
            self._say_refused(told)
            done = self._enroll(found)
            self._say(done)
            self._say_refused(found.refused[len(told) :])
            self._result(found, done)
            leave_answers(self.transport, found.answers)
        if found.failure is not None:
            self.output.say(f"could not look at everything: {found.failure.message}")
            raise typer.Exit(CouldNotCheck.exit_status)
        if found.refused:
            raise typer.Exit(CheckedFalse.exit_status)

    def go_on(self) -> None:
        """Look, enrol, tell what is new, answer where that was not done.

        Raises:
            DpkiError: Something of it failed: the next look does it again.
        """
        found = self._look(binding=True)
        # What lies there still was told at the last look. A theft is told also when the chain is
        # away.
        before, lying = self.told, frozenset(found.refused)
        self._tell(lying - before)
        self.told = lying
        done = self._enroll(found)
        for one in done:
            document = {"event": "enrolled", **_describe(one)}
            self.output.line(document, f"{one.name} is device {one.device}")
        self.told = frozenset(found.refused)
        self._tell(self.told - lying - before)
        new = {d: data for d, data in found.answers.items() if self.answered.get(d) != data}
        leave_answers(self.transport, new)
        self.answered.update(new)
        if found.failure is not None:
            raise found.failure

    def _look(self, *, binding: bool) -> Round:
        with self.output.working("looking at who asks"):
            desk = self.desk
            return look(desk.database, desk.domain, self.transport, now(), binding=binding)

    def _enroll(self, found: Round) -> tuple[Enrolled, ...]:
        if not found.due:
            return ()
        with self.output.working("enrolling"):
            return enroll_due(self.desk.reader, self.writer, self.desk.database, found, now())

    def _tell(self, new: Iterable[Refused]) -> None:
        for one in sorted(new, key=str):
            document = {"event": "refused", "device": str(one.device), "why": one.why}
            self.output.line(document, f"REFUSED: {one.device}: {one.why}")

    def _say_refused(self, refused: Iterable[Refused]) -> None:
        for one in refused:
            self.output.say(f"REFUSED: {one.device}: {one.why}")

    def _say(self, done: Sequence[Enrolled]) -> None:
        for receipt in dict.fromkeys(one.receipt for one in done):
            say_receipt(self.output, receipt)
        for one in done:
            self.output.say(f"{one.name} is device {one.device}")

    def _result(self, found: Round, done: Sequence[Enrolled]) -> None:
        document = {
            "enrolled": [_describe(one) for one in done],
            "known": found.known,
            "refused": [{"device": str(one.device), "why": one.why} for one in found.refused],
        }
        self.output.result(document, "\n".join(str(one.device) for one in done))

    def _rehearse(self, found: Round) -> None:
        wishes = [one.wish for one in found.due]
        for refused in found.refused:
            self.output.say(f"would refuse: {refused.device}: {refused.why}")
        if not wishes:
            self.output.say("nobody would be enrolled")
            self.output.result({"dry_run": True, "would": "enrol nobody", "gas": 0}, 0)
            return
        devices, cost = rehearse_enrolments(
            self.desk.reader, self.writer, self.desk.index, wishes, now()
        )
        names = ", ".join(wish.name for wish in wishes)
        say_rehearsal(self.output, cost, f"enrol {', '.join(map(str, devices))} as {names}")


def _describe(one: Enrolled) -> dict[str, object]:
    return {"device": str(one.device), "name": one.name, **describe_receipt(one.receipt)}


def _parse_id(text: str) -> bytes:
    try:
        id = bytes.fromhex(text)
    except ValueError:
        id = b""
    if len(id) != ID_BYTES:
        # It may be a token.
        raise UsageError("this is no token's id", hint="see them with: dpki device tokens")
    return id
