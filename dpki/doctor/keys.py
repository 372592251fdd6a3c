"""The admin's signing keys: the token, the CAs' keys in it or in files, the wallet."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from dpki.certificates.keys import authority_id, spki_of
from dpki.chain import decode
from dpki.chain.rpc import Endpoint
from dpki.chain.snapshot import Snapshot
from dpki.config.admin import AdminConfig, Home, key_uri
from dpki.doctor.finding import Finding, Level, attempt, from_error
from dpki.doctor.paths import judge, look_at
from dpki.errors import ConfigError, DpkiError, NotAllowed, WrongDomain
from dpki.files import load_bounded
from dpki.model import Address, AuthorityId, AuthorityState
from dpki.signer.pin import PinSource
from dpki.signer.uri import FileUri, KeyUri, Pkcs11Uri
from dpki.transactions.layer import fetch_layer_fee, has_layer_fee

GAS_OF_A_CERTIFICATE = 60_000
"""What anchoring one certificate alone takes at most (docs/benchmarks.md)."""

SIZE_OF_A_CERTIFICATE = 320
"""Bytes of the unsigned transaction that does it, at most."""

_FEW = 100
_LIMIT = 64 * 1024
_OPEN = "dpki doctor --pin prompt"


def examine_keys(
    home: Home,
    config: AdminConfig,
    authorities: Mapping[str, AuthorityId],
    snapshot: Snapshot | None,
    pin: PinSource | None,
) -> list[Finding]:
    """Look at the token, every CA's key and the wallet.

    Args:
        authorities: The CAs by their local names.
        pin: Where the token's PIN comes from; None leaves the keys unopened.
    """
    for name, path in config.token.environment.items():
        os.environ.setdefault(name, str(path))
    token, usable = look_at_token(config), True
    if token.level is not Level.OK and config.token.is_there:
        usable = False
    found, retired = [token], _retired(snapshot)
    for name, ca in authorities.items():
        uri = key_uri(home, config, name)
        if ca in retired or (isinstance(uri, Pkcs11Uri) and not usable):
            continue
        seen, pin = _look_at_key(config, name, ca, uri, pin)
        found += seen
    if usable or config.wallet.key is None:
        found.append(look_at_wallet(home, config, pin))
    return found


def look_at_token(config: AdminConfig) -> Finding:
    """Whether the PKCS#11 module and the token in it are there."""
    from dpki.signer.pkcs11_token import verify_token

    token = config.token
    if not token.is_there:
        said = "there is none: the keys of CAs are in files, which is weaker"
        mend = "add [token] to the configuration; then rotate each CA: dpki ca rotate OLD NEW"
        return Finding("token", Level.WARNING, said, mend=mend)
    return attempt(
        "token",
        lambda: f"{verify_token(Pkcs11Uri(token=token.label), token.module)} has {token.label!r}",
        where=str(token.module),
    )


def _look_at_key(
    config: AdminConfig, name: str, ca: AuthorityId, uri: KeyUri, pin: PinSource | None
) -> tuple[list[Finding], PinSource | None]:
    """Return what is found, and the PIN's source for the next key; None once it was refused."""
    part, where = f"key of {name}", str(uri)
    found = [judge_key_file(name, uri)] if isinstance(uri, FileUri) else []
    if found and found[0].level in (Level.PROBLEM, Level.COULD_NOT_CHECK):
        return found, pin
    if pin is None:
        return [*found, _unopened(part, where)], pin
    try:
        found.append(judge_key(part, ca, _identify(config, uri, pin), where))
    except NotAllowed as error:
        # The next wrong PIN might be the one that locks the token. A file locks nobody out.
        return [*found, from_error(part, error, where=where)], pin if found else None
    except DpkiError as error:
        found.append(from_error(part, error, where=where))
    return found, pin


def _identify(config: AdminConfig, uri: KeyUri, pin: PinSource) -> AuthorityId:
    """Open a key, and return the id that a CA with it has."""
    from dpki.signer.file import open_file_signer
    from dpki.signer.pkcs11 import open_signer

    if isinstance(uri, FileUri):
        with open_file_signer(uri, pin) as signer:
            return authority_id(spki_of(signer.public_key))
    with open_signer(uri, pin, config.token.module if config.token.is_there else None) as signer:
        return authority_id(spki_of(signer.public_key))


