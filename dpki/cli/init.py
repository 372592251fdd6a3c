"""`dpki init`: the admin's home."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpki.cli.options import (
    HomeOption,
    JsonOption,
    PassphraseOption,
    PinOption,
    QuorumOption,
    argument,
    example,
)
from dpki.cli.output import Output
from dpki.errors import UsageError

if TYPE_CHECKING:
    from dpki.config.admin import AdminConfig, ChainConfig, Home, StoreConfig, TokenConfig
    from dpki.model import DomainId
    from dpki.signer.uri import Pkcs11Uri
    from dpki.transactions.wallet import Wallet


PUBLIC_KEY_WORK = 2**12
"""scrypt's work for a development account: everybody knows its key, so guessing gains nothing."""


@dataclass(frozen=True)
class Wishes:
    """What was asked for on the command line."""

    devnet: Path | None
    preset: str | None
    rpc: tuple[str, ...]
    chain_id: int | None
    module: Path | None
    token: str | None
    pin: str | None
    passphrase: str | None
    ipfs: tuple[str, ...]
    gateways: tuple[str, ...]
    directory: Path | None
    copies: int | None
    keystore: Path | None
    without_token: bool = False
    account: int = 0
    domain: DomainId | None = None
    wallet: str | None = None
    quorum: int | None = None


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "init",
        epilog=example(
            "dpki init --devnet ~/.config/dpki/devnet --passphrase file:$HOME/passphrase",
            "dpki init --chain lisk-sepolia --module /usr/lib/softhsm/libsofthsm2.so \\",
            "  --token acme --ipfs /ip4/127.0.0.1/tcp/5001 --gateway https://ipfs.io \\",
            "  --wallet 'pkcs11:token=acme;object=operator'",
        ),
    )(init)


