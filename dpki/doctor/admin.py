"""The admin's side: home, wallet, token and keys, chain, IPFS nodes, journal."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from dpki.certificates.keys import authority_id, spki_of
from dpki.chain import decode
from dpki.chain.rpc import Endpoint
from dpki.chain.snapshot import Snapshot
from dpki.config.admin import AdminConfig, Home, load_admin_config
from dpki.doctor.finding import Finding, Level, attempt, from_error
from dpki.doctor.network import look_at_chain, look_at_gateway
from dpki.doctor.paths import Kind, judge, judge_folders, look_above, look_at
from dpki.doctor.programs import (
    KUBO,
    judge_version,
    look_at_admin_packages,
    look_at_openssh,
    look_at_python,
)
from dpki.errors import ConfigError, DpkiError, NotAllowed, WrongDomain
from dpki.files import load_bounded
from dpki.issuance.database import Database
from dpki.issuance.index import Index
from dpki.issuance.journal import Journal
from dpki.model import Address, AuthorityId, AuthorityState
from dpki.signer.pin import PinSource
from dpki.signer.uri import Pkcs11Uri

GAS_OF_A_CERTIFICATE = 60_000
"""What anchoring one certificate alone takes at most (docs/benchmarks.md)."""

_FEW = 100
_LIMIT = 64 * 1024


def examine_admin(home: Home, now: datetime, pin: PinSource | None) -> list[Finding]:
    """Look at everything of an admin's; nothing is changed.

    Args:
        pin: Where the token's PIN comes from; None leaves the keys unopened.
    """
    findings = [look_at_python(), look_at_openssh("ssh", "/usr/bin/ssh")]
    try:
        config = load_admin_config(home)
    except DpkiError as error:
        return [*findings, from_error("configuration", error, where=str(home.config))]
    findings += [
        look_at_admin_packages(ipfs=bool(config.store.ipfs)),
        Finding("configuration", Level.OK, "it is well-formed", str(home.config)),
        *own_files(home),
    ]
    authorities: Mapping[str, AuthorityId] = {}
    snapshot = None
    if config.domain is None:
        said, mend = "there is no trust domain yet", "dpki deploy"
        findings.append(Finding("domain", Level.WARNING, said, str(home.config), mend))
    else:
        chain = look_at_chain(config.chain.rpc, config.domain, now)
        snapshot = chain.snapshot
        authorities, journal = look_at_journal(home, config)
        findings += [*chain.findings, journal]
    findings += [
        look_at_wallet(home, config),
        *look_at_token(config, authorities, snapshot, pin),
        *(_look_at_node(address) for address in config.store.ipfs),
        *(_look_at_folder(path) for path in config.store.directories),
        *(look_at_gateway(url) for url in config.store.gateways),
    ]
    return findings


def own_files(home: Home) -> list[Finding]:
    """Whether nobody else reads the secrets, or replaces anything."""
    owner = (os.geteuid(),)
    folder = look_at(home.directory)
    made = "make one with: dpki init"
    found = [
        judge_folders("folders above the home", look_above(home.directory.parent), (0, *owner)),
        judge("home", folder, mode=0o755, owners=owner, kind=Kind.DIRECTORY, missing=made),
        judge("configuration's file", look_at(home.config), mode=0o600, owners=owner, missing=made),
    ]
    private = {"wallet's file": home.keystore, "journal's file": home.journal}
    secret = [(part, path) for part, path in private.items() if path.exists()]
    secret += [("issuer's key", path) for path in sorted(home.issuer_key("x").parent.glob("*.key"))]
    found += [
        judge(part, look_at(path), mode=0o600, owners=owner, missing="restore it from a backup")
        for part, path in secret
    ]
    return found


def look_at_journal(home: Home, config: AdminConfig) -> tuple[Mapping[str, AuthorityId], Finding]:
    """Return the CAs' names, and whether something in the journal waits."""
    part, where = "journal", str(home.journal)
    if config.domain is None or not home.journal.exists():
        return {}, Finding(part, Level.OK, "nothing was issued yet", where)
    try:
        with Database(home.journal, config.domain) as database:
            journal, names = Journal(database), Index(database).authorities()
            waiting = sum(len(journal.load_unfinished(ca)) for ca in journal.authorities())
    except DpkiError as error:
        return {}, from_error(part, error, where=where)
    if waiting:
        said = f"{waiting} batches were signed and are not anchored"
        return names, Finding(part, Level.WARNING, said, where, "dpki ssh resume")
    return names, Finding(part, Level.OK, "nothing is left to be finished", where)


def look_at_wallet(home: Home, config: AdminConfig) -> Finding:
    """Whether the account can pay."""
    part, where = "wallet", str(home.keystore)
    try:
        account = _account_of(home.keystore)
    except DpkiError as error:
        return from_error(part, error, where=where)
    failed: DpkiError = ConfigError("no RPC endpoint is configured")
    for url in config.chain.rpc:
        try:
            with Endpoint(url) as endpoint:
                chain = decode.quantity(endpoint.call("eth_chainId"), endpoint.name)
                if chain != config.chain.chain_id:
                    raise WrongDomain(f"{endpoint.name} is on chain {chain}")
                asked = endpoint.call("eth_getBalance", [str(account), "latest"])
                balance = decode.quantity(asked, endpoint.name)
                price = decode.quantity(endpoint.call("eth_gasPrice"), endpoint.name)
            return judge_balance(account, balance, price, where)
        except DpkiError as error:
            failed = error
    return from_error(part, failed, where=where)