def judge_key_file(name: str, uri: FileUri) -> Finding:
    """Return whether a CA's key in a file is private; that it is weaker is said at best."""
    from dpki.signer.file import WEAKER

    part, path = f"key's file of {name}", Path(uri.path)
    found = judge(
        part, look_at(path), mode=0o600, owners=(os.geteuid(),), missing="restore it from a backup"
    )
    if found.level is not Level.OK:
        return found
    mend = f"with a token: dpki ca rotate {shlex.quote(name)} NEW"
    return Finding(part, Level.WARNING, WEAKER, found.where, mend)


def judge_key(part: str, ca: AuthorityId, found: AuthorityId, where: str) -> Finding:
    """Return whether the key of a CA's name is that CA's."""
    if found != ca:
        said = f"the key of this name is not the one of CA {ca}"
        mend = "is it the right token? restore the HSM's own backup"
        return Finding(part, Level.PROBLEM, said, where, mend)
    return Finding(part, Level.OK, f"it signs for CA {ca}", where)


def look_at_wallet(home: Home, config: AdminConfig, pin: PinSource | None) -> Finding:
    """Whether the account's key is there, and the account can pay."""
    part, where = "wallet", str(config.wallet.key or home.keystore)
    if config.wallet.key is not None and pin is None:
        return _unopened(part, where)
    try:
        account = _account_of(home, config, pin)
    except DpkiError as error:
        return from_error(part, error, where=where)
    failed: DpkiError = ConfigError("no RPC endpoint is configured")
    for url in config.chain.rpc:
        try:
            with Endpoint(url) as endpoint:
                return _look_at_balance(endpoint, config.chain.chain_id, account, where)
        except DpkiError as error:
            failed = error
    return from_error(part, failed, where=where)


def _look_at_balance(endpoint: Endpoint, chain_id: int, account: Address, where: str) -> Finding:
    chain = decode.quantity(endpoint.call("eth_chainId"), endpoint.name)
    if chain != chain_id:
        raise WrongDomain(f"{endpoint.name} is on chain {chain}")
    asked = endpoint.call("eth_getBalance", [str(account), "latest"])
    balance = decode.quantity(asked, endpoint.name)
    price = decode.quantity(endpoint.call("eth_gasPrice"), endpoint.name)
    below = fetch_layer_fee(endpoint, SIZE_OF_A_CERTIFICATE) if has_layer_fee(endpoint) else 0
    return judge_balance(account, balance, GAS_OF_A_CERTIFICATE * price + below, where)


def judge_balance(account: Address, balance: int, cost: int, where: str) -> Finding:
    """Return whether the account can pay for certificates.

    Args:
        balance: In wei.
        cost: Of a certificate that is issued alone, in wei, with the layer below.
    """
    certificates = balance // max(1, cost)
    said = f"account {account} has {balance / 10**18:.6f} ETH,"
    mend = f"send some ETH of this chain to {account}"
    if certificates < 1:
        said = f"{said} too little for a single certificate"
        return Finding("wallet", Level.PROBLEM, said, where, mend)
    said = f"{said} enough for about {certificates:,} certificates at the present price of gas"
    level = Level.WARNING if certificates < _FEW else Level.OK
    return Finding("wallet", level, said, where, mend if level is Level.WARNING else "")


def _unopened(part: str, where: str) -> Finding:
    said = "it was not opened: that takes the PIN"
    return Finding(part, Level.WARNING, said, where, _OPEN)


def _retired(snapshot: Snapshot | None) -> frozenset[AuthorityId]:
    if snapshot is None:
        return frozenset()
    return frozenset(
        ca.id for ca in snapshot.authorities.values() if ca.state is AuthorityState.RETIRED
    )


def _account_of(home: Home, config: AdminConfig, pin: PinSource | None) -> Address:
    """Return the account: the token tells, or what the keystore says that it holds."""
    if config.wallet.key is not None and pin is not None:
        from dpki.transactions.token_wallet import open_token_wallet

        module = config.token.module if config.token.is_there else None
        wallet = open_token_wallet(config.wallet.key, pin, module)
        wallet.close()
        return wallet.address
    if not home.keystore.is_file():
        raise ConfigError("there is no wallet", hint="dpki init makes one; or restore a backup")
    try:
        claimed = json.loads(load_bounded(home.keystore, limit=_LIMIT))["address"]
        return Address(bytes.fromhex(claimed.removeprefix("0x")))
    except (ValueError, TypeError, KeyError, AttributeError, DpkiError) as error:
        raise ConfigError(
            "it is no Ethereum keystore that names its account", hint="restore it from a backup"
        ) from error
