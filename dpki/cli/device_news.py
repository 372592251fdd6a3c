"""`dpki device collect-key | collect | ring`: news from devices, and to them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpki.cli.options import (
    FleetOption,
    HomeOption,
    JsonOption,
    LabelOption,
    example,
    selected,
)
from dpki.cli.output import Output
from dpki.errors import CheckedFalse, CouldNotCheck, DpkiError, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from dpki.bundle.seal import SealingSecrets
    from dpki.config.admin import AdminConfig, Home
    from dpki.devices.acknowledgement import Statement
    from dpki.issuance.database import Database
    from dpki.model import DomainId

KEY_LIMIT = 4096
DEADLINE = timedelta(seconds=60)
"""For one place."""

DevicesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[DEVICE]…", help="Names, or patterns.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("collect-key", epilog=example("dpki device collect-key"))(acknowledgement_key)
    app.command(
        "collect",
        epilog=example(
            "dpki device collect",
            "dpki device collect /media/stick ssh://root@gate-1/var/lib/dpki/outbox",
        ),
    )(collect)
    app.command(
        "ring", epilog=example("dpki device ring gate-1", "dpki device ring --fleet gates")
    )(ring)


def acknowledgement_key(home: HomeOption = None, json: JsonOption = False) -> None:
    """Print the key that devices acknowledge to.

    It is `key` in their table [acknowledge]. Makes it where there is none.
    """
    from dpki.bundle.seal import SealingSecrets
    from dpki.config.admin import find_home, load_admin_config
    from dpki.files import create_atomic

    output, place = Output(json=json), find_home(home)
    load_admin_config(place)
    if not place.acknowledgement_key.exists():
        secret = SealingSecrets(SealingSecrets.generate().x25519, None)
        create_atomic(place.acknowledgement_key, secret.dump())
    key = f"0x{_load_key(place).public.x25519.hex()}"
    output.result({"key": key}, key)


def collect(
    places: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FROM]…",
            help="broker, the path of a folder, or ssh://USER@HOST/FOLDER; default: broker.",
        ),
    ] = None,
    ssh_config: Annotated[
        Path | None, typer.Option("--ssh-config", help="OpenSSH's configuration file for ssh://.")
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Take in what devices say that they have installed.

    Lists what is new. No chain is asked. Exit status 3 when something was refused (forged, altered,
    repeated), 5 when a place could not be looked at; the others were.
    """
    from dpki.cli.session import now
    from dpki.config.admin import find_home, load_admin_config
    from dpki.issuance.database import Database
    from dpki.issuance.index import Index

    output, place = Output(json=json), find_home(home)
    config = load_admin_config(place)
    domain, secret = config.require_domain(), _load_key(place)
    with Database(place.journal, domain) as database:
        round_ = _Round(database, secret, domain, now())
        with output.working("collecting"):
            for where in places or ("broker",):
                round_.look(where, config, ssh_config)
        index = Index(database)
        taken = [_describe(one, index.name_of(one.device)) for one in round_.taken]
    columns = ("name", "sequence", "block", "mode", "prekeys", "certificates")
    cells = [[row[c] if c != "certificates" else _words(row) for c in columns] for row in taken]
    output.table(columns, cells)
    for one in round_.refused:
        output.say(f"refused: {one['device']} at {one['from']}: {one['why']}")
    for one in round_.unreachable:
        output.say(f"could not look at {one['from']}: {one['why']}")
    document = {
        "taken": taken,
        "known": round_.known,
        "refused": round_.refused,
        "unreachable": round_.unreachable,
    }
    output.result(document)
    if round_.unreachable:
        raise typer.Exit(CouldNotCheck.exit_status)
    if round_.refused:
        raise typer.Exit(CheckedFalse.exit_status)


