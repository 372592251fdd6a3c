"""`dpki audit run` and `dpki watch` on a real chain: what people type, and what they get."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dpki.certificates.ssh import ssh_line
from tests.admins import runner
from tests.chain_world import ChainWorld, open_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChainWorld]:
    with open_world(tmp_path_factory.mktemp("world")) as opened:
        yield opened


@pytest.fixture
def where(world: ChainWorld) -> tuple[str, ...]:
    return ("--domain", str(world.domain.id), "--rpc", world.reader._url)  # type: ignore[attr-defined]


def test_an_audit_from_the_command_line(
    world: ChainWorld, where: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dpki = runner(capsys)
    good, orphan = world.sign_user(), world.sign_user(999)
    world.anchor_users(good)
    folder = tmp_path / "certificates"
    folder.mkdir()
    (folder / "good-cert.pub").write_text(ssh_line(good))
    index = tmp_path / "index.sqlite"
    options = (*where, "--to", "latest", "--index", index)
    done = dpki("audit", "run", *options, "--certificate", folder)
    assert done.status == 0, done.err
    assert done.document["certificates"] == 1
    assert done.document["final"] is False
    assert done.document["other_versions"] == []
    assert done.document["governor"] == str(world.writer.account)
    assert "nothing contradicts anything" in done.err
    # Again, from where it stood; and from the beginning.
    again = dpki("audit", "run", *options, "--restart")
    assert again.document["digest"] == done.document["digest"]
    # Signed by the CA's key, and never anchored.
    file = tmp_path / "orphan-cert.pub"
    file.write_text(ssh_line(orphan))
    found = dpki("audit", "run", *options, "--certificate", file)
    assert found.status == 3
    contradiction = found.document["contradiction"]
    assert isinstance(contradiction, dict)
    assert contradiction["found"] == "serial 999"
    assert contradiction["event"] == "certificate orphan-cert.pub"


def test_an_audit_of_endpoints_that_must_agree_is_proven(
    world: ChainWorld, where: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dpki = runner(capsys)
    world.anchor_users(world.sign_user())
    other = where[-1].replace("127.0.0.1", "localhost")
    options = (*where, "--to", "latest")
    trusted = dpki("audit", "run", *options, "--index", tmp_path / "trusted.sqlite")
    agreed = (*options, "--rpc", other, "--quorum", "2")
    proven = dpki("audit", "run", *agreed, "--index", tmp_path / "proven.sqlite")
    assert proven.status == 0, proven.err
    assert (trusted.document["evidence"]["level"], proven.document["evidence"]["level"]) == (
        "trusted",
        "proven",
    )
    assert proven.document["digest"] == trusted.document["digest"]


def test_what_makes_no_sense_is_a_usage_error(
    where: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dpki = runner(capsys)
    assert dpki("audit", "run", *where, "--to", "yesterday").status == 2
    assert dpki("audit", "run", *where, "--certificate", tmp_path).status == 2
    assert dpki("watch", *where, "--once", "--exec", "'").status == 2
    assert dpki("watch", *where, "--once", "--quiet-ca", "users").status == 2


def test_an_audit_killed_at_any_moment_goes_on(
    world: ChainWorld, where: tuple[str, ...], tmp_path: Path
) -> None:
    """SIGKILL, at the first chance and at later ones; then the same digest as of a fresh audit."""
    for _ in range(3):
        first = world.users.next_serial
        world.anchor_users(*[world.sign_user(first + i) for i in range(20)])
    program = str(Path(sys.executable).with_name("dpki"))
    command = [program, "audit", "run", *where, "--to", "latest", "--json"]

    def started(index: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*command, "--index", str(index)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def digest(index: Path) -> Any:
        out, err = started(index).communicate(timeout=120)
        assert out, err
        return json.loads(out)["digest"]

    killed = tmp_path / "killed.sqlite"
    process = started(killed)
    while not killed.exists():
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert digest(killed) == digest(tmp_path / "fresh.sqlite")


def test_a_watch_from_the_command_line(
    world: ChainWorld, where: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dpki = runner(capsys)
    state = ("--state", tmp_path / "watch.sqlite")
    said = tmp_path / "said"
    program = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + chr(10))"
    tell = ("--exec", f'{sys.executable} -c "{program}" {said}')
    options = (*where, *state, *tell, "--once", "--quiet-ca", str(world.users.id))
    assert lines(dpki("watch", *options)) == []
    world.anchor_users(world.sign_user())
    world.writer.suspend(world.hosts.id)
    world.writer.lift(world.hosts.id)
    found = lines(dpki("watch", *options))
    assert [one["kind"] for one in found] == ["unexpected-issue", "state", "state"]
    assert [json.loads(line) for line in said.read_text().splitlines()] == found
    assert lines(dpki("watch", *options)) == []


def lines(result: Any) -> list[dict[str, object]]:
    assert result.status == 0, result.err
    return [json.loads(line) for line in result.out.splitlines()]
