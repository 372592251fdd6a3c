"""The admin's side: home, wallet, token and keys, chain, IPFS nodes, journal."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from dpki.config.admin import AdminConfig, Home, load_admin_config
from dpki.doctor.finding import Finding, Level, from_error
from dpki.doctor.keys import examine_keys
from dpki.doctor.network import look_at_chain, look_at_gateway
from dpki.doctor.paths import Kind, judge, judge_folders, look_above, look_at
from dpki.doctor.programs import (
    KUBO,
    judge_version,
    look_at_admin_packages,
    look_at_openssh,
    look_at_python,
)
from dpki.doctor.secrets import look_at_secrets
from dpki.errors import ConfigError, DpkiError
from dpki.issuance.database import Database
from dpki.issuance.index import Index
from dpki.issuance.journal import Journal
from dpki.model import AuthorityId
from dpki.signer.pin import PinSource, pin_source

_TOKEN = "bearer token of the IPFS nodes"


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
        chain = look_at_chain(config.chain.rpc, config.domain, now, quorum=config.chain.quorum)
        snapshot = chain.snapshot
        authorities, journal = look_at_journal(home, config)
        findings += [*chain.findings, journal]
    findings += [
        *look_at_secrets(home, config),
        *examine_keys(home, config, authorities, snapshot, pin),
        *(_look_at_node(address, config.store.ipfs_token) for address in config.store.ipfs),
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


def _look_at_node(address: str, token: str) -> Finding:
    """Whether a node answers, takes our token where it wants one, and is young enough."""
    part, mend = "IPFS node", "ipfs daemon"
    try:
        from dpki.store.kubo import KuboStore
    except ImportError:
        said = "the IPFS client is not installed"
        return Finding(part, Level.COULD_NOT_CHECK, said, address, "pip install 'dpki[admin]'")
    try:
        if token == "prompt":
            return _without_token(part, address)
        source = pin_source(token) if token else None
        node = KuboStore(address, None if source is None else lambda: source(_TOKEN))
        try:
            answer = node.version()
        finally:
            node.close()
    except DpkiError as error:
        # Where it is the token, the error itself says what mends it.
        of_token = isinstance(error, ConfigError) or "ipfs_token" in error.hint
        return from_error(part, error, where=address, mend="" if of_token else mend)
    upgrade = "upgrade Kubo: https://docs.ipfs.tech/install/command-line/"
    return judge_version(part, answer, r"(\d+)\.(\d+)", KUBO, where=address, mend=upgrade)


def _without_token(part: str, address: str) -> Finding:
    said = "it was not asked: that takes the bearer token, which is asked for at the terminal"
    return Finding(part, Level.WARNING, said, address, 'ipfs_token = "file:…" in [store]')


def _look_at_folder(path: Path) -> Finding:
    part, quoted = "bundles' folder", shlex.quote(str(path))
    if path.is_dir() and os.access(path, os.W_OK | os.X_OK):
        return Finding(part, Level.OK, "it can be written", str(path))
    if not path.exists():
        said = "it is not there yet; publishing makes it"
        return Finding(part, Level.WARNING, said, str(path), f"mkdir -p {quoted}")
    return Finding(part, Level.PROBLEM, "it can't be written", str(path), f"chmod u+rwx {quoted}")