def ring(
    devices: DevicesArgument = None,
    fleet: FleetOption = None,
    label: LabelOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say at whose doors; ring at none.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Ring at devices' doors: there is something to look at. Prints names.

    Through the broker. Whether anybody listens is not known. A device that does looks at the chain
    earlier, and believes nothing more for it.
    """
    from dpki.cli.session import open_index
    from dpki.config.admin import find_home, load_admin_config
    from dpki.transport.doorbell import ring as ring_at

    output, meant = Output(json=json), selected(devices, fleet, label)
    if meant.is_everything:
        raise UsageError("at whose door?", hint="dpki device ring NAME; '*' means everybody's")
    broker = load_admin_config(find_home(home)).broker
    if broker is None:
        raise UsageError("no broker is configured", hint="name one in config.toml: [broker]")
    with open_index(home) as index:
        picked = meant.pick(index.devices())
    if not dry_run:
        with output.working("ringing"):
            ring_at(broker, [device.address for device in picked], DEADLINE)
    names = [device.name for device in picked]
    output.say(f"{'would ring' if dry_run else 'rang'} at {len(names)} devices")
    output.result({"devices": names, "dry_run": dry_run}, "\n".join(names))


class _Round:
    """One collection.

    Attributes:
        taken: What is new.
        known: How many were taken in before.
        refused: What is not what it should be, where, and why.
        unreachable: What could not be looked at.
    """

    def __init__(
        self, database: Database, secret: SealingSecrets, domain: DomainId, moment: datetime
    ) -> None:
        self._database, self._secret, self._domain = database, secret, domain
        self._moment = moment
        self.taken: list[Statement] = []
        self.known = 0
        self.refused: list[dict[str, str]] = []
        self.unreachable: list[dict[str, str]] = []

    def look(self, where: str, config: AdminConfig, ssh_config: Path | None) -> None:
        """Take in what lies in one place.

        Raises:
            UsageError: It is no place.
            DpkiError: Something could not be recorded.
        """
        from dpki.errors import NotAllowed, TransportUnavailable
        from dpki.issuance.acknowledgements import take_in
        from dpki.transport.base import Kind
        from dpki.transport.connect import open_transport

        absolute = where
        if where != "broker" and "://" not in where:
            absolute = str(Path(where).expanduser().absolute())
        transport = open_transport(absolute, config.broker, ssh_config)
        try:
            for message in transport.receive(Kind.ACKNOWLEDGEMENT, DEADLINE):
                try:
                    statement = take_in(
                        self._database, message, self._secret, self._domain, self._moment
                    )
                except CheckedFalse as error:
                    device = str(message.topic.device)
                    self.refused.append({"device": device, "from": where, "why": error.message})
                    continue
                if statement is None:
                    self.known += 1
                else:
                    self.taken.append(statement)
        except (TransportUnavailable, NotAllowed) as error:
            self.unreachable.append({"from": where, "why": error.message})


def _load_key(home: Home) -> SealingSecrets:
    from dpki.bundle.seal import SealingSecrets
    from dpki.files import load_bounded

    if not home.acknowledgement_key.exists():
        raise UsageError(
            "this home has no key that acknowledgements are sealed for",
            hint="make it, and name it on the devices: dpki device collect-key",
        )
    try:
        return SealingSecrets.load(load_bounded(home.acknowledgement_key, limit=KEY_LIMIT))
    except CheckedFalse as error:
        raise DpkiError(f"{home.acknowledgement_key} is damaged: {error.message}") from None


def _describe(statement: Statement, name: str | None) -> dict[str, object]:
    return {
        "name": name,
        "device": str(statement.device),
        "sequence": statement.sequence,
        "block": statement.block,
        "block_hash": str(statement.block_hash),
        "mode": statement.mode,
        "prekeys": statement.prekeys,
        "certificates": [
            {"ca": str(one.authority), "serial": one.serial, "stage": one.stage.value}
            for one in statement.certificates
        ],
    }


def _words(row: dict[str, object]) -> str:
    certificates = row["certificates"]
    assert isinstance(certificates, list)
    return ", ".join(f"{one['serial']} {one['stage']}" for one in certificates)
