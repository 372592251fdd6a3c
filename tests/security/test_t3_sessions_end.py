"""T3: what a revoked or expired certificate opened ends too, where that was asked for.

sshd checks a certificate at login and never again: a thief who is inside stays, and so does a
technician whose five minutes are over.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.agent import processes as module
from dpki.agent.login import leave_record
from dpki.agent.processes import Process, read_process
from dpki.certificates.keys import public_key_line
from dpki.certificates.profile import END_SESSIONS
from dpki.certificates.ssh import SshCertificate, ssh_line
from dpki.config.device import Ending
from dpki.config.following import Following
from scripts.stage import Client, Stage, open_stage
from tests.agents import Site, open_site
from tests.chain_world import ChainWorld, open_world
from tests.device import HOST, Device, open_device, private_key_file

MARK = (END_SESSIONS, "permit-pty")


@pytest.fixture
def device() -> Iterator[Device]:
    with open_device() as made:
        yield made


@pytest.fixture
def sessions(device: Device) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def enter(
    device: Device, sessions: ExitStack, *extensions: str, command: str = "cat"
) -> tuple[int, Session]:
    """Anchor a certificate and open a session with it; return its serial, and the session."""
    certificate, key = device.sign(extensions=extensions)
    device.anchor(certificate)
    device.update()
    session = Session(device.open_session(key, command))
    sessions.callback(session.close)
    assert session.answers("hello")
    return certificate.serial, session


class Session:
    """A session that echoes lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def answers(self, word: str) -> bool:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(f"{word}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return False
        return self.process.stdout.readline() == f"{word}\n"

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_a_revoked_certificates_session_ends_and_no_other(
    device: Device, sessions: ExitStack
) -> None:
    serial, granted = enter(device, sessions, *MARK)
    _, other = enter(device, sessions, *MARK)
    _, unmarked = enter(device, sessions, "permit-pty")
    assert device.update().ended == ()
    device.users.revoked.add(serial)
    (sentence,) = device.update().ended
    assert "counts no more" in sentence
    assert granted.process.wait(20) != 0
    assert other.answers("still")
    assert unmarked.answers("still")
    assert device.update().ended == ()


def test_a_certificate_that_was_anchored_again_ends_too(
    device: Device, sessions: ExitStack
) -> None:
    """The attack: who stole an operator's wallet anchors his certificate a second time, to stay."""
    serial, thief = enter(device, sessions, *MARK)
    device.known.append(replace(device.known[-1], serial=serial + 1))
    device.users.next_serial += 1
    device.users.revoked.add(serial)
    assert len(device.update().ended) == 1
    assert thief.process.wait(20) != 0


def test_a_session_that_was_opened_before_an_upgrade_ends_too(
    device: Device, sessions: ExitStack
) -> None:
    """Earlier login commands wrote a certificate's hash alone."""
    serial, granted = enter(device, sessions, *MARK)
    _, other = enter(device, sessions, *MARK)
    for record in (device.files / "sessions").iterdir():
        process, boot, moment, _, _, *rest = record.name.split("-")
        record.rename(record.with_name("-".join((process, boot, moment, *rest))))
    assert device.update().ended == ()
    device.users.revoked.add(serial)
    assert len(device.update().ended) == 1
    assert granted.process.wait(20) != 0
    assert other.answers("still")


def test_an_expired_certificates_session_ends(device: Device, sessions: ExitStack) -> None:
    _, granted = enter(device, sessions, *MARK)
    _, unmarked = enter(device, sessions, "permit-pty")
    device.now += timedelta(hours=2)
    assert len(device.update().ended) == 1
    assert granted.process.wait(20) != 0
    assert unmarked.answers("still")


def test_every_session_ends_where_the_device_says_so(device: Device, sessions: ExitStack) -> None:
    serial, unmarked = enter(device, sessions, "permit-pty")
    device.users.revoked.add(serial)
    assert device.update().ended == ()
    assert unmarked.answers("still")
    device.ending = Ending.ALL
    assert len(device.update().ended) == 1
    assert unmarked.process.wait(20) != 0


def test_a_session_ends_in_time_though_no_look_is_due(tmp_path: Path) -> None:
    """The attack: polls are an hour apart, and a guest's five minutes would last until the next."""
    hourly = Following(interval=timedelta(hours=1))
    with (
        open_world(tmp_path) as world,
        open_site(world, following=hourly) as site,
        open_stage() as stage,
    ):
        world.issue_host()
        agent = site.start()
        agent.wait_for("state", problems=())
        key = Ed25519PrivateKey.generate()
        now = datetime.now(UTC).replace(microsecond=0)
        certificate = world.users.sign(
            subject=key,
            valid_after=now - timedelta(minutes=5),
            valid_before=now + timedelta(seconds=15),
            extensions=MARK,
        )
        world.anchor_users(certificate)
        agent.wait_for("installed", changed="login.db")
        session = Session(enter_site(world, site, stage, key, certificate))
        try:
            assert session.answers("hello")
            (ended,) = agent.wait_for("sessions ended")["sessions"]
            assert str(certificate.hash) in ended
            assert session.process.wait(20) != 0
        finally:
            session.close()


def enter_site(
    world: ChainWorld,
    site: Site,
    stage: Stage,
    key: Ed25519PrivateKey,
    certificate: SshCertificate,
) -> subprocess.Popen[str]:
    """Open a session at a real sshd that goes by what the agent installed."""
    file = stage.directory / "guest"
    file.write_bytes(private_key_file(key))
    file.chmod(0o600)
    file.with_name("guest-cert.pub").write_text(f"{ssh_line(certificate)}\n")
    known = stage.directory / "known_hosts"
    known.write_text(f"@cert-authority {HOST} {public_key_line(world.hosts.blob)}\n")
    server = stage.start_sshd("device", [], include=site.config.sshd.drop_in)
    client = Client(file, file.with_name("guest-cert.pub"), known, None, HOST)
    return subprocess.Popen(
        stage.ssh_command(server, client, "cat"),
        env=stage.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def test_what_runs_on_behind_the_session_ends_with_it(device: Device, sessions: ExitStack) -> None:
    """Without a terminal, in a session and a process group of its own, deaf to hangups."""
    note = device.stage.directory / "left-behind"
    left = f"setsid sh -c 'trap \"\" HUP TERM; echo $$ > {note}; sleep 1000' > /dev/null & cat"
    serial, granted = enter(device, sessions, *MARK, command=left)
    until = time.monotonic() + 10
    while not (note.exists() and note.read_text().strip()) and time.monotonic() < until:
        assert granted.answers("wait")
    number = int(note.read_text())
    descriptor = os.pidfd_open(number)
    sessions.callback(os.close, descriptor)
    device.users.revoked.add(serial)
    device.update()
    assert granted.process.wait(20) != 0
    ended = select.poll()
    ended.register(descriptor, select.POLLIN)
    assert ended.poll(20_000)


# The first process of a world of its own: when it is killed, all are. It leaves no zombies.
_INIT = """
import os, pathlib, signal, subprocess, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
owner, forker, turns = sys.argv[1:]
if os.fork() == 0:
    os.execv(sys.executable, [sys.executable, "-c", owner, forker, turns])
signal.pause()
"""
_OWNER = """
import os, pathlib, subprocess, sys, time
pathlib.Path(sys.argv[2] + ".owner").write_text(os.readlink("/proc/self"))
if not pathlib.Path("/proc/self/uid_map").read_text().split()[2] == "1":
    # As pam_loginuid does: from now on all that is started has an audit session of its own.
    pathlib.Path("/proc/self/loginuid").write_text("65534")
listener = [sys.argv[1] + "-sshd/sshd", "-D", "[listener] 0 of 10-100 startups"]
subprocess.Popen(["sshd: " + listener[0], *listener[1:]], executable=listener[0])
subprocess.Popen(sys.argv[1:3])
time.sleep(1000)
"""


def test_who_forks_as_fast_as_he_is_killed_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sessions: ExitStack
) -> None:
    """Each of his processes ends after a moment, in a session and a group of its own.

    An sshd that was started by hand in that session goes on: else nobody could log in any more.
    """
    forker, turns = tmp_path / "forker", tmp_path / "turns"
    source = Path(__file__).parents[1] / "forker.c"
    subprocess.run(["cc", "-Wall", "-Werror", "-o", forker, source], check=True)
    turns.write_bytes(bytes(4))
    (tmp_path / "forker-sshd").mkdir()
    code = "int pause(void); int main(void) { return pause(); }"
    sshd = tmp_path / "forker-sshd/sshd"
    subprocess.run(["cc", "-x", "c", "-o", sshd, "-"], input=code, text=True, check=True)
    is_root = os.geteuid() == 0
    if not is_root:  # who can't make an audit session: another mark that nobody puts off

        def with_a_session(number: int) -> Process | None:
            found = read_process(number)
            with suppress(OSError):
                if found and str(turns).encode() in Path(f"/proc/{number}/environ").read_bytes():
                    return replace(found, session=7)
            return found

        monkeypatch.setattr(module, "read_process", with_a_session)
    world = ["unshare", *([] if is_root else ["-Ur"]), "--pid", "--fork", "--kill-child"]
    init = subprocess.Popen(
        [*world, sys.executable, "-c", _INIT, _OWNER, forker, turns],
        env={**os.environ, "TURNS": str(turns)},
    )
    sessions.callback(init.wait)
    sessions.callback(init.kill)

    def count() -> int:
        return int.from_bytes(turns.read_bytes(), sys.byteorder)

    until = time.monotonic() + 60
    while count() < 100 and time.monotonic() < until:
        time.sleep(0.01)
    owner = module.read_process(int((tmp_path / "turns.owner").read_text()))
    assert owner is not None
    assert module.end_session(owner) is True
    reached = count()
    assert reached >= 100
    (listener,) = (p for p in module._processes() if str(sshd) in p.title and p.name == "sshd")
    assert module.is_listener(listener)
    time.sleep(0.5)
    assert count() == reached


def test_who_could_not_be_caught_is_told(
    device: Device, sessions: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    serial, _ = enter(device, sessions, *MARK)
    device.users.revoked.add(serial)
    monkeypatch.setattr(module, "_kill_marked", lambda marks: False)
    assert "could not be killed" in str(device.update().ended)


def test_a_session_that_could_not_be_ended_does_not_begin(device: Device) -> None:
    certificate, key = device.sign(extensions=MARK)
    device.anchor(certificate)
    ordinary, other = device.sign()
    device.anchor(ordinary)
    device.update()
    assert device.login(key).status == 0
    folder = device.files / "sessions"
    shutil.rmtree(folder)
    folder.write_text("")  # no folder, and none can be made of it
    assert "Permission denied" in device.login(key).stderr
    # Nobody is locked out for the sake of a record that nobody asked for.
    assert device.login(other).status == 0


def test_a_forged_record_ends_neither_the_listener_nor_a_stranger(
    device: Device, sessions: ExitStack
) -> None:
    """Whoever is the login command's user writes what he likes."""
    _, good = enter(device, sessions, *MARK)
    assert device.server is not None
    stranger = subprocess.Popen(["sleep", "1000"])
    sessions.callback(stranger.wait)
    sessions.callback(stranger.kill)
    folder = device.files / "sessions"
    for number in (device.server.process.pid, stranger.pid, os.getpid(), 1):
        leave_record(str(folder), number, f"{'00' * 32}-1-{'00' * 32}", marked=True)
    for name in ("1-../../x", "x", "0-00000000-0-" + "00" * 32):
        with_no_slash = name.replace("/", "_")
        (folder / with_no_slash).touch()
    assert device.update().ended == ()
    assert stranger.poll() is None
    assert device.server.process.poll() is None
    assert good.answers("still")
    assert len(list(folder.iterdir())) <= 2  # the good session's own; sshd asks twice


def test_a_record_outlives_neither_its_process_nor_a_refusal(device: Device) -> None:
    anchored, key = device.sign(extensions=MARK)
    _, thief = device.sign(extensions=MARK)
    device.anchor(anchored)
    device.update()
    folder = device.files / "sessions"
    assert device.login(thief).status == 255
    assert list(folder.iterdir()) == []
    assert device.login(key).status == 0
    assert list(folder.iterdir())
    device.update()
    assert list(folder.iterdir()) == []


def test_the_folder_is_the_login_commands_alone(device: Device) -> None:
    folder = device.files / "sessions"
    device.update()
    folder.chmod(0o777)
    device.update()
    found = folder.stat()
    assert found.st_mode & 0o777 == 0o700
    assert Path(folder).owner() == device.config.sshd.login_user
