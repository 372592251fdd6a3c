"""`dpki deploy`: a trust domain, in one transaction."""

from __future__ import annotations

from typing import Annotated

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
from dpki.errors import ConfigError, DpkiError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("deploy", epilog=example("DOMAIN=$(dpki deploy)"))(deploy)


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
    dry_run: DryRunOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Deploy a trust domain. Prints its id.

    With an endpoint, the id is all that others need to know.
    """
    from dpki.chain.rpc import Endpoint
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
    with Endpoint(config.chain.rpc[0]) as endpoint:
        wallet = unlock_wallet(place, config, passphrase, output)
        governed_by = roles[0] or wallet.address
        registrars = registrars or [wallet.address]
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
            say_rehearsal(output, rehearsal, f"deploy a domain governed by {governed_by}")
            return
        verify_writable(place.config)
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
            )
    # Said before it is saved: whatever happens now, the id is not lost.
    output.say(f"the trust domain is {domain}")
    try:
        save_domain(place, domain)
    except DpkiError as error:
        raise DpkiError(
            f"the trust domain {domain} is deployed, but {error.message}",
            hint=f'enter it in {place.config} yourself, as its second line: domain = "{domain}"',
        ) from error
    say_receipt(output, receipt)
    output.result({"domain": str(domain), **describe_receipt(receipt)}, domain)
