"""`dpki device enroll --ssh`: real sshds on loopback, each a host of its own."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dpki.certificates.ssh import parse_ssh_certificate
from dpki.config.admin import StoreConfig
from dpki.devnet.anvil import Anvil
from scripts.stage import Sshd, Stage, dpki_command, open_stage
from tests.admins import Admin, Result, make_admin_of, state_of
from tests.issuing_world import World, ok
from tests.soft_tokens import SoftHsmFolder


@pytest.fixture(scope="module")
def services(
    tmp_path_factory: pytest.TempPathFactory, softhsm: SoftHsmFolder
) -> Iterator[tuple[Anvil, Admin]]:
    folder = tmp_path_factory.mktemp("hosts")
    store = StoreConfig(directories=(folder / "store",))
    with Anvil(folder) as anvil:
        yield anvil, make_admin_of(folder / "admin", anvil, store, softhsm.token())


@dataclass
class Hosts:
    """Hosts that an admin's key opens; each has a folder for everything that is its own."""

    stage: Stage
    world: World
    servers: dict[str, Sshd] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.key = self.stage.make_key(self.stage.directory / "admin-key")
        self.known = self.stage.directory / "known"
        self.known.touch()
        self.config = self.stage.directory / "ssh_config"
        self.config.touch()

    def folder(self, name: str) -> Path:
        return self.stage.directory / name

    def start(self, name: str, *, known: bool = True, **environment: str) -> None:
        """Start a host, with a home and an environment of its own."""
        folder = self.folder(name)
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "dpki").symlink_to(dpki_command())
        (folder / "sshd_config").write_text(f"Include {folder}/conf.d/*.conf\nUsePAM no\n")
        (folder / "conf.d").mkdir()
        host_key = self.stage.make_key(folder / "host-key")
        keys = [f"HostKey {host_key}", f"AuthorizedKeysFile {self.key}.pub"]
        values = {"HOME": str(folder), **environment}
        own = "SetEnv " + " ".join(f"{key}={value}" for key, value in values.items())
        server = self.stage.start_sshd(name, [own, *keys])
        self.servers[name] = server
        where = ["HostName 127.0.0.1", f"Port {server.port}", f"User {self.stage.account}"]
        mine = [f"IdentityFile {self.key}", f"UserKnownHostsFile {self.known}"]
        with self.config.open("a") as config:
            config.write("\n  ".join([f"Host {name}", *where, *mine, "IdentityAgent none"]) + "\n")
        if known:
            self.know(name, (host_key.with_name("host-key.pub")).read_text())

    def know(self, name: str, line: str) -> None:
        with self.known.open("a") as known:
            known.write(f"[127.0.0.1]:{self.servers[name].port} {line}")

    def enroll(self, *hosts: str, more: tuple[str, ...] = (), folder: str = "") -> Result:
        """Enrol hosts that share nothing, or (one host) with a folder of its own."""
        words = self.words(*hosts, more=more, folder=folder)
        return self.world.dpki(*words, *self.world.admin.option)

    def words(self, *hosts: str, more: tuple[str, ...] = (), folder: str = "") -> list[str]:
        """Return the command that enrols them."""
        place = self.folder(folder or hosts[0])
        options = {
            "sshd-config": place / "sshd_config",
            "sshd-dir": place / "sshd",
            "drop-in": place / "conf.d" / "10-dpki.conf",
            "reload": "none",
        }
        init = [w for key, value in options.items() for w in ("--init-option", f"{key}={value}")]
        words = ["device", "enroll", "--ssh", *hosts, "--ssh-config", str(self.config), *init]
        words += ["--dir", str(place / "dpki"), "--install-dir", str(place)]
        return [*words, "--no-service", "--console-access", *more]


@pytest.fixture
def hosts(world: World) -> Iterator[Hosts]:
    with open_stage() as stage:
        yield Hosts(stage, world)


HOSTED = ("--ca", "hosts", "--hostname", "{name}.example", "--fleet", "doors")


