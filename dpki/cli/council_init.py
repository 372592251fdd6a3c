"""`dpki council init`: a council founded, and the domain handed over to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpki.cli.options import (
    DryRunOption,
    HomeOption,
    JsonOption,
    PassphraseOption,
    argument,
    example,
)
from dpki.cli.output import Output, say_receipt, say_rehearsal
from dpki.cli.spending import spends
from dpki.errors import UsageError

if TYPE_CHECKING:
    from dpki.cli.session import Desk
    from dpki.council.parameters import Parameters, Role
    from dpki.council.roles import Roles
    from dpki.council.routing import Governance
    from dpki.model import Address
    from dpki.transactions.governed import Governed

_MANY = "may be repeated."


def register(app: typer.Typer) -> None:
    """Add the command to the `dpki council` group."""
    app.command(
        "init",
        epilog=example(
            "dpki council init --root 0x… --root 0x… --root 0x… --ordinary 0x… --dry-run",
            "dpki council init --root 0x… --root 0x… --root 0x… --ordinary 0x…",
        ),
    )(init)


@spends
def init(
    root: Annotated[
        list[str] | None,
        typer.Option("--root", metavar="ADDRESS", help=f"Proposes and votes; {_MANY}"),
    ] = None,
    intermediate: Annotated[
        list[str] | None,
        typer.Option("--intermediate", metavar="ADDRESS", help=f"Votes; {_MANY}"),
    ] = None,
    ordinary: Annotated[
        list[str] | None,
        typer.Option("--ordinary", metavar="ADDRESS", help=f"Votes, weighs least; {_MANY}"),
    ] = None,
    parameters: Annotated[
        Path | None,
        typer.Option("--parameters", metavar="FILE", help="TOML; docs/council.md shows all."),
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(
            "--rule",
            metavar="more-than-two-thirds|slide",
            help="How much has to agree; read docs/council.md before slide.",
        ),
    ] = None,
    faults: Annotated[
        int | None, typer.Option("--faults", help="Slide: how many faulty members it tolerates.")
    ] = None,
    delay: Annotated[
        str | None,
        typer.Option("--delay", metavar="TIME", help="How long what adds trust waits; default 1d."),
    ] = None,
    council: Annotated[
        str | None,
        typer.Option("--council", metavar="ADDRESS", help="Go on with this one, founded before."),
    ] = None,
    guardian_only: Annotated[
        bool, typer.Option("--guardian-only", help="It guards; the governor stays who it is.")
    ] = False,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Found a council and hand the domain over to it. Prints its address.

    It becomes guardian and is offered the governor's role; its first round takes that. Run it again
    to go on where it stopped.
    """
    from dpki.cli.session import open_desk

    output = Output(json=json)
    founders = _founders(root or [], intermediate or [], ordinary or [])
    with open_desk(home) as desk:
        chosen = _parameters(desk, parameters, rule, faults, delay)
        _verify(founders, chosen, council)
        warn_of_slide(output, chosen, len(founders))
        founding = Founding(output, desk, tuple(founders), chosen, guardian_only=guardian_only)
        with output.working("looking at the domain"):
            existing = founding.find(council)
        founding.run(existing, passphrase, dry_run=dry_run)


