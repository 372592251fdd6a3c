"""Several devices at once: by pattern, fleet and label."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dpki.certificates.ssh import SshCertificate, parse_ssh_certificate
from dpki.cli import ssh_devices
from dpki.config.admin import StoreConfig
from dpki.config.device import load_device_config, save_device_config
from dpki.config.news import Acknowledge, News, parse_reader
from dpki.config.sshd import CommandHook, Mode
from dpki.devnet.anvil import Anvil
from dpki.model import AuthorityKind
from tests.admins import Admin, Result, make_admin_of, state_of
from tests.issuing_world import World, ok
from tests.soft_tokens import SoftHsmFolder


@pytest.fixture(scope="module")
def services(
    tmp_path_factory: pytest.TempPathFactory, softhsm: SoftHsmFolder
) -> Iterator[tuple[Anvil, Admin]]:
    folder = tmp_path_factory.mktemp("fleet")
    store = StoreConfig(directories=(folder / "store",))
    with Anvil(folder) as anvil:
        yield anvil, make_admin_of(folder / "admin", anvil, store, softhsm.token())


BOTH = ("--device", "gate-1", "--hostname", "gate-1.example", "--principal", "p")
FLEET = ("door-1", "door-2", "door-3")


@pytest.fixture
def fleet(world: World) -> World:
    """The world with three more devices, of which the third has never had a certificate."""
    if "door-1" not in listed(world):
        for name in FLEET:
            site = "hh" if name != "door-2" else "b"
            enroll(world, name, "--fleet", "doors", "--label", f"site={site}")
    return world


def enroll(world: World, name: str, *labels: str, prekeys: int = 16) -> None:
    folder = world.admin.home.directory.parent / name
    public = ("--domain", world.domain, "--rpc", world.anvil.url, "--console-access")
    ok(world.dpki("device", "init", "--dir", folder, "--prekeys", str(prekeys), *public))
    named = ("--name", name, *labels)
    ok(world.dpki("device", "enroll", folder / "enroll.request", *named, *world.admin.option))


def listed(world: World, *words: str) -> list[str]:
    document: Any = ok(world.dpki("device", "list", *words, *world.admin.option))
    return [device["name"] for device in document["devices"]]


def issue(world: World, *words: str) -> Result:
    hosts = ("--ca", "hosts", "--hostname", "{name}.example.org")
    return world.dpki("ssh", "issue", *hosts, *words, *world.admin.option)


def certificates(world: World, *words: str) -> dict[str, list[str]]:
    """Return the states of devices' certificates, oldest first."""
    document: Any = ok(world.dpki("ssh", "list", "--ca", "hosts", *words, *world.admin.option))
    found: dict[str, list[str]] = {}
    for one in document["certificates"]:
        found.setdefault(one["subject"], []).append(one["state"])
    return found


