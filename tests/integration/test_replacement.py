"""`dpki device replace`: a new device in the place of an old one, also when it is interrupted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dpki.certificates.ssh import parse_ssh_certificate
from dpki.config.admin import StoreConfig
from dpki.devices.document import parse_key_document
from dpki.devices.enrollment import parse_request
from dpki.devnet.anvil import Anvil
from dpki.issuance.chain import LiveChain
from dpki.issuance.index import Index
from dpki.issuance.journal import Journal
from dpki.issuance.replacements import Replacements
from dpki.transactions.writer import DomainWriter
from tests.admins import Admin, Result, make_admin_of, state_of
from tests.issuing_world import World, ok
from tests.soft_tokens import SoftHsmFolder

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def services(
    tmp_path_factory: pytest.TempPathFactory, softhsm: SoftHsmFolder
) -> Iterator[tuple[Anvil, Admin]]:
    folder = tmp_path_factory.mktemp("replacing")
    store = StoreConfig(directories=(folder / "store",))
    with Anvil(folder) as anvil:
        yield anvil, make_admin_of(folder / "admin", anvil, store, softhsm.token())


def born(world: World) -> Path:
    """Return the request of a device that was just made."""
    folder = world.directory / f"device-{next(_numbers)}"
    public = ("--domain", world.domain, "--rpc", world.anvil.url, "--console-access")
    ok(world.dpki("device", "init", "--dir", folder, "--prekeys", "0", *public))
    return folder / "enroll.request"


def enrolled(world: World) -> str:
    """Return the name of a device in a fleet, with certificates for two sets of host names."""
    name = f"door-{next(_numbers)}"
    labels = ("--fleet", "doors", "--label", "site=hh")
    option = world.admin.option
    ok(world.dpki("device", "enroll", born(world), "--name", name, *labels, *option))
    issue(world, name, f"{name}.example")
    issue(world, name, f"{name}.example", f"{name}.lan")
    return name


def issue(world: World, name: str, *hostnames: str) -> None:
    words = ("ssh", "issue", "--ca", "hosts", "--device", name)
    names = [word for hostname in hostnames for word in ("--hostname", hostname)]
    ok(world.dpki(*words, *names, *world.admin.option))


def replace(world: World, name: str, request: Path, *more: str) -> Result:
    return world.dpki("device", "replace", name, request, *more, *world.admin.option)


def standing(world: World) -> dict[str, dict[str, Any]]:
    document: Any = ok(world.dpki("device", "list", *world.admin.option))
    return {device["name"]: device for device in document["devices"]}


def living(world: World, address: str) -> list[tuple[str, ...]]:
    """Return the principals of a device's certificates that are anchored, in order."""
    with world.desk() as (desk, _):
        batches = desk.journal.load_all(desk.index.find_authority("hosts"))
        return [
            c.certificate.principals
            for batch in batches
            if batch.state.value == "anchored"
            for c in batch.certificates
            if str(c.device) == address
        ]


def verify_replaced(world: World, name: str, old: str, request: Path, number: int = 1) -> None:
    new = str(parse_request(request.read_bytes()).device)
    devices = standing(world)
    assert (devices[name]["device"], devices[name]["state"]) == (new, "active")
    assert devices[name]["labels"] == {"fleet": "doors", "site": "hh"}
    retired = devices[f"retired-{number}.{name}"]
    assert (retired["device"], retired["state"], retired["labels"]) == (old, "retired", {})
    assert sorted(living(world, new)) == [
        (f"{name}.example",),
        (f"{name}.example", f"{name}.lan"),
    ]


def test_a_new_device_gets_name_labels_and_host_names(world: World) -> None:
    name, request = enrolled(world), born(world)
    old = standing(world)[name]["device"]
    before = state_of(world.anvil, world.admin.home.directory)
    rehearsed = ok(replace(world, name, request, "--dry-run"))
    assert len(rehearsed["certificates"]) == 2  # type: ignore[arg-type]
    assert rehearsed["gas"] > 100_000  # type: ignore[operator]
    assert state_of(world.anvil, world.admin.home.directory) == before

    done: Any = ok(replace(world, name, request, "--yes"))
    verify_replaced(world, name, old, request)
    key = parse_key_document(parse_request(request.read_bytes()).document).ssh_host[-1]
    for one in done["issued"]:
        # A certificate is not moved: the new device's own key, a serial of its own.
        certificate = parse_ssh_certificate(Path(one["certificate"]).read_bytes())
        assert certificate.subject_key == key

    # ssh clients know revoked serials, and not retired devices.
    listed: Any = ok(world.dpki("ssh", "list", "--ca", "hosts", *world.admin.option))
    states = [c["state"] for c in listed["certificates"] if c["subject"] == name]
    assert states == ["revoked", "revoked", "anchored", "anchored"]
    after = state_of(world.anvil, world.admin.home.directory)
    assert ok(replace(world, name, request, "--yes"))["issued"] == []
    assert state_of(world.anvil, world.admin.home.directory) == after


