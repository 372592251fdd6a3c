"""The command line and the agent on go-ethereum: what rests on Anvil's habits fails here."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from dpki.config.admin import StoreConfig
from dpki.config.following import Following
from dpki.verification.verdict import Verdict
from tests.admins import Admin, make_admin_of
from tests.agents import open_site
from tests.chain_world import world_on
from tests.geth import Geth
from tests.issuing_world import World, ok
from tests.soft_tokens import SoftHsmFolder


@pytest.fixture(scope="module")
def services(
    tmp_path_factory: pytest.TempPathFactory, softhsm: SoftHsmFolder, geth: Geth
) -> tuple[Geth, Admin]:
    """In Anvil's place, go-ethereum."""
    folder = tmp_path_factory.mktemp("geth-admin")
    store = StoreConfig(directories=(folder / "store",))
    return geth, make_admin_of(folder / "admin", geth, store, softhsm.token())


def test_from_deployment_to_revocation(world: World, tmp_path: Path) -> None:
    """The fixture has deployed, made two CAs and enrolled a device."""
    home = world.admin.option
    alice = Path(str(ok(world.dpki(*world.for_key("alice")))["certificate"]))
    assert world.verdict(alice) is Verdict.VALID
    host = ok(world.dpki(*world.for_device()))
    assert host["serial"] == 1

    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "sshd_config").write_text(f"Include {etc}/10-dpki.conf\nUsePAM no\n")
    folder = world.directory / "device"
    sshd = ("--sshd-dir", etc / "dpki", "--sshd-config", etc / "sshd_config")
    public = ("--domain", world.domain, "--rpc", world.anvil.url, "--console-access")
    bundles = ("--directory", world.admin.config.store.directories[0])
    own = ("--drop-in", etc / "10-dpki.conf", "--reload", "true")
    ok(world.dpki("device", "init", "--dir", folder, *public, *bundles, *sshd, *own))
    ok(world.dpki("device", "enroll", folder / "enroll.request", "--name", "gate-2", *home))
    named = ("--device", "gate-2", "--hostname", "gate-2.example")
    second = ok(world.dpki("ssh", "issue", "--ca", "hosts", *named, *home))
    seen = ok(world.dpki("agent", "once", "--dir", folder))
    assert seen["problems"] == []
    assert seen["host_serial"] == second["serial"]

    # The next of the keys that the device made, and the old one revoked.
    rotated = ("--device", "gate-2", "--ca", "hosts", "--revoke-old")
    third = ok(world.dpki("ssh", "rotate", *rotated, *home))
    assert ok(world.dpki("agent", "once", "--dir", folder))["host_serial"] == third["serial"]

    ok(world.dpki("ssh", "revoke", "--certificate", alice, *home))
    assert world.verdict(alice) is Verdict.REVOKED


def test_the_agent_follows_by_subscription(geth: Geth, tmp_path: Path) -> None:
    with world_on(geth.url, tmp_path) as world:
        world.anchor_users(world.sign_user())
        with open_site(world) as site:
            # Nothing comes of polling, nor of final blocks that are far behind.
            site.configure(
                following=Following(interval=timedelta(hours=1)), subscribe=(geth.websocket,)
            )
            agent = site.start()
            agent.wait_for("installed")
            agent.wait_for("state", problems=())
            world.anchor_users(world.sign_user())
            agent.wait_for("installed", changed="login.db")
            world.writer.revoke(world.users.id, [1])
            agent.wait_for("installed", changed="revoked.krl")
            assert site.krl.is_revoked(world.users.blob, 1)
            assert agent.end() == 0