def test_a_fleet_from_enrolment_to_retirement(fleet: World) -> None:
    assert listed(fleet, "--fleet", "doors") == list(FLEET)
    assert listed(fleet, "--label", "site=hh", "--device", "door-*") == ["door-1", "door-3"]

    before = state_of(fleet.anvil, fleet.admin.home.directory)
    rehearsed: Any = ok(issue(fleet, "--label", "site=hh", "--dry-run"))
    assert [c["subject"] for c in rehearsed["certificates"]] == ["door-1", "door-3"]
    assert state_of(fleet.anvil, fleet.admin.home.directory) == before

    issued: Any = ok(issue(fleet, "--device", "door-1", "--device", "door-2"))["issued"]
    assert len({one["transaction"] for one in issued}) == 1
    for one, name in zip(issued, FLEET, strict=False):
        certificate = parse_ssh_certificate(Path(one["certificate"]).read_bytes())
        assert certificate.principals == (f"{name}.example.org",)

    # One of them has nothing to rotate: the others are served, and it is said.
    rotated = fleet.dpki(
        "ssh", "rotate", "--fleet", "doors", "--ca", "hosts", "--revoke-old", *fleet.admin.option
    )
    assert rotated.status == 1
    assert "2 certificates were issued, and 1 were not: door-3" in rotated.message
    assert certificates(fleet, "--fleet", "doors") == {
        "door-1": ["revoked", "anchored"],
        "door-2": ["revoked", "anchored"],
    }

    ok(fleet.dpki("ssh", "revoke", "--label", "site=b", *fleet.admin.option))
    assert certificates(fleet, "--device", "door-2") == {"door-2": ["revoked", "revoked"]}
    assert certificates(fleet, "--device", "door-1") == {"door-1": ["revoked", "anchored"]}

    relabelled = ("door-3", "--set", "fleet=old", "--remove", "site")
    ok(fleet.dpki("device", "label", *relabelled, *fleet.admin.option))
    ok(fleet.dpki("device", "rename", "door-3", "hatch", *fleet.admin.option))
    assert listed(fleet, "--fleet", "old") == ["hatch"]
    ok(fleet.dpki("device", "retire", "--fleet", "old", "--yes", *fleet.admin.option))
    document: Any = ok(fleet.dpki("device", "list", *fleet.admin.option))
    states = {device["name"]: device["state"] for device in document["devices"]}
    assert states == {
        "door-1": "active",
        "door-2": "active",
        "gate-1": "active",
        "hatch": "retired",
    }


def test_what_another_admin_issued_meanwhile_is_not_revoked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two who rotate at once would revoke each other's, and the device had none left."""
    enroll(world, "ramp", prekeys=4)
    ok(issue(world, "--device", "ramp"))
    other = world.directory / "other"
    shutil.copytree(world.admin.home.directory, other)
    rotate = ("ssh", "rotate", "--ca", "hosts", "--device", "ramp")

    def revoke(job: Any, *words: Any, real: Any = ssh_devices._Job._revoke) -> Any:
        ok(world.dpki(*rotate, "--home", other))
        return real(job, *words)

    monkeypatch.setattr(ssh_devices._Job, "_revoke", revoke)
    # Of two devices one has nothing to be rotated: that it is left out is not what this is about.
    two = ("--device", "bare", "--revoke-old")
    enroll(world, "bare")
    world.dpki(*rotate, *two, *world.admin.option)
    assert certificates(world, "--device", "ramp") == {"ramp": ["revoked", "anchored"]}
    theirs: Any = ok(world.dpki("ssh", "list", "--device", "ramp", "--home", other))
    assert [one["state"] for one in theirs["certificates"]] == ["revoked", "anchored"]


@pytest.mark.parametrize("more", [(), ("--device", "gate-1")])
def test_two_terminals_rotate_a_device(world: World, more: tuple[str, ...]) -> None:
    """Each gets a one-time key of its own: none is refused, and none is used twice."""
    name = f"pair-{len(more)}"
    enroll(world, name, prekeys=4)
    ok(issue(world, "--device", name, *more))
    world.run_twice(
        ["ssh", "rotate", "--device", name, *more, "--ca", "hosts", *world.admin.option]
    )
    assert certificates(world, "--device", name) == {name: ["anchored"] * 3}


def test_a_supply_that_runs_out(world: World) -> None:
    """It is said, costs nobody else anything, and the way on is the one that was said."""
    rotate = ("ssh", "rotate", "--ca", "hosts", *world.admin.option)
    for name, prekeys in (("lean", 1), ("rich", 4)):
        enroll(world, name, prekeys=prekeys)
        ok(issue(world, "--device", name))
    both = ("--device", "lean", "--device", "rich")
    ok(world.dpki(*rotate, *both))
    short = world.dpki(*rotate, *both)
    assert short.status == 1
    assert "1 certificates were issued, and 1 were not: lean" in short.message
    alone = world.dpki(*rotate, "--device", "lean")
    assert alone.status == 2
    assert "no key left that never had a certificate" in alone.message
    assert "--keygen admin" in alone.err
    ok(world.dpki(*rotate, "--device", "lean", "--keygen", "admin"))
    assert len(certificates(world, "--device", "lean")["lean"]) == 3