def init(
    devnet: Annotated[
        Path | None, typer.Option("--devnet", metavar="DIR", help="Take everything from a devnet.")
    ] = None,
    chain: Annotated[
        str | None, typer.Option("--chain", metavar="NAME", help="A known chain, such as lisk.")
    ] = None,
    rpc: Annotated[
        list[str] | None,
        typer.Option("--rpc", metavar="URL", help="JSON-RPC endpoint; may be repeated."),
    ] = None,
    quorum: QuorumOption = None,
    chain_id: Annotated[
        int | None, typer.Option("--chain-id", min=1, help="With --rpc: which chain it must be.")
    ] = None,
    module: Annotated[
        Path | None, typer.Option("--module", help="The HSM's PKCS#11 library.")
    ] = None,
    token: Annotated[
        str | None, typer.Option("--token", metavar="LABEL", help="The token's label.")
    ] = None,
    without_token: Annotated[
        bool,
        typer.Option(
            "--without-token", help="There is no HSM: CA keys go into encrypted files (weaker)."
        ),
    ] = False,
    pin: PinOption = None,
    passphrase: PassphraseOption = None,
    ipfs: Annotated[
        list[str] | None,
        typer.Option("--ipfs", metavar="MULTIADDR", help="RPC port of a Kubo node of yours."),
    ] = None,
    gateway: Annotated[
        list[str] | None,
        typer.Option("--gateway", metavar="URL", help="IPFS gateway to read back from."),
    ] = None,
    directory: Annotated[
        Path | None, typer.Option("--directory", help="Folder for bundles, instead of IPFS.")
    ] = None,
    copies: Annotated[
        int | None, typer.Option("--copies", min=1, help="Places that each bundle must be in.")
    ] = None,
    import_keystore: Annotated[
        Path | None,
        typer.Option("--import-keystore", help="An Ethereum keystore to use as the wallet."),
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option("--domain", metavar="ID", help="The trust domain, if it is there already."),
    ] = None,
    account: Annotated[
        int | None, typer.Option("--account", min=0, max=9, help="With --devnet: whose wallet.")
    ] = None,
    wallet: Annotated[
        str | None,
        typer.Option(
            "--wallet",
            metavar="URI",
            help="The account's key is in the token, or is made there: pkcs11:…; no keystore then.",
        ),
    ] = None,
    without_wallet: Annotated[
        bool,
        typer.Option(
            "--without-wallet", help="For an HSM's admin: another machine's wallet anchors."
        ),
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Make the admin's configuration and wallet.

    Never over existing ones. Prints the wallet's account.
    """
    from dpki.chain.agreed import verify_chain
    from dpki.config.admin import create_admin_config, find_home, verify_no_config
    from dpki.model import DomainId

    output = Output(json=json)
    if account is not None and devnet is None:
        raise UsageError("--account goes with --devnet", hint="leave it out")
    if without_wallet and (wallet or import_keystore or account is not None):
        raise UsageError("a wallet is named, and --without-wallet", hint="leave one out")
    if without_wallet and domain is None:
        raise UsageError("without a wallet nothing can be deployed", hint="add --domain ID")
    place = find_home(home)
    verify_no_config(place)
    wishes = Wishes(
        devnet=devnet,
        preset=chain,
        rpc=tuple(rpc or ()),
        chain_id=chain_id,
        module=module,
        token=token,
        pin=pin,
        passphrase=passphrase,
        ipfs=tuple(ipfs or ()),
        gateways=tuple(gateway or ()),
        directory=directory,
        copies=copies,
        keystore=import_keystore,
        without_token=without_token,
        account=account or 0,
        domain=None if domain is None else argument(DomainId.parse, domain),
        wallet=wallet,
        quorum=quorum,
    )
    config = make_config(place, wishes)
    verify_chain(config.chain.rpc, config.chain.chain_id, config.chain.quorum)
    if not config.token.is_there:
        output.say("warning: no HSM: CA keys go into files, which is weaker than a token")
    if not config.store.ipfs:
        folders = ", ".join(str(path) for path in config.store.directories)
        output.say(f"warning: no IPFS node: bundles go to {folders}, which nobody else can read")
    if without_wallet:
        create_admin_config(place, config)
        output.say(f"wrote {place.config}; there is no wallet here")
        output.say("next: dpki ca request")
        output.result({"home": str(place.directory), "account": None, "key": None}, place.directory)
        return
    address = make_wallet(place, wishes, config, output).address
    create_admin_config(place, config)
    key = str(config.wallet.key or place.keystore)
    output.say(f"wrote {place.config}; the wallet's account is {address}, its key: {key}")
    next_ = "dpki deploy" if config.domain is None else "dpki domain show"
    output.say(f"next: {next_}" + (", once it has money" if config.wallet.key else ""))
    output.result({"home": str(place.directory), "account": str(address), "key": key}, address)


def make_config(home: Home, wishes: Wishes) -> AdminConfig:
    """Return the configuration that was asked for, checked as if it had been read.

    Raises:
        UsageError: Something is missing, or contradicts something else.
    """
    from dpki.config.admin import AdminConfig, dump_admin_config, parse_admin_config
    from dpki.config.signing import WalletConfig

    if wishes.devnet is not None:
        chain, token, store = _of_devnet(home, wishes, wishes.devnet)
    else:
        chain, token, store = _chain(wishes), _token(wishes), _store(home, wishes)
    config = AdminConfig(
        chain=chain,
        token=replace(token, pin=_everywhere(token.pin)),
        passphrase=_everywhere(wishes.passphrase or "prompt"),
        store=store,
        domain=wishes.domain,
        wallet=WalletConfig(key=_wallet_key(wishes)),
    )
    # Read back, so that what is written is never what the next command refuses.
    return parse_admin_config(dump_admin_config(config), home.config)


def make_wallet(home: Home, wishes: Wishes, config: AdminConfig, output: Output) -> Wallet:
    """Return the wallet: imported, a devnet's funded account, or a new one; saved encrypted.

    Or a key in the token, made there unless it is there already: then nothing is saved. One that an
    interrupted run has left is opened and used.
    """
    from dpki.cli.session import secret, unlock_wallet
    from dpki.transactions.wallet import SCRYPT_WORK, Wallet, create_keystore, load_wallet

    if config.wallet.key is not None:
        return _token_wallet(home, config, config.wallet.key, output)
    if home.keystore.exists():
        return unlock_wallet(home, config, None, output)
    source = secret(config.passphrase, output)
    passphrase = source("passphrase for the wallet")
    is_new = wishes.keystore is None
    if is_new and config.passphrase == "prompt" and source("the same again") != passphrase:
        raise UsageError("the two passphrases differ", hint="nothing was written; try again")
    with output.working("encrypting the wallet"):
        if wishes.keystore is not None:
            wallet = load_wallet(wishes.keystore, lambda _: passphrase)
        elif wishes.devnet is not None:
            from dpki.devnet.accounts import development_wallet

            wallet = development_wallet(wishes.account, chain_id=config.chain.chain_id)
        else:
            wallet = Wallet.create()
        work = (
            PUBLIC_KEY_WORK
            if wishes.devnet is not None and wishes.keystore is None
            else SCRYPT_WORK
        )
        return create_keystore(home.keystore, lambda _: passphrase, wallet=wallet, work=work)


def _token_wallet(home: Home, config: AdminConfig, uri: Pkcs11Uri, output: Output) -> Wallet:
    from dpki.cli.session import module_of, token_pin, unlock_wallet
    from dpki.errors import KeyNotFound
    from dpki.transactions.token_wallet import create_token_wallet

    try:
        return unlock_wallet(home, config, None, output)
    except KeyNotFound:
        with output.working("making a key in the token"):
            create_token_wallet(uri, token_pin(config, None, output), module_of(config))
    return unlock_wallet(home, config, None, output)


def _wallet_key(wishes: Wishes) -> Pkcs11Uri | None:
    from dpki.signer.uri import Pkcs11Uri

    if wishes.wallet is None:
        return None
    if wishes.keystore is not None:
        raise UsageError(
            "--wallet and --import-keystore name two wallets", hint="leave one of them out"
        )
    uri = Pkcs11Uri.parse(wishes.wallet)
    if not uri.object:
        raise UsageError(
            "--wallet names no key", hint="add ;object=<label>; a key that is not there is made"
        )
    return uri


def _everywhere(spec: str) -> str:
    """Return where a secret comes from, so that it is found from every folder."""
    from dpki.config.values import verify_secret_source

    kind, _, path = verify_secret_source(spec).partition(":")
    return f"file:{Path(path).expanduser().absolute()}" if kind == "file" else spec


def _of_devnet(
    home: Home, wishes: Wishes, directory: Path
) -> tuple[ChainConfig, TokenConfig, StoreConfig]:
    """Return what a devnet offers; only storage and secrets can be chosen beside it."""
    from dpki.config.admin import ChainConfig, StoreConfig, TokenConfig
    from dpki.config.presets import find_preset
    from dpki.devnet.state import load_state

    chosen = wishes.preset or wishes.rpc or wishes.chain_id or wishes.module or wishes.token
    if chosen or wishes.quorum or wishes.without_token:
        raise UsageError(
            "--devnet brings chain and token along",
            hint="leave --chain, --rpc, --quorum, --chain-id, --module and --token out",
        )
    state = load_state(directory.absolute())
    if state is None:
        raise UsageError(f"no devnet runs in {directory}", hint="start one with: dpki devnet up")
    if state.token is None:
        raise UsageError(f"the devnet in {directory} has no token", hint="start it again")
    local = find_preset("anvil-optimism" if state.optimism else "anvil")
    chain = ChainConfig(
        state.chain_id, (state.rpc,), optimism=state.optimism, finality=local.finality
    )
    token = TokenConfig(
        module=state.token.module,
        label=state.token.label,
        pin=wishes.pin or f"file:{state.token.pin_file}",
        environment={name: Path(path) for name, path in state.token.environment.items()},
    )
    store = StoreConfig(
        ipfs=tuple(node.api_multiaddr for node in state.ipfs),
        # The last node's first: what is put on the first node is read back over the network.
        gateways=tuple(node.gateway for node in reversed(state.ipfs)),
    )
    has_own = bool(wishes.ipfs or wishes.gateways or wishes.directory or wishes.copies)
    return chain, token, _store(home, wishes) if has_own or not store.ipfs else store


def _chain(wishes: Wishes) -> ChainConfig:
    from dpki.config.admin import ChainConfig
    from dpki.config.presets import find_preset
    from dpki.config.urls import verify_urls

    rpc = verify_urls(wishes.rpc)
    if wishes.preset is not None:
        chain = find_preset(wishes.preset, rpc=rpc)
        if wishes.chain_id not in (None, chain.chain_id):
            raise UsageError(f"{wishes.preset} has chain id {chain.chain_id}")
        return replace(chain, quorum=wishes.quorum)
    if not rpc or wishes.chain_id is None:
        raise UsageError(
            "which chain?",
            hint="give --devnet DIR, --chain NAME, or --rpc URL with --chain-id NUMBER",
        )
    return ChainConfig(wishes.chain_id, rpc, quorum=wishes.quorum)


def _token(wishes: Wishes) -> TokenConfig:
    from dpki.config.admin import TokenConfig
    from dpki.config.values import verify_label

    if wishes.without_token and wishes.module is None and wishes.token is None:
        return TokenConfig(pin=wishes.pin or "prompt")
    if wishes.without_token or wishes.module is None or wishes.token is None:
        raise UsageError(
            "which token?",
            hint="give the HSM's PKCS#11 library with --module, and the token's label with --token;"
            " or --without-token",
        )
    if not wishes.module.is_file():
        raise UsageError(f"there is no PKCS#11 library at {wishes.module}")
    return TokenConfig(wishes.module.absolute(), verify_label(wishes.token), wishes.pin or "prompt")


def _store(home: Home, wishes: Wishes) -> StoreConfig:
    from dpki.config.admin import StoreConfig, verify_copies
    from dpki.config.urls import verify_urls
    from dpki.config.values import verify_multiaddr

    directories = [] if wishes.directory is None else [wishes.directory.absolute()]
    if not wishes.ipfs and not directories:
        directories = [home.store]
    return verify_copies(
        StoreConfig(
            ipfs=tuple(verify_multiaddr(address) for address in wishes.ipfs),
            gateways=verify_urls(wishes.gateways),
            directories=tuple(directories),
            copies=wishes.copies or 1,
        )
    )
