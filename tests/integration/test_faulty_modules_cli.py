"""The command line, and a PKCS#11 module or token that fails under it: real processes throughout.

The message, the exit status, the journal and the chain; and that the next run goes on, with no
serial lost and none used twice.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.keys import ssh_blob
from dpki.chain.snapshot import fetch_snapshot
from dpki.cli.issuing import make_bench
from dpki.cli.output import Output
from dpki.issuance.batch import BatchState
from dpki.issuance.plan import CertificateRequest
from dpki.issuance.progress import Step
from dpki.issuance.workflow import issue_batch
from dpki.signer import pkcs11_module
from dpki.verification.verdict import Verdict
from tests.admins import state_of
from tests.faulty_modules import (
    DEVICE_REMOVED,
    FAULT,
    LOG,
    MECHANISM_INVALID,
    PIN_LOCKED,
    TOKEN_NOT_PRESENT,
    is_running,
    wait_until,
    workers,
)
from tests.issuing_world import RUN, World, ok, resumed

IMPATIENT = "from dpki.signer import pkcs11_module; pkcs11_module.ANSWER_SECONDS = 1.0; " + RUN
"""The same, and a module that hangs is found to sooner."""


@pytest.fixture
def faulty(world: World, faulty_module: Path) -> Iterator[World]:
    """The world, its token reached through the faulty module."""
    config = world.admin.config
    world.admin.write(replace(config, token=replace(config.token, module=faulty_module)))
    yield world
    world.admin.write(config)


@pytest.fixture(autouse=True)
def no_process_stays() -> Iterator[None]:
    """However a command ends, no module's process of ours is left."""
    yield
    assert not workers()


class Stopped(Exception):
    pass


def owe(world: World, count: int) -> None:
    """Leave a signed batch behind, whose serials somebody else then takes: it is to be redone."""

    def stop(step: Step, done: int, total: int) -> None:
        if step is Step.ANCHOR:
            raise Stopped

    requests = [
        CertificateRequest(
            subject=f"user-{number}",
            principals=("ops",),
            until=datetime.now(UTC) + timedelta(hours=1),
            public_key=ssh_blob(Ed25519PrivateKey.generate().public_key()),
        )
        for number in range(count)
    ]
    with world.desk() as (desk, writer):
        ca = desk.index.find_authority("users")
        bench = make_bench(desk, writer, "users", ca, None, Output(json=False), stop)
        with pytest.raises(Stopped):
            issue_batch(bench, requests)
    world.issue_directly("users")


def run(
    world: World, fault: str, *words: str, program: str = IMPATIENT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *words, "--json"],
        env=world.environment() | {FAULT: fault},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (f"C_Sign:{DEVICE_REMOVED}:4", "TokenError", "the token was removed"),
        (f"C_Sign:{TOKEN_NOT_PRESENT}:4", "TokenError", "the token was removed"),
        ("C_Sign:segv:4", "ModuleFailed", "died of SIGSEGV"),
        ("C_Sign:hang:4", "ModuleFailed", "did not answer within 1 s"),
    ],
    ids=["removed", "not present", "crashes", "hangs"],
)
def test_in_the_middle_of_a_batch(faulty: World, fault: str, error: str, message: str) -> None:
    """At the third of five certificates (the first signature is the check of the key)."""
    owe(faulty, 5)
    before, height = faulty.states("users"), faulty.rpc("eth_blockNumber")
    first_serial, state = before[-1]
    assert state == "published"
    done = run(faulty, fault, "ssh", "resume", *faulty.admin.option)
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)["error"]
    assert (told["type"], told["exit_status"]) == (error, 1)
    assert told["message"].startswith("signing with pkcs11:")
    assert message in told["message"]
    assert "dpki ssh resume" in told["hint"]
    assert "Traceback" not in done.stderr
    # What was signed before is void, for somebody else has its serials; nothing else is there.
    assert faulty.states("users") == [*before[:-1], (first_serial, "void")]
    assert faulty.rpc("eth_blockNumber") == height

    assert [one["serial"] for one in resumed(faulty)] == list(
        range(first_serial + 1, first_serial + 6)
    )
    fresh = ok(faulty.dpki(*faulty.for_key("next")))
    assert fresh["serial"] == first_serial + 6
    assert faulty.verdict(Path(str(fresh["certificate"]))) is Verdict.VALID
    verify_serials_are_ours_but_taken(faulty)


