"""Real services for whatever issues."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dpki.devnet.anvil import Anvil
from dpki.devnet.kubo import Kubo
from tests.admins import Admin, make_admin, runner
from tests.issuing_world import World, ok
from tests.soft_tokens import SoftHsmFolder


@pytest.fixture(scope="module")
def services(
    tmp_path_factory: pytest.TempPathFactory,
    softhsm: SoftHsmFolder,
    kubo_nodes: tuple[Kubo, Kubo],
) -> Iterator[tuple[Anvil, Admin]]:
    with Anvil(tmp_path_factory.mktemp("logs")) as anvil:
        directory = tmp_path_factory.mktemp("admin")
        yield anvil, make_admin(directory, anvil, kubo_nodes, softhsm.token())


@pytest.fixture
def world(
    services: tuple[Anvil, Admin],
    softhsm: SoftHsmFolder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> World:
    anvil, admin = services
    world = World(tmp_path, anvil, admin, softhsm, runner(capsys))
    device = admin.home.directory.parent / "gate-1"
    if admin.config.domain is None:
        domain = str(ok(world.dpki("deploy", *admin.option))["domain"])
        users = ("users", "--kind", "ssh-user", "--max-validity", "1d")
        hosts = ("hosts", "--kind", "ssh-host", "--key-type", "ed25519")
        for ca in (users, hosts):
            ok(world.dpki("ca", "create", *ca, *admin.option))
        public = ("--domain", domain, "--rpc", anvil.url, "--console-access")
        ok(world.dpki("device", "init", "--dir", device, *public))
        request = device / "enroll.request"
        ok(world.dpki("device", "enroll", request, "--name", "gate-1", *admin.option))
    world.domain = str(admin.config.domain)
    return world