def test_certificates_for_the_devices_clients(fleet: World) -> None:
    """With a user CA: for each one's client key, and then for its next one."""
    two = ("--ca", "users", "--device", "door-1", "--device", "door-2")
    named = ("--principal", "telemetry", "--principal", "from-{name}")
    documents = {d.name: d.document for d in fleet.devices()}

    def issued(*words: str) -> list[SshCertificate]:
        document: Any = ok(fleet.dpki("ssh", *words, *two, *fleet.admin.option))
        files = [Path(one["certificate"]) for one in document["issued"]]
        return [parse_ssh_certificate(file.read_bytes()) for file in files]

    first, second = issued("issue", *named), issued("rotate")
    for old, new, name in zip(first, second, FLEET, strict=False):
        assert old.kind is new.kind is AuthorityKind.SSH_USER
        assert old.principals == new.principals == ("telemetry", f"from-{name}")
        assert old.subject_key == documents[name].ssh_user[-1]
        assert new.subject_key in {prekey.blob for prekey in documents[name].prekeys}
        assert old.valid_before - old.valid_after > timedelta(hours=8)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("ssh", "rotate", "--fleet", "ghosts", "--ca", "hosts"), "no device is meant by"),
        (("ssh", "revoke", "--device", "ghost-*"), "no device fits the pattern"),
        (("ssh", "list", "--label", "site=ghost"), "no device is meant by site=ghost"),
        (
            ("ssh", "issue", "--ca", "hosts", "--device", "gate-1", "--principal", "p"),
            "signs ssh-host certificates, and this asks for another kind",
        ),
        (
            ("ssh", "issue", "--ca", "users", "--device", "gate-1", "--hostname", "p.example"),
            "signs ssh-user certificates, and this asks for another kind",
        ),
        (
            ("ssh", "issue", "--ca", "users", *BOTH),
            "is it for the device's SSH server or for its SSH client",
        ),
        (("device", "list", "--device", "ghost"), "no device is named 'ghost'"),
        (("device", "label", "ghost", "--set", "a=b"), "no device is named 'ghost'"),
        (("device", "label", "--set", "a=b"), "which devices"),
        (("device", "label", "gate-1"), "which labels"),
        (("device", "label", "gate-1", "--set", "a"), "is no label"),
        (("device", "retire", "--fleet", "ghosts", "--yes"), "no device is meant by"),
        (("device", "retire", "--yes"), "which device"),
        (
            ("ssh", "issue", "--ca", "hosts", "--device", "*", "--hostname", "one.example"),
            "can't all be one.example",
        ),
        (
            (
                "ssh",
                "issue",
                "--ca",
                "hosts",
                "--device",
                "*",
                "--hostname",
                "{name}",
                "--out",
                "x",
            ),
            "go with one device",
        ),
    ],
)
def test_what_means_nobody_does_nothing(fleet: World, words: tuple[str, ...], message: str) -> None:
    before = state_of(fleet.anvil, fleet.admin.home.directory)
    result = fleet.dpki(*words, *fleet.admin.option)
    assert result.status == 2
    assert message in result.message
    assert state_of(fleet.anvil, fleet.admin.home.directory) == before