def test_what_was_revoked_before_is_not_given_again(world: World) -> None:
    name, request = enrolled(world), born(world)
    ok(world.dpki("ssh", "revoke", "--device", name, *world.admin.option))
    assert ok(replace(world, name, request, "--yes"))["issued"] == []


class Killed(BaseException):
    """The process ends here: nothing of it runs any more."""


STEPS = (
    (Replacements, "begin"),
    (DomainWriter, "retire_device"),
    (Index, "rename_device"),
    (DomainWriter, "enroll_device"),
    (Index, "add_device"),
    (Index, "label_devices"),
    (Journal, "add"),
    (LiveChain, "issue"),
    (Journal, "mark_released"),
    (DomainWriter, "revoke"),
    (Replacements, "finish"),
)
"""What is done, in this order."""


def dying(deed: Callable[..., Any]) -> Callable[..., Any]:
    """Return what does it, and then nothing more is done."""

    def die(*given: Any, **named: Any) -> None:
        deed(*given, **named)
        raise Killed

    return die


def test_killed_after_each_step(world: World) -> None:
    """The same command goes on; whoever comes last has it all, and nobody has anything twice."""
    name = enrolled(world)
    for number, (owner, step) in enumerate(STEPS, start=1):
        old, request = standing(world)[name]["device"], born(world)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, step, dying(getattr(owner, step)))
            with pytest.raises(Killed):
                replace(world, name, request, "--yes")
        ok(replace(world, name, request, "--yes"))
        verify_replaced(world, name, old, request, number)


@pytest.mark.parametrize("step", [(DomainWriter, "retire_device"), (Index, "label_devices")])
def test_two_terminals_at_once(world: World, step: tuple[Any, str]) -> None:
    """Whoever comes second finds it done; neither takes the name away, or issues twice."""
    name, request = enrolled(world), born(world)
    old = standing(world)[name]["device"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*step, dying(getattr(*step)))
        with pytest.raises(Killed):
            replace(world, name, request, "--yes")
    world.run_twice(["device", "replace", name, str(request), "--yes", *world.admin.option])
    verify_replaced(world, name, old, request)


def test_really_killed_while_it_anchors(world: World) -> None:
    name, request = enrolled(world), born(world)
    old = standing(world)[name]["device"]
    world.die(8, ["device", "replace", name, str(request), "--yes", *world.admin.option])
    ok(replace(world, name, request))
    verify_replaced(world, name, old, request)


def test_a_device_that_breaks_before_it_has_got_everything(world: World) -> None:
    """What it was owed goes to the one that takes its place."""
    name, first, second = enrolled(world), born(world), born(world)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Index, "label_devices", dying(Index.label_devices))
        with pytest.raises(Killed):
            replace(world, name, first, "--yes")
    old = standing(world)[name]["device"]
    ok(replace(world, name, second, "--yes"))
    verify_replaced(world, name, old, second, 2)


def test_refused_before_anything_is_done(world: World) -> None:
    name, request = enrolled(world), born(world)
    own = world.admin.home.directory.parent / "gate-1" / "enroll.request"
    altered = world.directory / "altered.request"
    content = bytearray(request.read_bytes())
    content[-40] ^= 1  # in the signature
    altered.write_bytes(content)
    before = state_of(world.anvil, world.admin.home.directory)
    for status, message, words in (
        (2, "is for ever", (name, request)),
        (2, "no device named 'ghost'", ("ghost", request, "--yes")),
        (2, "the request is of gate-1 itself", ("gate-1", own, "--yes")),
        (2, "already stands for device", (name, own, "--yes")),
        (3, "is not signed by device", (name, altered, "--yes")),
    ):
        result = replace(world, *words)  # type: ignore[arg-type]
        assert (result.status, message in result.message) == (status, True), result.err
        assert state_of(world.anvil, world.admin.home.directory) == before


def test_a_ca_that_ended_is_told_and_holds_nothing_up(world: World) -> None:
    name, request = enrolled(world), born(world)
    old = standing(world)[name]["device"]
    ok(world.dpki("ca", "suspend", "hosts", *world.admin.option))
    result = replace(world, name, request, "--yes")
    assert result.status == 1
    assert "a certificate was not issued again by hosts" in result.message
    assert standing(world)[f"retired-1.{name}"]["device"] == old
    ok(world.dpki("ca", "lift", "hosts", *world.admin.option))
    ok(replace(world, name, request))
    verify_replaced(world, name, old, request)
