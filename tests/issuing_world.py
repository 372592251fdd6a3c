"""An admin's home with a domain, two CAs and a device on real services, and commands that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.keys import public_key_line, ssh_blob
from dpki.chain.snapshot import fetch_snapshot
from dpki.cli.issuing import make_bench
from dpki.cli.output import Output
from dpki.cli.session import Desk, open_desk
from dpki.devnet.anvil import Anvil
from dpki.issuance.batch import BatchState
from dpki.issuance.bench import Bench
from dpki.issuance.index import NamedDevice
from dpki.issuance.progress import silent
from dpki.locks import hold
from dpki.model import Address, Entry, Hash32
from dpki.transactions.wallet import load_wallet
from dpki.transactions.writer import DomainWriter
from dpki.verification.check import verify_certificate
from dpki.verification.verdict import Verdict
from tests.admins import PASSPHRASE, Admin, Result, Run
from tests.soft_tokens import SoftHsmFolder

DYING = """
import os, sys
from contextlib import contextmanager
from dpki.cli.app import main
from dpki.cli.output import Output
from dpki.issuance.database import Database

signal, kind, point = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
calls = 0

def reach(found):
    global calls
    if found == kind:
        calls += 1
        if calls == point:
            os.kill(os.getpid(), signal)

@contextmanager
def steps(self):
    yield lambda step, done, total: reach("step")

def change(self, *words, change=Database.change):
    changed = change(self, *words)
    if not self._connection.in_transaction:
        reach("commit")
    return changed

@contextmanager
def transaction(self, transaction=Database.transaction):
    with transaction(self):
        yield
        reach("commit")
    reach("commit")

Output.steps, Database.change, Database.transaction = steps, change, transaction
main(sys.argv[4:])
"""
"""The real command line, that sends itself a signal at the n-th point of a kind.