def judge_balance(account: Address, balance: int, price: int, where: str) -> Finding:
    """Return whether the account can pay for certificates.

    Args:
        balance: In wei.
        price: Of a unit of gas, in wei.
    """
    certificates = balance // max(1, GAS_OF_A_CERTIFICATE * price)
    said = f"account {account} has {balance / 10**18:.6f} ETH,"
    mend = f"send some ETH of this chain to {account}"
    if certificates < 1:
        said = f"{said} too little for a single certificate"
        return Finding("wallet", Level.PROBLEM, said, where, mend)
    said = f"{said} enough for about {certificates:,} certificates at the present price of gas"
    level = Level.WARNING if certificates < _FEW else Level.OK
    return Finding("wallet", level, said, where, mend if level is Level.WARNING else "")


def look_at_token(
    config: AdminConfig,
    authorities: Mapping[str, AuthorityId],
    snapshot: Snapshot | None,
    pin: PinSource | None,
) -> list[Finding]:
    """The PKCS#11 module, the token in it, and the CAs' keys."""
    try:
        from dpki.signer.pkcs11 import open_signer
        from dpki.signer.pkcs11_token import verify_token
    except ImportError:
        mend = "pip install 'dpki[admin]'"
        said = "python-pkcs11 is not installed"
        return [Finding("token", Level.COULD_NOT_CHECK, said, mend=mend)]
    token, where = config.token, str(config.token.module)
    for name, path in token.environment.items():
        os.environ.setdefault(name, str(path))
    found = attempt(
        "token",
        lambda: f"{verify_token(Pkcs11Uri(token=token.label), token.module)} has {token.label!r}",
        where=where,
    )
    if found.level is not Level.OK:
        return [found]

    retired, keys = _retired(snapshot), []
    for name, ca in authorities.items():
        if ca in retired:
            continue
        if pin is None:
            keys.append(_unopened(name, token.label))
            continue
        part, where = f"key of {name}", f"token {token.label}"
        try:
            uri = Pkcs11Uri(token=token.label, object=name)
            with open_signer(uri, pin, token.module) as signer:
                keys.append(judge_key(part, ca, authority_id(spki_of(signer.public_key)), where))
        except NotAllowed as error:
            # The next wrong PIN might be the one that locks the token.
            keys.append(from_error(part, error, where=where))
            break
        except DpkiError as error:
            keys.append(from_error(part, error, where=where))
    return [found, *keys]


def judge_key(part: str, ca: AuthorityId, found: AuthorityId, where: str) -> Finding:
    """Return whether the token's key of a CA's name is that CA's."""
    if found != ca:
        said = f"the key of this name in the token is not the one of CA {ca}"
        mend = "is it the right token? restore the HSM's own backup"
        return Finding(part, Level.PROBLEM, said, where, mend)
    return Finding(part, Level.OK, f"it signs for CA {ca}", where)


def _unopened(name: str, label: str) -> Finding:
    said, mend = "it was not opened: that takes the PIN", "dpki doctor --pin prompt"
    return Finding(f"key of {name}", Level.WARNING, said, f"token {label}", mend)


def _retired(snapshot: Snapshot | None) -> frozenset[AuthorityId]:
    if snapshot is None:
        return frozenset()
    return frozenset(
        ca.id for ca in snapshot.authorities.values() if ca.state is AuthorityState.RETIRED
    )


def _look_at_node(address: str) -> Finding:
    part, mend = "IPFS node", "ipfs daemon"
    try:
        from dpki.store.kubo import KuboStore
    except ImportError:
        said = "the IPFS client is not installed"
        return Finding(part, Level.COULD_NOT_CHECK, said, address, "pip install 'dpki[admin]'")
    try:
        node = KuboStore(address)
        try:
            answer = node.version()
        finally:
            node.close()
    except DpkiError as error:
        return from_error(part, error, where=address, mend=mend)
    upgrade = "upgrade Kubo: https://docs.ipfs.tech/install/command-line/"
    return judge_version(part, answer, r"(\d+)\.(\d+)", KUBO, where=address, mend=upgrade)


def _look_at_folder(path: Path) -> Finding:
    part, quoted = "bundles' folder", shlex.quote(str(path))
    if path.is_dir() and os.access(path, os.W_OK | os.X_OK):
        return Finding(part, Level.OK, "it can be written", str(path))
    if not path.exists():
        said = "it is not there yet; publishing makes it"
        return Finding(part, Level.WARNING, said, str(path), f"mkdir -p {quoted}")
    return Finding(part, Level.PROBLEM, "it can't be written", str(path), f"chmod u+rwx {quoted}")


def _account_of(keystore: Path) -> Address:
    """Return the account that a keystore says it holds; opening it would take the passphrase."""
    if not keystore.is_file():
        raise ConfigError("there is no wallet", hint="dpki init makes one; or restore a backup")
    try:
        claimed = json.loads(load_bounded(keystore, limit=_LIMIT))["address"]
        return Address(bytes.fromhex(claimed.removeprefix("0x")))
    except (ValueError, TypeError, KeyError, AttributeError, DpkiError) as error:
        raise ConfigError(
            "it is no Ethereum keystore that names its account", hint="restore it from a backup"
        ) from error
