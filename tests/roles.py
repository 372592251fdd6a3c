"""A domain whose powers are different people's, on real services, and a device at a real sshd.

The governor, the CA's admin with the HSM and no wallet, the operator with a wallet and no HSM: each
has a home of their own, and they share nothing but the chain, the folder that bundles go to, and
the files that they give each other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.agent.decide import decide
from dpki.agent.install import install
from dpki.agent.observe import observe
from dpki.agent.opened import OpenedBundles
from dpki.agent.state import open_state
from dpki.certificates.keys import public_key_line, ssh_blob
from dpki.certificates.profile import PrincipalRule, Profile
from dpki.chain.domain import Domain, fetch_domain
from dpki.chain.rpc import Endpoint
from dpki.config.admin import Home, StoreConfig, TokenConfig
from dpki.config.device import Access, DeviceConfig, Grant
from dpki.config.finality import Finality
from dpki.config.profile import dump_profile
from dpki.config.sshd import CommandHook, Sshd
from dpki.devices.document import make_key_document
from dpki.devices.enrollment import make_enrollment_request
from dpki.devices.keys import DeviceKeys, generate_device_keys
from dpki.devnet.accounts import development_wallet
from dpki.devnet.anvil import CHAIN_ID, Anvil
from dpki.files import make_private_directory, write_atomic
from dpki.model import Address, AuthorityId
from dpki.store.directory import DirectoryStore
from dpki.transactions.writer import DomainWriter
from scripts.stage import Client, Outcome, Stage, open_stage
from scripts.stage import Sshd as Server
from tests.admins import Admin, Result, Run, make_admin_of, runner, save_wallet
from tests.device import private_key_file
from tests.soft_tokens import SoftHsmFolder

GOVERNOR, OPERATOR, STRANGER = 0, 1, 9
WATCHDOGS = (3, 4, 5)
"""Development accounts."""

HOST = "pump-17.example"


@dataclass
class Roles:
    """Everybody, their homes, and one device that lets in whoever the user CA calls ops."""

    stage: Stage
    anvil: Anvil
    endpoint: Endpoint
    softhsm: SoftHsmFolder
    dpki: Run
    governor: Admin
    admin: Admin
    operator: Admin
    domain: Domain
    ca: AuthorityId
    keys: DeviceKeys = field(default_factory=generate_device_keys)
    server: Server | None = None
    made: int = 0

    @property
    def directory(self) -> Path:
        return self.stage.directory

    def run(self, who: Admin, *words: str | Path) -> Result:
        return self.dpki(*words, *who.option)

    def ok(self, who: Admin, *words: str | Path) -> dict[str, object]:
        result = self.run(who, *words)
        assert result.status == 0, result.err
        return result.document

    def person(self, principal: str = "ops") -> tuple[Path, list[str]]:
        """Return a new person's private key, and the words that ask for their certificate."""
        self.made += 1
        key = Ed25519PrivateKey.generate()
        path = self.directory / f"person-{self.made}"
        path.write_bytes(private_key_file(key))
        path.chmod(0o600)
        public = path.with_name(f"{path.name}.pub")
        public.write_text(public_key_line(ssh_blob(key.public_key())) + "\n")
        words = ["ssh", "issue", "--ca", "users", "--key", str(public)]
        return path, [*words, "--identity", path.name, "--principal", principal]

    def hand_over(self, principal: str = "ops", *more: str) -> tuple[Path, Path]:
        """Have the admin sign for a new person; return their key and the handover."""
        key, words = self.person(principal)
        file = self.directory / f"{key.name}.handover"
        self.ok(self.admin, *words, *more, "--handover", file)
        return key, file

    def issue(self, principal: str = "ops") -> Path:
        """Go the whole way; return the person's key, beside which their certificate lies."""
        key, file = self.hand_over(principal)
        self.ok(self.operator, "ssh", "anchor", file)
        self.ok(self.admin, "ssh", "resume")
        return key

    def look(self, watchdog: Admin, *more: str | Path) -> list[dict[str, Any]]:
        """Let a watchdog look once; return what it said."""
        result = self.run(watchdog, "watchdog", "run", "--once", *more)
        assert result.status == 0, result.err
        return [json.loads(line) for line in result.out.splitlines()]

    def login(self, key: Path, certificate: Path | None = None) -> Outcome:
        """Run the device's agent, and log in at its sshd."""
        self.update()
        if self.server is None:
            host = self.directory / "host-key"
            host.write_bytes(private_key_file(self.keys.ssh_host[-1]))
            host.chmod(0o600)
            self.server = self.stage.start_sshd(
                "device", [f"HostKey {host}"], include=self.directory / "etc/10-dpki.conf"
            )
        known = self.directory / "known_hosts"
        known.write_text(f"{HOST} {public_key_line(self.keys.host_blobs[-1])}\n")
        shown = certificate or key.with_name(f"{key.name}-cert.pub")
        return self.stage.ssh(self.server, Client(key, shown, known, None, HOST))

    def enters(self, key: Path, certificate: Path | None = None) -> bool:
        outcome = self.login(key, certificate)
        if outcome.status == 0:
            assert outcome.stdout == "logged-in\n", outcome.describe()
            return True
        assert "Permission denied" in outcome.stderr, outcome.describe()
        return False

    def update(self) -> None:
        """Do what `dpki agent once` does."""
        etc, folder = self.directory / "etc", self.directory / "agent"
        config = DeviceConfig(
            domain=self.domain.id,
            rpc=(self.anvil.url,),
            directories=(etc,),
            sshd=Sshd(
                directory=etc / "dpki",
                config=etc / "sshd_config",
                drop_in=etc / "10-dpki.conf",
                login_user="nobody" if os.geteuid() == 0 else self.stage.account,
                reload=CommandHook(()),
            ),
            access=Access(console_access=True),
            accounts={self.stage.account: (Grant(self.ca, "ops"),)},
            chain=Finality(authority_finality="latest", confirmations=1),
        )
        now = datetime.now(UTC)
        with open_state(folder) as state:
            store = DirectoryStore(self.directory / "store")
            opened = OpenedBundles(folder / "bundles", folder / "keys")
            seen = observe(
                self.endpoint, self.domain, config, self.keys, [store], state, opened, now
            )
            plan = decide(config, self.keys.address, seen, now)
        install(plan, config)