@dataclass(frozen=True)
class Founding:
    """A council on its way to govern a domain; every step is found done or done."""

    output: Output
    desk: Desk
    founders: tuple[tuple[Address, Role], ...]
    parameters: Parameters
    guardian_only: bool

    def run(self, council: Address | None, passphrase: str | None, *, dry_run: bool) -> None:
        """Do what is left to do, with the council of an earlier run or a new one."""
        from dpki.cli.governing import describe_governed, open_governance, say_governed
        from dpki.council.roles import fetch_roles

        governance = open_governance(self.desk, passphrase, self.output)
        if council is None:
            # Nothing is founded that the governor would not hand over to: it is asked first.
            governance.rehearsal().set_guardian(governance.account)
        if dry_run:
            self._rehearse(governance, council)
            return
        if council is None:
            council = self._deploy(governance)
        governed: Governed | None = None
        for step in ("guardian", "offer", "accept"):
            with self.output.working(f"{step}: waiting for the chain"):
                roles = fetch_roles(self.desk.reader, self.desk.domain)
                governed = self._step(step, replace_roles(governance, roles), council)
            if governed is None:
                continue
            self.output.say(_STEPS[step])
            say_governed(self.output, governed)
            if governed.pending is not None:
                self.output.say("next, once that is executed: the same command again")
                break
        roles = fetch_roles(self.desk.reader, self.desk.domain)
        governs = roles.governor.address == council
        self.output.say(f"the council {council} {'governs' if governs else 'does not govern yet'}")
        left = describe_governed(governed)["pending"] if governed is not None else None
        document = {"council": str(council), "governs": governs, "pending": left}
        document["guards"] = roles.guardian is not None and roles.guardian.address == council
        self.output.result(document, council)

    def _step(self, step: str, governance: Governance, council: Address) -> Governed | None:
        """Do one step; None where it is done already."""
        roles = governance.roles
        governs = roles.governor.address == council
        if step == "guardian":
            if governs or (roles.guardian is not None and roles.guardian.address == council):
                return None
            return governance.set_guardian(council)
        if governs or self.guardian_only:
            return None
        if step == "offer":
            if roles.offered is not None and roles.offered.address == council:
                return None
            return governance.offer_governor(council)
        if not self._is_root(governance.account, council):
            self.output.say("next, by a root of the council: dpki domain governor --accept")
            return None
        return governance.accept_governor()

    def _is_root(self, account: Address, council: Address) -> bool:
        from dpki.council.parameters import Role
        from dpki.council.reading import fetch_council, view_council

        seats = fetch_council(view_council(self.desk.reader, council)).seats.values()
        return any((one.account, one.role) == (account, Role.ROOT) for one in seats)

    def find(self, option: str | None) -> Address | None:
        """Return the council of an earlier run, if there is one.

        Raises:
            UsageError: It has other members than those named.
        """
        from dpki.cli.council_show import find_council
        from dpki.council.reading import fetch_council, view_council
        from dpki.council.roles import Nature, fetch_roles

        roles = fetch_roles(self.desk.reader, self.desk.domain)
        held = (roles.governor, roles.offered, roles.guardian)
        found = [one.address for one in held if one and one.nature is Nature.COUNCIL]
        if option is None and not found:
            return None
        address = find_council(self.desk, option) if option is not None else found[0]
        council = fetch_council(view_council(self.desk.reader, address))
        seated = {(member.account, member.role) for member in council.seats.values()}
        if self.founders and seated != set(self.founders):
            raise UsageError(
                f"the council {address} has other members than those named here",
                hint="leave the members out to go on with it; who is in it changes by its rounds",
            )
        return address

    def _rehearse(self, governance: Governance, council: Address | None) -> None:
        steps = "name it guardian" + ("" if self.guardian_only else ", hand the domain over to it")
        if council is not None:
            would = f"go on with the council {council}: {steps}"
            say_rehearsal(self.output, None, would)
            return
        rehearsal = governance.writer.rehearse_deployment(self._code())
        would = f"found a council of {len(self.founders)}, then {steps}"
        say_rehearsal(self.output, rehearsal, would)

    def _deploy(self, governance: Governance) -> Address:
        with self.output.working("founding the council"):
            council, receipt = governance.writer.deploy(self._code())
        # Said before anything else: whatever happens now, it is not lost.
        self.output.say(f"the council is {council}; to go on after a break: --council {council}")
        say_receipt(self.output, receipt)
        return council

    def _code(self) -> bytes:
        from dpki.council.reading import COUNCIL, dump_parameters
        from dpki.transactions.calls import encode_deployment

        if not self.founders:
            raise UsageError("who is in the council?", hint="name its members: --root ADDRESS …")
        founders = [(str(account), int(role)) for account, role in self.founders]
        domain = str(self.desk.domain.id.address)
        return encode_deployment(COUNCIL, domain, founders, dump_parameters(self.parameters))


_STEPS = {
    "guardian": "the council is named guardian",
    "offer": "the governor's role is offered to the council",
    "accept": "the council takes the governor's role",
}


def replace_roles(governance: Governance, roles: Roles) -> Governance:
    """Return the same governance with the roles as they stand now."""
    from dpki.council.routing import Governance

    return Governance(governance.reader, governance.writer, roles)


def warn_of_slide(output: Output, parameters: Parameters, members: int) -> None:
    """Say plainly what the published threshold does not promise."""
    from dpki.council.threshold import Rule, quorums_meet, shared, slide_quorum

    if parameters.rule is not Rule.SLIDE or not members:
        return
    quorum, faults = slide_quorum(parameters.faults), parameters.faults
    both = shared(members, quorum)
    safe = "" if quorums_meet(members, quorum, faults) else ", all of them perhaps faulty"
    output.say(
        f"warning: slide is the threshold as it was published, not the safe one: of {members}"
        f" members it asks for {quorum} average weights, and two such majorities may share only"
        f" {both}{safe}; no weight is capped. See docs/council.md"
    )


def _founders(
    roots: Sequence[str], intermediates: Sequence[str], ordinaries: Sequence[str]
) -> list[tuple[Address, Role]]:
    from dpki.council.parameters import Role
    from dpki.model import Address

    named = ((roots, Role.ROOT), (intermediates, Role.INTERMEDIATE), (ordinaries, Role.ORDINARY))
    return [(argument(Address.parse, text), role) for texts, role in named for text in texts]


def _parameters(
    desk: Desk, file: Path | None, rule: str | None, faults: int | None, delay: str | None
) -> Parameters:
    """Return what was typed, over the file, over the defaults."""
    from dpki.council.parameter_file import RULES, load_parameters, parse_seconds
    from dpki.council.parameters import DEFAULTS
    from dpki.devnet.anvil import CHAIN_ID

    # On the devnet nobody waits a day for anything.
    is_devnet = desk.config.chain.chain_id == CHAIN_ID
    base = replace(DEFAULTS, delay=0) if is_devnet else DEFAULTS
    chosen = base if file is None else load_parameters(file, base)
    if rule is not None:
        if rule not in RULES:
            raise UsageError(f"{rule[:40]!r} is no rule", hint=f"one of: {', '.join(RULES)}")
        chosen = replace(chosen, rule=RULES[rule])
    if faults is not None:
        chosen = replace(chosen, faults=faults)
    if delay is not None:
        chosen = replace(chosen, delay=int(parse_seconds(delay).total_seconds()))
    chosen.check()
    return chosen


def _verify(
    founders: Sequence[tuple[Address, Role]], parameters: Parameters, council: str | None
) -> None:
    """Refuse what the council would refuse, in words.

    Raises:
        UsageError: It is so.
    """
    from dpki.council.parameters import Role

    if council is not None and not founders:
        return
    accounts = [account for account, _ in founders]
    if len(set(accounts)) != len(accounts):
        raise UsageError("an account is named twice", hint="each member has one seat")
    if accounts:
        roots = sum(role is Role.ROOT for _, role in founders)
        parameters.check_reachable(len(accounts), roots)