def verify_serials_are_ours_but_taken(world: World) -> None:
    """Check that every serial on chain is one journaled certificate's, or somebody else took it."""
    with world.desk() as (desk, _):
        ca = desk.index.find_authority("users")
        batches = desk.journal.load_all(ca)
        following = fetch_snapshot(desk.reader, desk.domain).authorities[ca].next_serial
    ours = [c.serial for b in batches if b.state is BatchState.ANCHORED for c in b.certificates]
    taken = [b.first_serial for b in batches if b.state is BatchState.VOID]
    assert sorted(ours + taken) == list(range(1, following))


@pytest.mark.parametrize(
    ("fault", "status", "error", "message"),
    [
        (f"C_Login:{PIN_LOCKED}", 4, "NotAllowed", "the PIN is locked or expired"),
        (f"C_SignInit:{MECHANISM_INVALID}", 1, "TokenError", "lacks the mechanism"),
        ("load:segv", 1, "ModuleFailed", "died of SIGSEGV"),
        ("C_Initialize:exit", 1, "ModuleFailed", "exit status 7"),
        ("C_Login:abort", 1, "ModuleFailed", "died of SIGABRT"),
        ("C_FindObjectsInit:hang", 1, "ModuleFailed", "did not answer within 1 s"),
        ("C_Sign:segv:2", 1, "ModuleFailed", "died of SIGSEGV"),
    ],
)
def test_before_anything_is_signed(
    faulty: World,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    status: int,
    error: str,
    message: str,
) -> None:
    words = faulty.for_key("one")
    folders = faulty.directory, faulty.admin.home.directory
    before = state_of(faulty.anvil, *folders)
    monkeypatch.setattr(pkcs11_module, "ANSWER_SECONDS", 1.0)
    monkeypatch.setenv(FAULT, fault)
    result = faulty.dpki(*words)
    assert result.status == status
    assert result.document["error"]["type"] == error
    assert message in result.message
    assert result.document["error"]["hint"]
    assert "Traceback" not in result.err
    assert state_of(faulty.anvil, *folders) == before


def test_ctrl_c_while_it_hangs(faulty: World, tmp_path: Path) -> None:
    """At a terminal everything gets the signal; only dpki answers it."""
    calls = tmp_path / "calls"
    calls.touch()
    before = faulty.states("users")
    command = subprocess.Popen(
        [sys.executable, "-c", RUN, *faulty.for_key("hanging"), "--json"],
        env=faulty.environment() | {FAULT: "C_Sign:hang:2", LOG: str(calls)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: calls.read_text().split().count("C_Sign") == 2)
    (worker,) = workers(command.pid)
    os.killpg(command.pid, signal.SIGINT)
    printed, complaint = command.communicate()
    assert command.returncode == 130, complaint
    assert json.loads(printed)["error"]["type"] == "Interrupted"
    assert "Traceback" not in complaint
    assert not is_running(worker)
    assert faulty.states("users") == before
    ok(faulty.dpki(*faulty.for_key("after")))


def test_making_a_ca(faulty: World, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("ca", "create", "crashed", "--kind", "ssh-user", *faulty.admin.option)
    height = faulty.rpc("eth_blockNumber")
    monkeypatch.setenv(FAULT, "C_GenerateKeyPair:segv")
    result = faulty.dpki(*words)
    assert (result.status, result.document["error"]["type"]) == (1, "ModuleFailed")
    assert result.message.startswith("making key pkcs11:")
    assert faulty.rpc("eth_blockNumber") == height
    monkeypatch.delenv(FAULT)
    ok(faulty.dpki(*words))


def test_the_doctor_survives_it(
    faulty: World, faulty_module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FAULT, "C_Initialize:segv")
    result = faulty.dpki("doctor", *faulty.admin.option)
    found = {each["part"]: each for each in result.document["findings"]}
    assert (result.status, found["token"]["level"]) == (3, "problem")
    assert f"{faulty_module} died of SIGSEGV" in found["token"]["said"]
    assert found["journal"]["level"] == "ok", "the rest was looked at"