def test_from_nothing_to_a_device_with_a_certificate(hosts: Hosts, world: World) -> None:
    hosts.start("door-1")
    folder = hosts.folder("door-1")
    before = state_of(world.anvil, world.admin.home.directory, folder)
    store = world.admin.config.store.directories[0]
    more = (*HOSTED, "--init-option", f"directory={store}")
    rehearsed: Any = ok(hosts.enroll("door-1", more=(*more, "--dry-run")))
    assert rehearsed["hosts"][0]["would"][0] == "make its keys"
    assert state_of(world.anvil, world.admin.home.directory, folder) == before

    done: Any = ok(hosts.enroll("door-1", more=more))
    (device,) = done["devices"]
    listed: Any = ok(world.dpki("device", "list", "--fleet", "doors", *world.admin.option))
    assert [(d["name"], d["state"]) for d in listed["devices"]] == [("door-1", "active")]
    assert listed["devices"][0]["device"] == device["device"]
    certificate = parse_ssh_certificate(Path(done["issued"][0]["certificate"]).read_bytes())
    assert certificate.principals == ("door-1.example",)
    # The agent ran: sshd would show the certificate, and refuses what is not anchored.
    assert "HostCertificate" in (folder / "conf.d" / "10-dpki.conf").read_text()

    after = state_of(world.anvil, world.admin.home.directory)
    again: Any = ok(hosts.enroll("door-1", more=more))
    assert (again["devices"], again["issued"]) == ([device], [])
    assert state_of(world.anvil, world.admin.home.directory) == after


def test_a_host_key_that_is_unknown_or_another_is_never_accepted(
    hosts: Hosts, world: World
) -> None:
    hosts.start("stranger", known=False)
    hosts.start("impostor", known=False)
    hosts.know("impostor", hosts.key.with_name("admin-key.pub").read_text())
    known = hosts.known.read_bytes()
    before = state_of(world.anvil, world.admin.home.directory, hosts.folder("stranger"))
    for host in ("stranger", "impostor"):
        options = ("StrictHostKeyChecking=accept-new", "NoHostAuthenticationForLocalhost=yes")
        weaker = tuple(word for option in options for word in ("--ssh-option", option))
        result = hosts.enroll(host, more=weaker, folder="stranger")
        assert result.status == 1
        assert "Host key verification failed" in result.message
    after = state_of(world.anvil, world.admin.home.directory, hosts.folder("stranger"))
    assert (after, hosts.known.read_bytes()) == (before, known)


def shim(hosts: Hosts, name: str, **programs: str) -> str:
    """Return a PATH in which programs of these texts are found before the system's."""
    folder = hosts.folder(f"{name}-shims")
    folder.mkdir()
    for program, text in programs.items():
        path = folder / program.replace("_", ".")
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    return f"{folder}:/usr/bin:/bin:/usr/sbin:/sbin"


NO_PYTHON = {f"python3_{n}": "exit 127" for n in range(11, 15)} | {"python3": "exit 127"}


def test_what_is_missing_is_said_before_anything_is_changed(hosts: Hosts, world: World) -> None:
    hosts.start("bare", PATH=shim(hosts, "bare", **NO_PYTHON))
    (hosts.folder("bare") / "bin" / "dpki").unlink()
    hosts.start("old", PATH=shim(hosts, "old", sshd="echo OpenSSH_7.4p1"))
    (hosts.folder("bare") / "sshd_config").write_text("UsePAM no\n")
    before = state_of(world.anvil, world.admin.home.directory, hosts.folder("bare"))
    result = hosts.enroll("bare", "old")
    assert result.status == 1
    assert result.message.startswith("0 hosts are done, and 2 hosts failed: ")
    bare, old = result.message.split("old: ")
    assert "Python 3.11 or later is needed, and there is none" in bare
    assert "does not include" in bare
    assert "sshd is of OpenSSH 7.4, and 8.2 or later is needed" in old
    assert state_of(world.anvil, world.admin.home.directory, hosts.folder("bare")) == before


