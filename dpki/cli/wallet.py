"""`dpki wallet`: the account that signs transactions."""

from __future__ import annotations

from typing import Annotated

import typer

from dpki.cli.options import (
    DryRunOption,
    HomeOption,
    JsonOption,
    PassphraseOption,
    PinOption,
    YesOption,
    example,
)
from dpki.cli.output import Output
from dpki.cli.spending import spends
from dpki.errors import DpkiError, UsageError

app = typer.Typer(no_args_is_help=True)

KEYSTORE = "keystore"


@app.command("show", epilog=example("dpki wallet show"))
def show(
    passphrase: PassphraseOption = None, home: HomeOption = None, json: JsonOption = False
) -> None:
    """Show the wallet's account, where its key is, and what it has. Prints the account."""
    from dpki.chain.agreed import open_answering
    from dpki.cli.session import unlock_wallet
    from dpki.config.admin import find_home, load_admin_config
    from dpki.config.amounts import format_ether
    from dpki.transactions.account import Account

    output = Output(json=json)
    place = find_home(home)
    config = load_admin_config(place)
    address = unlock_wallet(place, config, passphrase, output).address
    with open_answering(config.chain.rpc, config.chain.chain_id) as endpoint:
        account = Account(endpoint, address, config.chain.chain_id)
        balance, sent = account.balance(), account.count("latest")
        waiting = account.count("pending") - sent
    where = str(config.wallet.key or place.keystore)
    output.say(f"key: {where}")
    output.say(f"balance: {format_ether(balance)} ETH on chain {config.chain.chain_id}")
    output.say(f"transactions: {sent} in blocks, {waiting} waiting")
    if waiting:
        output.say("see what waits with: dpki wallet pending")
    if balance == 0:
        output.say("warning: the account can pay for nothing; send it some")
    document = {
        "account": str(address),
        "key": where,
        "protection": "token" if config.wallet.key else "file",
        "balance_wei": str(balance),
        "transactions": sent,
        "waiting": waiting,
    }
    output.result(document, address)


@app.command("create", epilog=example("dpki wallet create operator"))
def create(
    name: Annotated[str, typer.Argument(help="The new key's label in the token.")],
    pin: PinOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Make a wallet's key in the token, and use it from now on. Prints its account.

    No key that signs transactions then lies on a disk. The keystore stays where it is.
    """
    from dpki.cli.session import module_of, token_pin
    from dpki.config.admin import find_home, load_admin_config, save_wallet_key
    from dpki.config.values import verify_name
    from dpki.files import verify_writable
    from dpki.signer.uri import Pkcs11Uri
    from dpki.transactions.token_wallet import create_token_wallet

    output = Output(json=json)
    place = find_home(home)
    config = load_admin_config(place)
    if not config.token.is_there:
        raise UsageError("there is no token in the configuration", hint="add [token] to it")
    uri = Pkcs11Uri(token=config.token.label, object=verify_name(name))
    verify_writable(place.config)
    with output.working("making a key in the token"):
        address = create_token_wallet(uri, token_pin(config, pin, output), module_of(config))
    try:
        save_wallet_key(place, uri)
    except DpkiError as error:
        raise DpkiError(
            f"the key {uri} is in the token, but {error.message}",
            hint=f"make room, then: dpki wallet use '{uri}'",
        ) from error
    output.say(f"the wallet is now {uri}; give its account money and roles: {address}")
    output.result({"account": str(address), "key": str(uri)}, address)


@app.command("use", epilog=example("dpki wallet use 'pkcs11:token=acme;object=operator'"))
def use(
    which: Annotated[
        str, typer.Argument(metavar="URI|keystore", help="A key in a token, or the keystore.")
    ],
    pin: PinOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Sign with another key from now on. Prints its account."""
    from dpki.cli.session import account_of
    from dpki.config.admin import find_home, load_admin_config, save_wallet_key
    from dpki.signer.uri import Pkcs11Uri

    output = Output(json=json)
    place = find_home(home)
    config = load_admin_config(place)
    uri = None if which == KEYSTORE else Pkcs11Uri.parse(which)
    account = str(account_of(place, config, uri, pin, output))
    save_wallet_key(place, uri)
    output.result({"account": account, "key": str(uri or place.keystore)}, account)


@app.command("pending", epilog=example("dpki wallet pending"))
def pending(pin: PinOption = None, home: HomeOption = None, json: JsonOption = False) -> None:
    """List the account's transactions that are in no block yet. Prints a table.

    A command that was ended while it waited may have left one. Those that come later wait for it.
    """
    from dpki.cli.stuck import list_pending

    list_pending(Output(json=json), home, pin)


@app.command(
    "unstick",
    epilog=example(
        "dpki wallet unstick --dry-run", "dpki wallet unstick --nonce 17 --resend --max-fee 0.5"
    ),
)
@spends
def unstick(
    nonce: Annotated[
        int | None, typer.Option("--nonce", min=0, help="Only the one with this number.")
    ] = None,
    resend: Annotated[
        bool, typer.Option("--resend", help="The same call once more, for more; default: end it.")
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    passphrase: PassphraseOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """End transactions that wait, or send them for more. Prints what is in a block then.

    An empty transaction of the account to itself takes the place of each: what it was to do will
    not happen, for ever. With --resend it is the same call, with higher fees.
    """
    from dpki.cli.stuck import replace_pending

    replace_pending(
        Output(json=json),
        home,
        nonce=nonce,
        again=resend,
        dry_run=dry_run,
        yes=yes,
        passphrase=passphrase,
    )
