"""`dpki device token`, `init --token`, `watch`: a device that asks by itself, on a real chain."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dpki.cli.device_token_work import watch_devices
from dpki.cli.output import Output
from dpki.config.admin import StoreConfig
from dpki.config.device import load_device_config
from dpki.devnet.anvil import Anvil
from tests.admins import Admin, Result, make_admin_of, state_of
from tests.brokers import Mosquitto
from tests.issuing_world import RUN, World, ok
from tests.soft_tokens import SoftHsmFolder
from tests.ssh_outbox import Host


@pytest.fixture(scope="module")
def services(
    tmp_path_factory: pytest.TempPathFactory, softhsm: SoftHsmFolder
) -> Iterator[tuple[Anvil, Admin]]:
    folder = tmp_path_factory.mktemp("asking")
    store = StoreConfig(directories=(folder / "store",))
    with Anvil(folder) as anvil:
        yield anvil, make_admin_of(folder / "admin", anvil, store, softhsm.token())


def given(world: World, name: str, *more: str) -> Path:
    """Return the file in which a device finds its token."""
    document = ok(world.dpki("device", "token", "--name", name, *more, *world.admin.option))
    path = world.directory / f"{name}.token"
    path.write_text(f"{document['token']}\n")
    path.chmod(0o600)
    return path


def init(world: World, name: str, token: Path, *more: str) -> Result:
    public = ("--rpc", world.anvil.url, "--console-access", "--prekeys", "0")
    asking = ("--token", f"file:{token}", "--to", world.directory / "stick")
    return world.dpki("device", "init", "--dir", world.directory / name, *public, *asking, *more)


def ask(world: World, name: str, token: Path) -> Result:
    words = ("--dir", world.directory / name, "--to", world.directory / "stick", "--wait", "2s")
    return world.dpki("device", "ask", "--token", f"file:{token}", *words)


def watch(world: World, *more: str) -> Result:
    stick = world.directory / "stick"
    return world.dpki("device", "watch", stick, "--once", *more, *world.admin.option)


def test_a_device_is_enrolled_and_nobody_typed(world: World) -> None:
    token = given(world, "auto-1", "--fleet", "autos", "--label", "site=hh")
    asked = ok(init(world, "auto-1", token))
    # The domain came with the token.
    assert str(load_device_config(world.directory / "auto-1").domain) == world.domain
    # Nobody watches yet: that is no "no".
    assert ask(world, "auto-1", token).status == 5

    before = state_of(world.anvil, world.admin.home.directory)
    rehearsed = ok(watch(world, "--dry-run"))
    assert rehearsed["gas"] > 50_000  # type: ignore[operator]
    assert state_of(world.anvil, world.admin.home.directory) == before

    done: Any = ok(watch(world))
    assert [one["device"] for one in done["enrolled"]] == [asked["device"]]
    answer = ok(ask(world, "auto-1", token))
    assert (answer["outcome"], answer["block"]) == ("enrolled", done["enrolled"][0]["block"])
    listed: Any = ok(world.dpki("device", "list", "--fleet", "autos", *world.admin.option))
    (device,) = listed["devices"]
    assert (device["name"], device["state"]) == ("auto-1", "active")
    assert device["labels"] == {"fleet": "autos", "site": "hh"}

    after = state_of(world.anvil)
    again: Any = ok(watch(world))
    assert (again["enrolled"], again["known"]) == ([], 1)
    assert state_of(world.anvil) == after
    # The token is nowhere but with the device: not in messages, not in the home.
    secret = token.read_text().strip()
    places = [*(world.directory / "stick").iterdir(), world.admin.home.journal]
    assert all(secret.encode()[40:] not in path.read_bytes() for path in places)


def test_a_stolen_token_is_said_loudly(world: World) -> None:
    token = given(world, "auto-2")
    ok(init(world, "thief", token))
    ok(watch(world))
    ok(init(world, "auto-2", token))
    refused = watch(world)
    assert refused.status == 3
    assert "USED ALREADY" in refused.document["refused"][0]["why"]
    told = ask(world, "auto-2", token)
    assert told.status == 3
    assert "used already, by another device" in told.message
    tokens: Any = ok(world.dpki("device", "tokens", *world.admin.option))
    (row,) = [one for one in tokens["tokens"] if one["name"] == "auto-2"]
    assert row["state"] == "used"


def test_a_cancelled_token(world: World) -> None:
    token = given(world, "auto-3")
    tokens: Any = ok(world.dpki("device", "tokens", *world.admin.option))
    (row,) = [one for one in tokens["tokens"] if one["name"] == "auto-3"]
    ok(world.dpki("device", "tokens", "--cancel", row["id"], *world.admin.option))
    ok(init(world, "auto-3", token))
    assert "cancelled" in watch(world).document["refused"][0]["why"]


class Ended(BaseException):
    """Somebody ends the watch."""


def test_a_device_that_waits_for_a_watch_that_goes_on(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    token, stick = given(world, "auto-5"), world.directory / "stick"
    public = ["--rpc", world.anvil.url, "--console-access", "--prekeys", "0", "--json"]
    asking = ["--token", f"file:{token}", "--to", str(stick), "--wait", "100s"]
    words = ["device", "init", "--dir", str(world.directory / "auto-5"), *public, *asking]
    capsys.readouterr()
    with subprocess.Popen(
        [sys.executable, "-c", RUN, *words], stdout=subprocess.PIPE, text=True
    ) as device:

        def sleep(seconds: float) -> None:
            try:
                device.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                return
            raise Ended

        home = world.admin.home.directory
        pause = timedelta(seconds=0.2)
        try:
            # At first there is no such folder: that is told, and tried again.
            with pytest.raises(Ended):
                watch_devices(
                    Output(json=True),
                    home,
                    str(stick),
                    None,
                    None,
                    pause=pause,
                    dry_run=False,
                    sleep=sleep,
                )
        finally:
            device.kill()
        assert device.stdout is not None
        said = json.loads(device.stdout.read())
    assert device.returncode == 0
    captured = capsys.readouterr()
    (event,) = [json.loads(line) for line in captured.out.splitlines()]
    assert (event["event"], event["device"]) == ("enrolled", said["device"])
    assert said["outcome"] == "enrolled"
    assert "it will be tried again" in captured.err


def test_through_a_broker(world: World, mosquitto: Mosquitto) -> None:
    broker = mosquitto.under("factory")
    home = world.directory / "registrar"
    registrar = world.admin.copy(home, lambda config: replace(config, broker=broker))
    token = world.directory / "token"
    given = ok(world.dpki("device", "token", *registrar.option))
    token.write_text(f"{given['token']}\n")
    token.chmod(0o600)
    assert broker.authority is not None
    through = ("--broker", str(broker.address), "--broker-user", broker.user)
    trusting = ("--broker-password", broker.password, "--broker-authority", broker.authority)
    public = ("--rpc", world.anvil.url, "--console-access", "--prekeys", "0")
    folder, source = world.directory / "auto-6", ("--token", f"file:{token}")
    words = ("device", "init", "--dir", folder, *public, *through, *trusting, *source)
    device = ok(world.dpki(*words))["device"]
    done: Any = ok(world.dpki("device", "watch", "--once", *registrar.option))
    assert [(one["device"], one["name"]) for one in done["enrolled"]] == [(device, given["name"])]
    # Asked again: by what device.toml says now.
    again = ok(world.dpki("device", "ask", "--dir", folder, *source, "--wait", "60s"))
    assert again["outcome"] == "enrolled"
    assert str(given["token"])[-60:] not in mosquitto.log.read_text()


def test_a_folder_on_the_device_that_is_watched_over_ssh(world: World, ssh_host: Host) -> None:
    """The device leaves its question in a folder of its own; only the admin connects."""
    token, box = given(world, "auto-7"), world.directory / "box"
    public = ("--rpc", world.anvil.url, "--console-access", "--prekeys", "0")
    source = ("--dir", world.directory / "auto-7", "--token", f"file:{token}", "--to", box)
    asked = ok(world.dpki("device", "init", *public, *source))
    watching = ("device", "watch", str(ssh_host.folder(box)), "--once", *world.admin.option)

    # Somebody else answers in the host's place: nothing is read there, and nobody is enrolled.
    before = state_of(world.anvil)
    refused = world.dpki(*watching, "--ssh-config", ssh_host.stranger)
    assert refused.status == 5
    assert "host key" in refused.err + refused.out
    assert state_of(world.anvil) == before

    done: Any = ok(world.dpki(*watching, "--ssh-config", ssh_host.config))
    assert [one["device"] for one in done["enrolled"]] == [asked["device"]]
    answer = ok(world.dpki("device", "ask", *source, "--wait", "2s"))
    assert answer["outcome"] == "enrolled"
    again: Any = ok(world.dpki(*watching, "--ssh-config", ssh_host.config))
    assert (again["enrolled"], again["known"]) == ([], 1)


def test_mistakes(world: World, tmp_path: Path) -> None:
    option = world.admin.option
    token = given(world, "auto-4")
    assert world.dpki("device", "token", "--name", "auto-4", *option).status == 2
    assert world.dpki("device", "token", "--name", "gate-1", *option).status == 2
    assert (
        world.dpki("device", "tokens", "--cancel", token.read_text().strip(), *option).status == 2
    )
    assert world.dpki("device", "watch", "--dry-run", *option).status == 2
    assert world.dpki("device", "watch", "--once", *option).status == 2
    foreign = world.domain.replace("31337", "31338")
    other = init(world, "auto-4", token, "--domain", foreign)
    assert other.status == 2
    assert "the one in --domain" in other.message
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("dpki-token:hunter2\n")
    rubbish.chmod(0o600)
    refused = init(world, "auto-4", rubbish)
    assert refused.status == 2
    assert "hunter2" not in refused.err + refused.out
    assert not (tmp_path / "auto-4").exists()