@contextmanager
def open_roles(softhsm: SoftHsmFolder, capsys: pytest.CaptureFixture[str]) -> Iterator[Roles]:
    """Deploy a domain, have its user CA made by the admin and registered by the governor."""
    with open_stage() as stage, Anvil(stage.directory) as anvil, Endpoint(anvil.url) as endpoint:
        (stage.directory / "etc").mkdir()
        (stage.directory / "agent").mkdir()
        main = stage.directory / "etc/sshd_config"
        main.write_text(f"Include {main.parent / '10-dpki.conf'}\nUsePAM no\nStrictModes no\n")
        dpki, token = runner(capsys), softhsm.token()
        store = StoreConfig(directories=(stage.directory / "store",))
        homes = []
        for name, account in (("governor", GOVERNOR), ("admin", STRANGER), ("operator", OPERATOR)):
            (stage.directory / name).mkdir()
            homes.append(make_admin_of(stage.directory / name, anvil, store, token, account))
        governor, admin, operator = homes
        admin.home.keystore.unlink()
        for one in (governor, operator):
            one.write(replace(one.config, token=TokenConfig()))
        apart = ("--operator", str(address_of(OPERATOR)), "--registrar", str(address_of(GOVERNOR)))
        model = ("--trust", "multi-admin", "--governor", str(address_of(GOVERNOR)), *apart)
        deployed = dpki("deploy", *model, *governor.option)
        assert deployed.status == 0, deployed.err
        assert len(deployed.document["next"]) == 3
        for one in (admin, operator):
            one.write(replace(one.config, domain=governor.config.require_domain()))
        domain = fetch_domain(endpoint, governor.config.require_domain())
        roles = Roles(
            stage,
            anvil,
            endpoint,
            softhsm,
            dpki,
            governor,
            admin,
            operator,
            domain,
            ca=AuthorityId.zero(),
        )
        request = stage.directory / "users.request"
        wallet = development_wallet(OPERATOR, chain_id=CHAIN_ID).address
        asked = ("--kind", "ssh-user", "--operator", str(wallet), "--max-validity", "1d")
        made = roles.ok(admin, "ca", "request", "users", *asked, "--out", request)
        roles.ok(governor, "ca", "register", request, "--name", "users")
        roles.ca = AuthorityId.parse(str(made["ca"]))
        roles.ok(operator, "ca", "name", "users", str(made["ca"]))
        _enroll(roles)
        yield roles


def _enroll(roles: Roles) -> None:
    wallet = development_wallet(GOVERNOR, chain_id=CHAIN_ID)
    document = make_key_document(roles.keys)
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    request = make_enrollment_request(
        roles.keys, roles.domain.id, roles.domain.devices, document, end
    )
    DomainWriter(roles.endpoint, roles.domain, wallet).enroll_device(
        roles.keys.address, document.digest, request.deadline, request.signature
    )


def add_watchdogs(roles: Roles, threshold: int = 2) -> list[Admin]:
    """Have three watchdogs watch the user CA; each confirms ops for nine hours at most."""
    homes, named = [], []
    for account in WATCHDOGS:
        home = roles.directory / f"watchdog-{account}"
        home.mkdir()
        one = roles.operator.copy(home / "home", lambda config: config)
        one.home.keystore.unlink()
        save_wallet(one.home, account)
        write_profile(one)
        named += ["--watchdog", str(roles.ok(one, "watchdog", "keys")["account"])]
        key = roles.ok(one, "watchdog", "keys")["sealing_key"]
        named[-1] += f":1:{key}"
        homes.append(one)
    roles.ok(roles.governor, "ca", "watch", "users", "--threshold", str(threshold), *named)
    return homes


def write_profile(admin: Admin, principal: str = "ops") -> None:
    """Give a home a profile of the user CA: this principal, for nine hours."""
    rule = PrincipalRule(allow=(principal,))
    profile = replace(Profile.user(timedelta(hours=9)), principals=rule)
    path = admin.home.profile("users")
    make_private_directory(path.parent)
    write_atomic(path, dump_profile(profile).encode())


def thief(roles: Roles, of: Admin, name: str) -> Admin:
    """Return a thief's copy of somebody's whole home."""
    (roles.directory / name).mkdir()
    return of.copy(roles.directory / name / "home", lambda config: config)


def with_wallet(admin: Admin, account: int) -> Admin:
    """Give a home that has none some account's wallet."""
    save_wallet(Home(admin.home.directory), account)
    return admin


def address_of(account: int) -> Address:
    """Return a development account's address."""
    return development_wallet(account, chain_id=CHAIN_ID).address
