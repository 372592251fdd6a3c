"""`dpki deploy`: a trust domain, in one transaction."""

from __future__ import annotations

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
from dpki.cli.output import Output, describe_receipt, say_receipt, say_rehearsal
from dpki.cli.spending import limits, spends, turn
from dpki.errors import ConfigError, DpkiError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from dpki.chain.rpc import Reader
    from dpki.config.admin import AdminConfig
    from dpki.model import Address
    from dpki.transactions.wallet import Wallet


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "deploy",
        epilog=example(
            "DOMAIN=$(dpki deploy)",
            "dpki deploy --trust simple --timelock 2d",
            "dpki deploy --trust multi-admin --governor 0x… --operator 0x… --registrar 0x…",
        ),
    )(deploy)


TRUST = ("simple", "multi-admin", "multisig")
"""Models of trust: who has to agree before something is trusted."""


@spends
def deploy(
    governor: Annotated[
        str | None,
        typer.Option(
            "--governor", metavar="ADDRESS", help="Decides which CAs exist; default: you."
        ),
    ] = None,
    guardian: Annotated[
        str | None,
        typer.Option(
            "--guardian", metavar="ADDRESS", help="May suspend a CA at once; default: nobody."
        ),
    ] = None,
    registrar: Annotated[
        list[str] | None,
        typer.Option(
            "--registrar", metavar="ADDRESS", help="May enrol devices; default: you; repeatable."
        ),
    ] = None,
    trust: Annotated[
        str,
        typer.Option(
            "--trust",
            metavar="|".join(TRUST),
            help="One admin is all; or HSM, wallet and governor are different people's; or"
            " watchdogs confirm, too.",
        ),
    ] = TRUST[0],
    operator: Annotated[
        str | None,
        typer.Option("--operator", metavar="ADDRESS", help="Of several admins: who is to anchor."),
    ] = None,
    timelock: Annotated[
        str | None,
        typer.Option(
            "--timelock",
            metavar="TIME",
            help="What adds trust waits so long: govern by a timelock.",
        ),
    ] = None,
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Deploy a trust domain. Prints its id.

    With an endpoint, the id is all that others need to know. With --timelock what you decide as
    governor waits first, where everybody sees it and you can cancel it; suspending (as guardian)
    and revoking (as operator) don't wait. Of several admins you get no role by deploying; what each
    of them does next is said at the end.
    """
    from dpki.chain.agreed import open_agreed, open_answering
    from dpki.chain.domain import fetch_domain
    from dpki.cli.session import unlock_wallet
    from dpki.config.admin import find_home, load_admin_config, save_domain
    from dpki.files import verify_writable
    from dpki.model import Address
    from dpki.transactions.deploy import deploy_domain, rehearse_deployment

    output = Output(json=json)
    place = find_home(home)
    config = load_admin_config(place)
    if config.domain is not None:
        raise ConfigError(
            f"{place.config} already names the domain {config.domain}",
            hint="use another home for another domain: --home",
        )
    roles = [
        None if text is None else argument(Address.parse, text) for text in (governor, guardian)
    ]
    registrars = [argument(Address.parse, text) for text in registrar or ()]
    delay = _parse_trust(trust, timelock, governor)
    apart = verify_apart(trust, roles[0], operator, registrars)
    with (
        open_answering(config.chain.rpc, config.chain.chain_id) as endpoint,
        open_agreed(config.chain.rpc, config.chain.chain_id, config.chain.quorum) as agreed,
    ):
        wallet = unlock_wallet(place, config, passphrase, output)
        governed_by = roles[0] or wallet.address
        registrars = registrars or [wallet.address]
        if delay is not None:
            roles[1] = roles[1] or wallet.address
        if dry_run:
            rehearsal = rehearse_deployment(
                endpoint,
                wallet,
                governor=governed_by,
                guardian=roles[1],
                registrars=registrars,
                chain_id=config.chain.chain_id,
                **limits(config),
            )
            by = f"a timelock of {wallet.address}" if delay is not None else str(governed_by)
            say_rehearsal(output, rehearsal, f"deploy a domain governed by {by}")
            return
        verify_writable(place.config)
        if delay is not None:
            governed_by = _deploy_timelock(output, endpoint, wallet, config, delay)
        with output.working("deploying the trust domain"):
            domain, receipt = deploy_domain(
                endpoint,
                wallet,
                governor=governed_by,
                guardian=roles[1],
                registrars=registrars,
                chain_id=config.chain.chain_id,
                **limits(config),
                turn=turn(output),
                confirmations=config.chain.finality.confirmations,
                confirm=None if agreed is None else agreed.confirm,
            )
        # Said before it is saved: whatever happens now, the id is not lost.
        output.say(f"the trust domain is {domain}")
        if agreed is not None:
            # The id holds the hash of a block, of which only one endpoint has told so far.
            fetch_domain(agreed, domain)
    try:
        save_domain(place, domain)
    except DpkiError as error:
        raise DpkiError(
            f"the trust domain {domain} is deployed, but {error.message}",
            hint=f'enter it in {place.config} yourself, as its second line: domain = "{domain}"',
        ) from error
    say_receipt(output, receipt)
    document: dict[str, object] = {"domain": str(domain), "trust": trust}
    if apart is not None:
        document["next"] = next_steps(trust, str(domain), str(governed_by), str(apart))
        for step in next_steps(trust, str(domain), str(governed_by), str(apart)):
            output.say(f"next: {step}")
    output.result(document | describe_receipt(receipt), domain)


def verify_apart(
    trust: str, governor: Address | None, operator: str | None, registrars: Sequence[Address]
) -> Address | None:
    """Return the operator of a domain of several admins; None for one of one admin.

    Raises:
        UsageError: A role is missing, or two that have to be apart are one account's.
    """
    from dpki.model import Address

    if trust == TRUST[0]:
        if operator is not None:
            raise UsageError("--operator goes with several admins", hint="add --trust multi-admin")
        return None
    if governor is None or operator is None or not registrars:
        raise UsageError(
            f"with --trust {trust} the roles are different people's",
            hint="name them: --governor, --operator and --registrar, each an account",
        )
    account = argument(Address.parse, operator)
    if account == governor:
        raise UsageError(
            "the governor and the operator are one account",
            hint="whoever steals it could register a CA and issue with it: name two",
        )
    if account in registrars:
        raise UsageError(
            "the operator is a registrar, too",
            hint="whoever steals its wallet could enrol devices: name another account",
        )
    return account


def next_steps(trust: str, domain: str, governor: str, operator: str) -> list[str]:
    """Return what each of several admins does on a machine of their own."""
    join = f"dpki init --domain {domain}"
    ask = f"dpki ca request users --kind ssh-user --operator {operator} --out users.request"
    register = "dpki ca register users.request"
    steps = [f"the CA's admin, with the HSM: {join} --without-wallet …; {ask}"]
    if trust == TRUST[2]:
        steps.append(f"each watchdog: {join} --without-token …; dpki watchdog keys")
        register += " --watchdog … --threshold N"
    steps.append(f"the governor, {governor}: {join} --without-token …; {register}")
    steps.append(f"the operator, {operator}: {join} --without-token …; dpki ca name users ID")
    return steps


def _parse_trust(trust: str, timelock: str | None, governor: str | None) -> timedelta | None:
    """Return the timelock's delay; None for no timelock.

    Raises:
        UsageError: There is no such model, or two governors are named.
    """
    from dpki.config.durations import parse_duration

    if trust not in TRUST:
        raise UsageError(
            f"there is no model of trust {trust[:40]!r}", hint=f"--trust is {' or '.join(TRUST)}"
        )
    if timelock is not None and governor is not None:
        raise UsageError(
            "--governor and --timelock name two governors",
            hint="leave one out; the timelock is deployed for you and acts for your account",
        )
    return None if timelock is None else parse_duration(timelock)


def _deploy_timelock(
    output: Output, endpoint: Reader, wallet: Wallet, config: AdminConfig, delay: timedelta
) -> Address:
    """Deploy the domain's governor-to-be."""
    from dpki.transactions.deploy import deploy_timelock

    with output.working("deploying the timelock"):
        address, receipt = deploy_timelock(
            endpoint,
            wallet,
            delay=delay,
            chain_id=config.chain.chain_id,
            **limits(config),
            turn=turn(output),
            confirmations=config.chain.finality.confirmations,
        )
    output.say(f"the timelock is {address}; it governs the domain that comes now")
    say_receipt(output, receipt)
    return address
