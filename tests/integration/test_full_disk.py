"""Every command that writes, on a disk that refuses at each of its changes in turn.

One message with the path and what to do, exit status 1, no litter; nothing is sent whose record can
not be written; and the next run, with room, finishes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dpki.chain.connect import connect
from dpki.chain.rpc import Endpoint
from dpki.chain.snapshot import fetch_snapshot
from dpki.config.admin import StoreConfig
from dpki.devnet.anvil import Anvil
from dpki.issuance import backup as backups
from dpki.issuance.batch import BatchState
from dpki.issuance.database import Database
from dpki.issuance.journal import Journal
from dpki.transactions import wallet
from dpki.verification.check import verify_certificate
from dpki.verification.verdict import Verdict
from tests.admins import MODULE, PASSPHRASE, Admin, Result, make_admin_of, runner
from tests.faults import leftovers, refusing, resting, walk
from tests.issuing_world import ok
from tests.small_disk import Disk, on_a_small_disk
from tests.soft_tokens import SoftHsmFolder, SoftToken

RUN = "from dpki.cli.app import main; main()"


@dataclass
class Site:
    """A home without a domain, whose bundles go to a folder beside it; all on one disk."""

    disk: Path
    anvil: Anvil
    admin: Admin
    token: SoftToken
    call: Callable[..., Result]

    @property
    def device(self) -> Path:
        return self.disk / "gate-1"

    def home(self, *words: str | Path) -> Result:
        return self.call(*words, *self.admin.option)

    def height(self) -> int:
        with Endpoint(self.anvil.url) as endpoint:
            return int(str(endpoint.call("eth_blockNumber")), 16)

    def refused(self, result: Result) -> str:
        """Return the message of a command that was refused as it should be."""
        error = result.document["error"]
        assert (result.status, error["exit_status"]) == (1, 1), result.err
        assert error["type"] != "Unexpected", result.err
        assert error["hint"], result.err
        assert str(self.disk) in error["message"]
        return str(error["message"])

    def squeezed(self, *words: str | Path, sends: bool = False) -> Result:
        """Run a command until the disk takes all its changes; return its last run's result.

        Args:
            sends: Whether it may have sent its transaction when it was refused: once, and each
                later run goes on.
        """
        before, times, last = self.height(), 0, None
        for refusal in walk(self.disk):
            last = self.call(*words)
            with resting():
                assert leftovers(self.disk) == [], refusal.changes
                if last.status != 0:
                    times += 1
                    self.refused(last)
                    assert self.height() - before <= int(sends), refusal.changes
        assert times > 2
        assert last is not None
        ok(last)
        return last


@pytest.fixture(scope="module")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with Anvil(tmp_path_factory.mktemp("logs")) as anvil:
        yield anvil


@pytest.fixture
def site(
    tmp_path: Path, anvil: Anvil, softhsm: SoftHsmFolder, capsys: pytest.CaptureFixture[str]
) -> Site:
    token = softhsm.token()
    disk = tmp_path / "disk"
    disk.mkdir()
    store = StoreConfig(directories=(disk / "store",))
    admin = make_admin_of(disk, anvil, store, token)
    return Site(disk, anvil, admin, token, runner(capsys))


def ready(site: Site) -> None:
    """Bring a site to where certificates can be issued."""
    ok(site.home("deploy"))
    ok(site.home("ca", "create", "users", "--kind", "ssh-user"))
    ok(site.home("ca", "create", "hosts", "--kind", "ssh-host"))
    ok(site.call(*init_device(site)))
    (site.disk / "sshd_config").write_text(f"Include {site.disk / '10-dpki.conf'}\nUsePAM no\n")
    ok(site.home("device", "enroll", site.device / "enroll.request", "--name", "gate-1"))


def init_device(site: Site) -> list[str | Path]:
    domain = str(site.admin.config.domain)
    return [
        *("device", "init", "--dir", site.device, "--domain", domain, "--rpc", site.anvil.url),
        *("--directory", site.disk / "store", "--console-access", "--reload", ""),
        *("--sshd-dir", site.disk / "sshd", "--sshd-config", site.disk / "sshd_config"),
        *("--drop-in", site.disk / "10-dpki.conf"),
    ]


def issue(site: Site) -> list[str]:
    words = ["ssh", "issue", "--ca", "hosts", "--device", "gate-1", "--hostname", "gate-1.example"]
    return [*words, *site.admin.option]


def verify_recorded(site: Site, *, is_settled: bool = False) -> None:
    """Check that every serial on chain stands in the journal, once."""
    config = site.admin.config
    domain_id = config.require_domain()
    with (
        connect(config.chain.rpc, domain_id) as (reader, domain),
        Database(site.admin.home.journal, domain_id) as database,
    ):
        following = {
            a.id: a.next_serial for a in fetch_snapshot(reader, domain).authorities.values()
        }
        batches = [b for b in Journal(database).load_all() if b.state is not BatchState.VOID]
    serials = [(b.authority, c.serial) for b in batches for c in b.certificates]
    anchored = {(ca, serial) for ca, end in following.items() for serial in range(1, end)}
    assert len(serials) == len(set(serials))
    assert anchored <= set(serials)
    if is_settled:
        assert anchored == set(serials)
        assert all(c.is_released for b in batches for c in b.certificates)


def test_init(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wallet, "SCRYPT_WORK", 16)
    secret = site.disk / "secrets" / "passphrase"
    home = site.disk / "another"
    made = site.squeezed(
        *("init", "--home", home, "--rpc", site.anvil.url, "--chain-id", "31337"),
        *("--module", MODULE, "--token", site.token.label, "--passphrase", f"file:{secret}"),
    ).document
    # The keystore that the first runs made is the one that the last took.
    assert made["account"] == ok(site.call("wallet", "show", "--home", home))["account"]


def test_a_domain_and_its_first_cas_and_device(site: Site) -> None:
    """Set up from nothing: each command refused at each change, and then done exactly once."""
    before, messages = site.height(), []
    for _ in walk(site.disk):
        result = site.home("deploy")
        with resting():
            messages.append(site.refused(result))
            if site.height() > before:
                break
    # The disk got full between the last check and the saving: the id is told, and where it goes.
    assert [("is deployed, but" in message) for message in messages] == [False, False, True]
    assert site.admin.config.domain is None
    line = result.document["error"]["hint"].partition("its second line: ")[2]
    text = site.admin.home.config.read_text()
    site.admin.home.config.write_text(text.replace("version = 1\n", f"version = 1\n{line}\n"))
    for name, kind in (("users", "ssh-user"), ("hosts", "ssh-host")):
        words = ("ca", "create", name, "--kind", kind, *site.admin.option)
        site.squeezed(*words, sends=True)
    site.squeezed(*init_device(site))
    request = site.device / "enroll.request"
    words = ("device", "enroll", request, "--name", "gate-1", *site.admin.option)
    site.squeezed(*words, sends=True)
    assert site.height() == before + 4
    config = site.admin.config
    with connect(config.chain.rpc, config.require_domain()) as (reader, domain):
        assert len(fetch_snapshot(reader, domain).authorities) == 2


def test_issuing_revoking_and_the_rest(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups, "_SCRYPT_WORK", 16)
    ready(site)
    for refusal in walk(site.disk):
        issued = site.call(*issue(site))
        with resting():
            assert leftovers(site.disk) == [], refusal.changes
            verify_recorded(site)
            if issued.status != 0:
                site.refused(issued)
    verify_recorded(site, is_settled=True)
    before = site.height()
    file = Path(ok(issued)["certificate"])
    config = site.admin.config

    def verdict() -> Verdict:
        found = verify_certificate(
            file.read_bytes(), domain_id=config.require_domain(), rpc=config.chain.rpc
        )
        return found.verdict

    assert verdict() is Verdict.VALID
    # What needs no record needs no room: whoever revokes may be in a hurry.
    with refusing(1, site.disk) as refusal:
        ok(site.home("ssh", "revoke", "--certificate", file))
        ok(site.home("ssh", "list"))
    assert refusal.changes == []
    assert site.height() == before + 1
    assert verdict() is Verdict.REVOKED

    backup = site.disk / "backup"
    secret = ("--passphrase", f"file:{site.disk / 'secrets' / 'passphrase'}")
    site.squeezed("backup", backup, *secret, *site.admin.option)
    site.squeezed("restore", backup, *secret, "--home", site.disk / "again")
    known = ("--out", site.disk / "known_hosts", "--krl", site.disk / "krl")
    domain = ("--domain", str(config.domain), "--rpc", site.anvil.url)
    site.squeezed("ssh", "known-hosts", *domain, *known)


def test_rotation_and_upkeep(site: Site) -> None:
    ready(site)
    ok(site.call(*issue(site)))
    site.squeezed("ca", "rotate", "users", "users-2", *site.admin.option, sends=True)
    request = site.disk / "update.request"
    site.squeezed("device", "rekey", "--dir", site.device, "--out", request)
    site.squeezed("device", "update", request, *site.admin.option, sends=True)
    site.squeezed("bundle", "repin", *site.admin.option)
    ok(site.home("ssh", "revoke", "--device", "gate-1"))
    site.squeezed("bundle", "gc", *site.admin.option)


def test_a_wallets_key_that_is_made_is_told_when_it_can_not_be_saved(site: Site) -> None:
    messages = []
    for _ in walk(site.disk):
        made = site.home("wallet", "create", "operator")
        messages.append(site.refused(made))
        if "is in the token" in messages[-1]:
            break
    assert len(messages) == 3
    uri = made.document["error"]["hint"].partition("dpki wallet use ")[2].strip("'")
    ok(site.home("wallet", "use", uri))


def test_the_agent_from_the_chain_to_sshd(site: Site) -> None:
    """Its database, its cache and what it installs; what was installed stays, whole."""
    ready(site)
    once = ("agent", "once", "--dir", site.device)
    site.call(*once)
    ok(site.call(*issue(site)))
    times = 0
    for refusal in walk(site.disk):
        done = site.call(*once)
        with resting():
            assert leftovers(site.disk) == [], refusal.changes
            assert (site.disk / "sshd" / "revoked.krl").read_bytes().startswith(b"SSHKRL\n\0")
            if done.status == 1:
                times += 1
                site.refused(done)
    assert times > 10
    with refusing(1, site.disk):
        ok(site.call("agent", "status", "--dir", site.device))
    report = ok(site.call(*once))
    assert (report["problems"], report["host_serial"]) == ([], 1)


def test_a_disk_that_can_not_keep_a_bundle_costs_no_certificate(site: Site) -> None:
    ready(site)
    ok(site.call(*issue(site)))
    (site.device / "bundles").write_text("in the folder's place")
    done = site.call("agent", "once", "--dir", site.device)
    assert (done.status, done.document["host_serial"]) == (5, 1)
    (problem,) = done.document["problems"]
    assert "its bundle is not kept" in problem


def test_really_full_and_really_read_only(site: Site) -> None:
    """A mounted file system with any few pages left; SQLite's own files are on it too."""
    ready(site)
    words = issue(site)

    def work(disk: Disk) -> None:
        disk.freeze()
        for command in (words, ["backup", str(site.disk / "b"), *site.admin.option]):
            site.refused(site.call(*command))
        disk.thaw()
        times, height = 0, site.height()
        for pages in range(0, 400, 3):
            disk.leave(pages)
            done = site.call(*words)
            assert leftovers(site.disk) == []
            disk.enlarge()
            verify_recorded(site)
            if done.status == 0:
                break
            times += 1
            site.refused(done)
        assert times > 2
        assert site.height() > height
        ok(site.call("ssh", "resume", *site.admin.option))
        verify_recorded(site, is_settled=True)

    on_a_small_disk(site.disk, work)


def test_a_full_standard_output(site: Site) -> None:
    """What was to be done is done, the words are lost, and the exit status says so."""
    command = [sys.executable, "-c", RUN, "deploy", *site.admin.option]
    before = site.height()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 1
        assert "could not write the result to standard output" in done.stderr
        assert "Exception ignored" not in done.stderr
        assert site.admin.config.domain is not None
        command = [sys.executable, "-c", RUN, "ca", "list", "--json", *site.admin.option]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, text=True, check=False)
        assert (done.returncode, json.loads(done.stdout)["authorities"]) == (0, [])
    assert site.height() == before + 1
    assert PASSPHRASE not in done.stdout