def test_how_far_a_certificate_has_come(world: World, tmp_path: Path) -> None:
    """Issued, fetched, installed, as its device says; fetched, where its sshd takes nothing."""
    etc, folder, admin = tmp_path / "etc", tmp_path / "device", world.admin.option
    etc.mkdir()
    (etc / "sshd_config").write_text(f"Include {etc}/10-dpki.conf\nUsePAM no\n")
    public = ("--domain", world.domain, "--rpc", world.anvil.url, "--console-access")
    sshd = ("--sshd-dir", etc / "dpki", "--sshd-config", etc / "sshd_config", "--reload", "true")
    bundles = ("--directory", world.admin.config.store.directories[0])
    own = ("--drop-in", etc / "10-dpki.conf", "--dir", folder)
    ok(world.dpki("device", "init", *own, *public, *bundles, *sshd))
    ok(world.dpki("device", "enroll", folder / "enroll.request", "--name", "far-1", *admin))
    config, key = load_device_config(folder), ok(world.dpki("device", "collect-key", *admin))["key"]
    news = News(Acknowledge(str(tmp_path / "outbox"), parse_reader(str(key))))
    save_device_config(folder, replace(config, news=news))

    def come() -> list[object]:
        """Return how far each has come, by what the device has said so far."""
        ok(world.dpki("device", "collect", tmp_path / "outbox", *admin))
        listed: Any = ok(world.dpki("ssh", "list", "--device", "far-1", *admin))
        return [one["device"] for one in listed["certificates"]]

    def sealing() -> object:
        """Return whether the device has shown that it has its sealing key."""
        listed: Any = ok(world.dpki("device", "list", "--device", "far-1", *admin))
        return listed["devices"][0]["sealing"]

    agent = ("agent", "once", "--dir", folder)
    named = ("--device", "far-1", "--hostname", "far-1.example")
    ok(world.dpki("ssh", "issue", "--ca", "hosts", *named, *admin))
    (tmp_path / "outbox").mkdir()
    assert (come(), sealing()) == (["issued"], "unproven")
    ok(world.dpki(*agent))
    assert (come(), sealing()) == (["installed"], "proven")
    ok(world.dpki("ssh", "rotate", "--device", "far-1", "--ca", "hosts", *admin))
    assert come() == ["installed", "issued"]
    settings = (etc / "sshd_config").read_text()
    (etc / "sshd_config").write_text(f"{settings}Nonsense yes\n")
    assert "sshd refuses" in str(world.dpki(*agent).document["error"])
    assert come() == ["installed", "fetched"]
    files = replace(config, news=news, sshd=replace(config.sshd, mode=Mode.FILES))
    save_device_config(folder, files)
    assert "sshd refuses" in str(world.dpki(*agent).document["error"])
    assert come() == ["installed", "fetched"]
    listed: Any = ok(world.dpki("device", "list", *admin))
    (mode,) = (d["acknowledged"]["mode"] for d in listed["devices"] if d["name"] == "far-1")
    assert mode == "strict", "what is in force, not what somebody wishes"
    save_device_config(folder, replace(config, news=news))
    (etc / "sshd_config").write_text(settings)
    ok(world.dpki(*agent))
    assert come() == ["installed", "installed"]
    # Written is not installed: who serves logins has not been told.
    deaf = replace(config.sshd, reload=CommandHook(("false",)))
    save_device_config(folder, replace(config, news=news, sshd=deaf))
    ok(world.dpki("ssh", "rotate", "--device", "far-1", "--ca", "hosts", *admin))
    assert "reload hook failed" in str(world.dpki(*agent).document["error"])
    assert come() == ["installed", "installed", "fetched"]
    save_device_config(folder, replace(config, news=news))
    ok(world.dpki(*agent))
    assert come() == ["installed", "installed", "installed"]


def test_on_chain_stands_no_name(fleet: World) -> None:
    """The attack: whoever reads the chain learns what an admin calls his doors."""
    ok(issue(fleet, "--device", "door-1"))
    number = int(str(fleet.rpc("eth_blockNumber")), 16)
    blocks: Any = [fleet.rpc("eth_getBlockByNumber", hex(n), True) for n in range(number + 1)]
    sent = [transaction["input"] for block in blocks for transaction in block["transactions"]]
    logs: Any = fleet.rpc("eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest"})
    told = "".join([*sent, *(log["data"] + "".join(log["topics"]) for log in logs)])
    (address,) = (one.address for one in fleet.devices() if one.name == "door-1")
    assert address.hex() in told
    for word in ("door-1", "doors", "site"):
        assert word.encode().hex() not in told, word