def test_a_host_that_fails_holds_no_other_up(hosts: Hosts, world: World) -> None:
    hosts.start("hatch")
    hosts.start("stranger", known=False)
    result = hosts.enroll("hatch", "stranger", "nowhere")
    assert result.status == 1
    assert result.message.startswith("1 hosts are done, and 2 hosts failed: ")
    listed: Any = ok(world.dpki("device", "list", "--device", "hatch", *world.admin.option))
    assert listed["devices"][0]["state"] == "active"


def test_hosts_that_are_one_device_are_no_devices(hosts: Hosts, world: World) -> None:
    """One was copied from the other, or one repeats what the other answered."""
    for name in ("twin-1", "twin-2"):
        hosts.start(name)
    before = world.devices()
    # The hosts share a folder, and so the keys in it.
    result = hosts.enroll("twin-1", "twin-2", more=("--jobs", "1"))
    assert result.status == 1
    assert result.message.startswith("0 hosts are done, and 2 hosts failed: ")
    assert "twin-1: it is the same device as another of the hosts" in result.message
    assert "twin-2: it is the same device as another of the hosts" in result.message
    assert world.devices() == before


def test_ctrl_c_leaves_the_other_hosts_alone(world: World, fake_ssh: Path, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    fake_ssh.write_text(f'#!/bin/sh\n[ "$1" = -G ] || {{ echo $$ >> {asked}; sleep 1; }}\n')
    words = ["device", "enroll", "--ssh", "gate-7", "gate-8", "gate-9", "--console-access"]
    words += ["--jobs", "1", *world.admin.option]
    with world.start(words) as terminal:
        until = time.monotonic() + 60
        while not asked.exists():
            assert time.monotonic() < until, "no host was ever asked"
            time.sleep(0.02)
        terminal.send_signal(signal.SIGINT)
        _, said = terminal.communicate(timeout=60)
    assert terminal.returncode == 130, said
    assert len(asked.read_text().splitlines()) == 1


def test_two_terminals_at_once(hosts: Hosts, world: World) -> None:
    """One host, one certificate."""
    hosts.start("window")
    store = f"directory={world.admin.config.store.directories[0]}"
    ok(hosts.enroll("window", more=("--init-option", store)))
    words = hosts.words("window", more=HOSTED)
    world.run_twice([*words, *world.admin.option])
    listed: Any = ok(world.dpki("ssh", "list", "--device", "window", *world.admin.option))
    assert len(listed["certificates"]) == 1


def test_it_is_installed_where_it_is_missing(hosts: Hosts, world: World) -> None:
    """The wheel of this very dpki; its libraries are lent, since no index is asked here."""
    import cryptography

    lent = Path(cryptography.__file__).parents[1]
    hosts.start("blank", PIP_NO_DEPS="1", PIP_NO_INDEX="1", PYTHONPATH=str(lent))
    program = hosts.folder("blank") / "bin" / "dpki"
    program.unlink()
    ok(hosts.enroll("blank"))
    assert program.read_text().startswith(f"#!{hosts.folder('blank')}/bin/python")
    installed = list(hosts.folder("blank").glob("lib/python3*/site-packages/dpki/errors.toml"))
    assert len(installed) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("root@-oProxyCommand=id",), "is no host"),
        (("a@gate", "b@gate"), "the same name"),
        (("gate", "--ca", "hosts"), "go together"),
        (("gate", "door", "--ca", "hosts", "--hostname", "one"), "can't answer to one name"),
        (("gate", "--ca", "ghosts", "--hostname", "{name}"), "no CA named 'ghosts'"),
        (("gate", "--init-option", "dir=/x"), "no such option"),
        (("gate", "--install-from", "-r/etc/passwd"), "nothing that pip could install"),
    ],
)
def test_bad_input_asks_no_host(world: World, words: tuple[str, ...], said: str) -> None:
    given = ("device", "enroll", "--ssh", *words, "--console-access", *world.admin.option)
    result = world.dpki(*given)
    assert (result.status, said in result.message) == (2, True), result.err
