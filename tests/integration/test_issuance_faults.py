"""Issuing by real processes that are killed, interrupted, or not alone in a home."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from dpki.devnet.kubo import Kubo
from dpki.model import Hash32
from dpki.store.kubo import KuboStore
from dpki.verification.verdict import Verdict
from tests.issuing_world import RUN, World, ok, resumed, verify_serials


def test_killed_at_every_commit_of_the_journal(world: World) -> None:
    """Before it and after it; the next run finishes, whatever was left."""
    for point in count(1):
        done = world.hit(signal.SIGKILL, "commit", point, world.for_device())
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        for released in resumed(world):
            assert world.verdict(Path(str(released["certificate"]))) is Verdict.VALID
        verify_serials(world)
    # Add, seal, place, publish, anchor: before and after; release, a single change.
    assert point == 12


def test_ctrl_c_at_every_step(world: World) -> None:
    """Exit status 130, words about what is left, and the next run finishes it."""
    for point in count(1):
        before = world.states("hosts")
        done = world.hit(signal.SIGINT, "step", point, [*world.for_device(), "--json"])
        if done.returncode == 0:
            break
        assert done.returncode == 130, done.stderr
        error = json.loads(done.stdout)["error"]
        assert (error["type"], error["exit_status"]) == ("Interrupted", 130)
        assert "dpki ssh resume" in error["hint"]
        assert "Traceback" not in done.stderr
        left = world.states("hosts")[len(before) :]
        assert len(resumed(world)) == len(left)
        verify_serials(world)
    assert point == 11


@pytest.mark.parametrize("point", [3, 4])
def test_ctrl_c_with_the_only_copy_of_a_private_key(world: World, point: int) -> None:
    done = world.hit(signal.SIGINT, "step", point, world.for_device("admin"))
    assert done.returncode == 130, done.stderr
    assert world.states("hosts")[-1][1] == "issued"
    (released,) = resumed(world)
    assert world.states("hosts")[-2:] == [
        (released["serial"], "void"),
        (released["serial"], "anchored"),
    ]
    verify_serials(world)


def test_several_terminals_at_once(world: World) -> None:
    """People and devices, two CAs, one wallet, one token, one home; somebody revokes meanwhile."""
    old = str(ok(world.dpki(*world.for_key("old")))["certificate"])
    wishes = [world.for_key(f"person-{i}") for i in range(3)]
    wishes += [world.for_device(), world.for_device("admin")]
    wishes += [["ssh", "revoke", "--certificate", old, *world.admin.option]]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, *words, "--json"],
            env=world.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for words in wishes
    ]
    ended = [process.communicate() for process in processes]
    for process, (_, complaint) in zip(processes, ended, strict=True):
        assert process.returncode == 0, complaint
    issued = [json.loads(printed) for printed, _ in ended[:-1]]
    assert len({(one["ca"], one["serial"]) for one in issued}) == len(issued)
    for one in issued[:3]:
        assert world.verdict(Path(one["certificate"])) is Verdict.VALID
    assert world.verdict(Path(old)) is Verdict.REVOKED
    verify_serials(world)


@pytest.mark.parametrize(
    ("words", "limits"),
    [("issue", (0, 600, 5_000)), ("backup", (0, 5_000)), ("resume", (0, 600))],
)
def test_a_disk_that_is_full_at_one_write_or_another(
    world: World, tmp_path: Path, words: str, limits: tuple[int, ...]
) -> None:
    """One message, exit status 1, no traceback, nothing half done; and the next run goes on."""
    secret = tmp_path / "backup-passphrase"
    secret.touch(0o600)
    secret.write_text("of the backup alone\n")
    backup = ["backup", str(tmp_path / "b"), "--passphrase", f"file:{secret}"]
    refused = 0
    for limit in limits:
        command = {
            "issue": world.for_key(f"full-{limit}"),
            "backup": [*backup, *world.admin.option],
            "resume": ["ssh", "resume", *world.admin.option],
        }[words]
        if words == "resume":
            world.die(6, world.for_key(f"left-{limit}"))
        before = {path for path in tmp_path.iterdir() if not path.name.endswith(".pub")}
        done = world.squeeze(limit, [*command, "--json"])
        if done.returncode != 0:
            refused += 1
            assert done.returncode == 1, done.stderr
            error = json.loads(done.stdout)["error"]
            assert error["type"] != "Unexpected", done.stderr
            assert error["hint"]
            assert {p for p in tmp_path.iterdir() if not p.name.endswith(".pub")} == before
        elif words == "backup":
            (tmp_path / "b").unlink()
        resumed(world)
        verify_serials(world)
    assert refused >= 2


def test_bundles_on_real_nodes(world: World, kubo_nodes: tuple[Kubo, Kubo]) -> None:
    """Lost by a node and repinned; out of reach and retried; revoked and collected."""
    api = [node.addresses.api_multiaddr for node in kubo_nodes]
    stores = [KuboStore(address) for address in api]
    option = world.admin.option

    def configure(*addresses: str) -> None:
        config = world.admin.config
        world.admin.write(replace(config, store=replace(config.store, ipfs=addresses)))

    issued = ok(world.dpki(*world.for_device()))
    try:
        configure(*api)
        listed = ok(world.dpki("bundle", "list", *option))["bundles"]
        assert isinstance(listed, list)
        (mine,) = (b for b in listed if (b["ca"], b["serial"]) == ("hosts", issued["serial"]))
        assert (mine["state"], mine["kept"], mine["pending"]) == ("anchored", [stores[0].name], [])
        digest = digest_of_cid(mine["cid"])
        stores[0].remove(digest)
        ok(world.dpki("bundle", "repin", *option))
        assert all(store.has(digest) for store in stores)

        nobody = "/ip4/127.0.0.1/tcp/9"
        configure(api[0], nobody)
        failed = world.dpki("bundle", "repin", *option)
        assert failed.status == 1
        assert "nobody answers there" in failed.message
        again = world.dpki("bundle", "retry", *option)
        assert (again.status, again.document["error"]["type"]) == (1, "StoreFailed")
        configure(*api)
        assert ok(world.dpki("bundle", "retry", *option)) == {"put": []}  # no longer a place

        ok(world.dpki("ssh", "revoke", "--device", "gate-1", *option))
        would = ok(world.dpki("bundle", "gc", "--dry-run", *option))["removed"]
        assert all(store.has(digest) for store in stores)
        assert ok(world.dpki("bundle", "gc", *option))["removed"] == would
        assert not any(store.has(digest) for store in stores)
        assert ok(world.dpki("bundle", "gc", *option))["removed"] == []
    finally:
        configure(api[0])
        for store in stores:
            store.close()


def test_an_old_backup_is_safe_to_go_on_with(world: World, tmp_path: Path) -> None:
    """Made in the middle of an issue, restored after the original went on: no serial twice.

    The unfinished batch of the backup was anchored by the original: the same bytes, so it is found
    and handed out. What came later is another writer's. What the original never released stays so.
    """
    secret = tmp_path / "backup-passphrase"
    secret.touch(0o600)
    secret.write_text("of the backup alone\n")
    passphrase = ("--passphrase", f"file:{secret}")
    world.die(6, world.for_key("early"))  # published, not anchored
    before = world.states("users")
    file = tmp_path / "old.backup"
    ok(world.dpki("backup", file, *passphrase, *world.admin.option[:2]))
    (early,) = resumed(world)
    late = ok(world.dpki(*world.for_key("late")))

    refused = world.dpki("restore", file, *passphrase, *world.admin.option[:2])
    assert (refused.status, refused.document["error"]["type"]) == (2, "ConfigError")
    other = ("--home", str(tmp_path / "restored"))
    ok(world.dpki("restore", file, *passphrase, *other))
    listed = ok(world.dpki("ssh", "list", "--ca", "users", *other))
    states = {one["serial"]: one["state"] for one in listed["certificates"]}  # type: ignore[attr-defined]
    # Anchored, says the chain; this home has yet to hand it out.
    assert states[early["serial"]] == "anchored"
    assert listed["foreign"] == [
        {"ca": "users", "first_serial": late["serial"], "last_serial": late["serial"]}
    ]
    (again,) = ok(world.dpki("ssh", "resume", *other))["released"]  # type: ignore[misc]
    assert again["certificate_hash"] == early["certificate_hash"]
    words = world.for_key("new")
    words[words.index("--home") + 1] = other[1]
    new = ok(world.dpki(*words))
    assert int(str(new["serial"])) == int(str(late["serial"])) + 1
    for document in (early, late, new):
        assert world.verdict(Path(str(document["certificate"]))) is Verdict.VALID
    # The original, in turn, goes on beside it.
    assert len(world.states("users")) == len(before) + 1
    later = ok(world.dpki(*world.for_key("later")))
    assert int(str(later["serial"])) == int(str(new["serial"])) + 1


def digest_of_cid(cid: str) -> Hash32:
    """Return the SHA-256 in a CIDv1 of a raw block."""
    text = cid[1:].upper()
    return Hash32(base64.b32decode(text + "=" * (-len(text) % 8))[4:])