The points: `step` is wherever progress is told (1-2 signing, 3-4 sealing, 5-6 publishing, 7-8
anchoring, 9-10 releasing, for one certificate; the even ones after the deed and before it is
journaled). `commit` is before each commit of the journal and after it.
"""


RUN = "from dpki.cli.app import main; main()"
"""The real command line, in a process of its own."""


@dataclass
class World:
    """A domain with a user CA, a host CA and a device."""

    directory: Path
    anvil: Anvil
    admin: Admin
    softhsm: SoftHsmFolder
    dpki: Run
    domain: str = ""

    def rpc(self, method: str, *params: object) -> object:
        from dpki.chain.rpc import Endpoint

        with Endpoint(self.anvil.url) as endpoint:
            return endpoint.call(method, list(params))

    def public_key(self, name: str) -> Path:
        path = self.directory / f"{name}.pub"
        blob = ssh_blob(Ed25519PrivateKey.generate().public_key())
        path.write_text(public_key_line(blob, name) + "\n")
        return path

    def for_key(self, name: str) -> list[str]:
        words = ["ssh", "issue", "--ca", "users", "--key", str(self.public_key(name))]
        return [*words, "--identity", name, "--principal", "ops", *self.admin.option]

    def for_device(self, keygen: str = "device") -> list[str]:
        words = ["ssh", "issue", "--ca", "hosts", "--device", "gate-1", "--keygen", keygen]
        return [*words, "--hostname", "gate-1.example", *self.admin.option]

    def verdict(self, certificate: Path) -> Verdict:
        """Return what a stranger finds, who has the certificate only."""
        config = self.admin.config
        return verify_certificate(
            certificate.read_bytes(), domain_id=config.require_domain(), rpc=config.chain.rpc
        ).verdict

    @contextmanager
    def desk(self) -> Iterator[tuple[Desk, DomainWriter]]:
        with open_desk(self.admin.home.directory) as desk:
            wallet = load_wallet(desk.home.keystore, lambda _: PASSPHRASE)
            yield desk, DomainWriter(desk.reader, desk.domain, wallet)

    def devices(self) -> tuple[NamedDevice, ...]:
        """The devices that this home knows."""
        with self.desk() as (desk, _):
            return desk.index.devices()

    def states(self, ca: str) -> list[tuple[int, str]]:
        with self.desk() as (desk, _):
            batches = desk.journal.load_all(desk.index.find_authority(ca))
            return [(batch.first_serial, batch.state.value) for batch in batches]

    def issue_directly(self, ca: str) -> None:
        """Do what another machine with the same wallet might: anchor something else."""
        with self.desk() as (desk, writer):
            identifier = desk.index.find_authority(ca)
            snapshot = fetch_snapshot(desk.reader, desk.domain)
            end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
            entry = Entry(Hash32(os.urandom(32)), Address.zero(), end, Hash32.zero())
            writer.issue(identifier, snapshot.authorities[identifier].next_serial, [entry])

    def environment(self) -> dict[str, str]:
        """Return the environment of a command in a process of its own."""
        return os.environ | {"SOFTHSM2_CONF": str(self.softhsm.configuration)}

    def start(self, words: Sequence[str]) -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-c", RUN, *words],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run_twice(self, words: Sequence[str]) -> None:
        """Run a command in two terminals; neither may issue before both can't go on without."""
        with hold(self.admin.home.lock):
            both = {self.start(words): "" for _ in range(2)}
            for terminal in both:
                assert terminal.stderr is not None
                said = takewhile(lambda line: "waiting for" not in line, terminal.stderr)
                both[terminal] = "".join(said)
        for terminal, before in both.items():
            _, after = terminal.communicate()
            assert terminal.returncode == 0, before + after

    def hit(
        self, number: signal.Signals, kind: str, point: int, words: Sequence[str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a process that gets a signal at a point."""
        return subprocess.run(
            [sys.executable, "-c", DYING, str(int(number)), kind, str(point), *words],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def squeeze(self, limit: int, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command in a process that can make no file larger than `limit` bytes.

        To a program that is a disk that gets full at one write or another. Python does not notice
        it, and would leave compiled modules cut off, for all who come after.
        """
        program = (
            "import resource, sys; sys.dont_write_bytecode = True; from dpki.cli.app import main;"
            " resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2);"
            " main(sys.argv[2:])"
        )
        return subprocess.run(
            [sys.executable, "-c", program, str(limit), *words],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def die(self, point: int, words: list[str]) -> None:
        """Run a command in a process that is killed at a step."""
        done = self.hit(signal.SIGKILL, "step", point, words)
        assert done.returncode == -signal.SIGKILL, done.stderr


def ok(result: Result) -> dict[str, object]:
    assert result.status == 0, result.err
    return result.document


@contextmanager
def bench(world: World, name: str) -> Iterator[Bench]:
    """Yield the bench that the command line would use."""
    with ExitStack() as stack:
        desk, writer = stack.enter_context(world.desk())
        ca = desk.index.find_authority(name)
        yield make_bench(desk, writer, name, ca, None, Output(json=False), silent)


def resumed(world: World) -> list[dict[str, object]]:
    """Finish what is left, and return it."""
    released = ok(world.dpki("ssh", "resume", *world.admin.option))["released"]
    assert isinstance(released, list)
    return released


def verify_serials(world: World) -> None:
    """Check that every serial on chain is one of the journal's, in one batch that is not void."""
    with world.desk() as (desk, _):
        snapshot = fetch_snapshot(desk.reader, desk.domain)
        for ca in desk.index.authorities().values():
            batches = [b for b in desk.journal.load_all(ca) if b.state is not BatchState.VOID]
            assert {b.state for b in batches} <= {BatchState.ANCHORED}
            serials = [c.serial for b in batches for c in b.certificates]
            assert serials == list(range(1, snapshot.authorities[ca].next_serial))
            assert all(c.is_released for b in batches for c in b.certificates)
