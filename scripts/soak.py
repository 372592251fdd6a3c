"""An hour in a device's life: everything happens to it, and a model knows what must come of it.

    scripts/soak --minutes 60 --seed 7

A chain with a block a second, two agents that are the same device. To the steady one only its
servers happen; the troubled one is killed, stopped, given the wrong time and a full disk, and has
its files and settings changed. At each checkpoint everything heals, and both must look as the model
says: sshd's files, the report, and logins at a real sshd. In between, what was revoked stays so.
"""

from __future__ import annotations

import argparse
import getpass
import json
import random
import secrets
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TextIO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.agent.report import load_report
from dpki.chain.rpc import Endpoint
from dpki.config.finality import Finality
from dpki.config.following import Following
from dpki.errors import DpkiError
from dpki.model import Address
from scripts.soak_device import Device, Door, Sample, middle, wait_until_equal
from scripts.soak_events import Events
from scripts.soak_faults import Faults, Gateway
from scripts.soak_model import Ca, Certificate, Model, State
from scripts.stage import open_stage
from tests.agents import open_site
from tests.chain_world import open_world
from tests.device import private_key_file
from tests.relay import open_relay

STEPS_BETWEEN_CHECKPOINTS = 30
PATIENCE = 240.0
"""Seconds until both devices must be as the model says: an agent that could not reach the chain
waits ever longer between two tries."""

EPOCH = 10
"""Blocks of an epoch: what is twice as old is final, and no fork of the soak's goes back so far."""

FORK_SECONDS = 8.0
"""How long a fork waits for the steady device to see what will be taken back."""

GROWTH = 8 << 20
"""Bytes that the steady agent's memory may grow by, from the first third to the last."""

TOLD = 40
"""Events that are told when something is wrong."""


class Wrong(Exception):
    """A device is not as it must be."""


@dataclass
class Soak:
    """One run, and what it counts."""

    chance: random.Random
    events: Events
    faults: Faults
    door: Door
    out: TextIO
    started: float = field(default_factory=time.monotonic)
    told: deque[str] = field(default_factory=lambda: deque(maxlen=TOLD))
    steps: int = 0
    happened: int = 0
    failed: int = 0
    forks: int = 0
    forks_seen: int = 0
    checkpoints: int = 0
    logins: int = 0
    refusals: int = 0
    slowest: float = 0.0
    idle: float = 0.0
    settled: dict[str, set[int]] = field(default_factory=dict)

    @property
    def model(self) -> Model:
        """What must be."""
        return self.events.model

    @property
    def devices(self) -> tuple[Device, Device]:
        """Both."""
        return self.faults.steady, self.faults.troubled

    def tell(self, what: str) -> None:
        """Remember what happened, for whoever has to find out."""
        self.told.append(f"{time.monotonic() - self.started:8.1f} s  step {self.steps}: {what}")

    def run(self, until: float, quiet: float) -> None:
        """Let things happen until then, and end with a quiet time and the device's retirement.

        Args:
            quiet: Seconds in which nothing happens, to see what an agent needs that is well.
        """
        self.checkpoint()
        while time.monotonic() < until:
            self.step()
            if self.steps % STEPS_BETWEEN_CHECKPOINTS == 0:
                self.checkpoint()
        self.checkpoint()
        self.tell("10,000 events that are nobody's here")
        for _ in range(10):
            self.events.issue_many(1000)
        self.checkpoint()
        self.rest(quiet)
        self.tell(self.events.retire_device())
        self.checkpoint()

    def rest(self, seconds: float) -> None:
        """Let nothing happen to a device that is well, and note what its agent needs.

        Raises:
            Wrong: It is not as it must be.
        """
        self.tell(self.events.lift_all())
        self.tell(self.events.issue_host())
        self.checkpoint()
        if self.model.view().troubles:
            raise Wrong("after a good host certificate there should be nothing to complain of")
        # Until what was issued last is final, it is read again at each look.
        time.sleep(2 * EPOCH)
        self.idle = self.share_of_a_processor(seconds)

    def step(self) -> None:
        """Let one thing happen."""
        self.steps += 1
        draw = self.chance.random()
        if draw < 0.2:
            self.failed += 1
            self.tell(self.faults.happen())
        elif draw < 0.27:
            self.tell("healed")
            self.faults.heal()
        elif draw < 0.3:
            self.fork()
        else:
            self.happened += 1
            self.tell(self.events.happen())
        self.verify_promises()

    def fork(self) -> None:
        """Let the chain take something back, at times after the steady device saw it."""
        self.forks += 1
        if self.chance.random() < 0.5:
            self._fork_of_a_revocation()
        else:
            self._fork_of_a_certificate()

    def _fork_of_a_revocation(self) -> None:
        """What was revoked and seen stays revoked, though the chain forgot it."""
        users = [ca for ca in self.model.users.values() if any(ca.counting())]
        if not users:
            return
        ca = self.chance.choice(users)
        serial = self.chance.choice([c.serial for c in ca.counting()])
        events, key = self.events, self.events.cas[ca.name]
        is_watched = self.faults.chain_is_reachable
        mark = events.snapshot()
        events.world.writer.revoke(key.id, [serial])
        is_watched = is_watched and self._is_seen(ca, serial)
        events.revert(mark)
        self.tell(f"a fork took back that {ca.name} {serial} is revoked")
        self.tell(events.issue_many())
        self.forks_seen += is_watched
        if is_watched:
            self.verify_revoked(self.faults.steady, {ca.name: {serial}})
        # The revoker sees to it that it comes to stand again.
        events.world.writer.revoke(key.id, [serial])
        ca.revoked.add(serial)

    def _is_seen(self, ca: Ca, serial: int) -> bool:
        """Whether the steady device comes to refuse the certificate in time."""
        until = time.monotonic() + FORK_SECONDS
        while not self.faults.steady.krl().is_revoked(self.events.cas[ca.name].blob, serial):
            if time.monotonic() > until:
                return False
            time.sleep(0.1)
        return True

    def _fork_of_a_certificate(self) -> None:
        """A certificate that a fork took back does not count: another one has its serial."""
        users = [ca for ca in self.model.users.values() if ca.state is State.ACTIVE]
        if not users:
            return
        ca, events = self.chance.choice(users), self.events
        mark = events.snapshot()
        lost, record = events.sign_user(ca.name, "ops", Address.zero())
        events.anchor(ca.name, lost, record, Address.zero())
        if self.chance.random() < 0.5:
            time.sleep(2)
        events.revert(mark)
        del ca.certificates[record.serial]
        ca.next_serial -= 1
        certificate, record = events.sign_user(ca.name, "ops", Address.zero())
        events.anchor(ca.name, certificate, record, Address.zero())
        self.tell(f"a fork put another certificate in the place of {ca.name} {record.serial}")

    # --- what must hold -------------------------------------------------------------------------

    def verify_promises(self) -> None:
        """Check what holds at every moment, whatever has gone wrong.

        Raises:
            Wrong: It does not.
        """
        for device in self.devices:
            if device.died():
                raise Wrong(f"the agent of {device.name} ended; its log: {device.log}")
            if not device.was_tampered:
                self.verify_revoked(device, self.settled)
        anchored = sum(ca.next_serial - 1 for ca in self.model.cas())
        self.faults.steady.sample(anchored)

    def verify_revoked(self, device: Device, revoked: dict[str, set[int]]) -> None:
        """Check that these serials are refused by sshd.

        Raises:
            Wrong: One is not.
        """
        krl = device.krl()
        for name, serials in revoked.items():
            blob = self.events.cas[name].blob
            forgotten = [s for s in serials if not krl.is_revoked(blob, s)]
            if forgotten:
                raise Wrong(f"{device.name}: {name} {forgotten} were revoked, and are no more")

    def checkpoint(self) -> None:
        """Heal everything, and compare both devices with the model.

        Raises:
            Wrong: One is not as it must be.
        """
        is_drifting = bool(self.faults.good_main)
        self.faults.heal(drift=is_drifting)
        if is_drifting:
            self._wait_for_drift()
            self.faults.heal()
        if self.chance.random() < 0.7:
            self.events.lift_all()
        started = time.monotonic()
        for device in self.devices:
            device.start()
        for device in self.devices:
            found = wait_until_equal(device, self.model, self.events.cas, PATIENCE)
            if found:
                raise Wrong("\n".join([f"{device.name} is not as the model says:", *found[:20]]))
        self.slowest = max(self.slowest, time.monotonic() - started)
        self._verify_status()
        self._log_in()
        self.events.settled = True
        self.settled = {
            ca.name: {s for s in range(1, ca.next_serial) if ca.is_revoked(s)}
            for ca in self.model.cas()
        }
        for device in self.devices:
            device.was_tampered = False
        self.checkpoints += 1
        self.tell("as the model says")
        print(
            f"{time.monotonic() - self.started:6.0f} s: {self.steps} steps, checkpoint"
            f" {self.checkpoints}: both devices are as the model says",
            file=self.out,
            flush=True,
        )

    def _wait_for_drift(self) -> None:
        """What of ours sshd does not enforce is noticed, and said."""
        troubled, until = self.faults.troubled, time.monotonic() + PATIENCE
        while True:
            last = load_report(troubled.site.folder)
            # Where the agent's own settings change meanwhile, it takes them back, and says why.
            if last is not None and (last.report["drift"] or last.report.get("not_installed")):
                return
            if time.monotonic() > until:
                raise Wrong("the agent says nothing of somebody else's AuthorizedKeysFile")
            time.sleep(0.3)

    def _verify_status(self) -> None:
        view, host = self.model.view(), self.model.host()
        for device in self.devices:
            report = device.report()["last_run"]
            assert isinstance(report, dict)
            wanted = (
                len(view.certificates),
                len(view.authorities),
                None if host is None else host.serial,
            )
            said = (report["certificates"], report["user_authorities"], report["host_serial"])
            if said != wanted:
                raise Wrong(f"{device.name}: agent status says {said}, and not {wanted}")

    def _log_in(self) -> None:
        """Try some certificates at a real sshd: of each kind one, where there is one."""
        kinds: dict[tuple[bool, str, bool, State], tuple[Ca, Certificate]] = {}
        for ca in self.model.users.values():
            for certificate in ca.certificates.values():
                if certificate.hash in self.events.lines:
                    revoked = ca.is_revoked(certificate.serial)
                    kind = (revoked, certificate.principal, certificate.is_ours, ca.state)
                    kinds[kind] = ca, certificate
        chosen = list(kinds.values())
        tried = self.chance.sample(chosen, min(len(chosen), 4))
        able = [pair for pair in chosen if self.model.may_enter(*pair)]
        if able:
            tried.append(self.chance.choice(able))
        device = self.chance.choice(self.devices)
        entered = self.door.logins(
            device,
            self.events.cas["hosts"],
            [(self.events.lines[c.hash], c.person) for _, c in tried],
            certified=self.model.host() is not None,
        )
        for (ca, certificate), is_in in zip(tried, entered, strict=True):
            self.logins += is_in
            self.refusals += not is_in
            if is_in != self.model.may_enter(ca, certificate):
                said = "got in" if is_in else "was refused"
                raise Wrong(f"{device.name}: {ca.name} {certificate} ({ca.state.value}) {said}")

    def memory(self) -> tuple[Sample, Sample]:
        """Return what the steady agent needed in the first and in the last third, at the median.

        Raises:
            Wrong: It grew.
        """
        samples = self.faults.steady.samples
        third = max(len(samples) // 3, 1)
        first, last = middle(samples[:third]), middle(samples[-third:])
        if last.resident > first.resident + GROWTH:
            raise Wrong(
                f"the agent's memory grew from {first.resident >> 20} to {last.resident >> 20} MiB,"
                f" while {last.anchored - first.anchored} certificates were anchored"
            )
        return first, last

    def share_of_a_processor(self, seconds: float) -> float:
        """Return how much the steady agent uses in these seconds."""
        before, started = self.faults.steady.processor(), time.monotonic()
        time.sleep(seconds)
        return (self.faults.steady.processor() - before) / (time.monotonic() - started)


@contextmanager
def open_soak(seed: int, folder: Path, out: TextIO) -> Iterator[Soak]:
    """Set up a chain, a gateway, two devices and an sshd, and end everything afterwards."""
    chance = random.Random(seed)
    with ExitStack() as stack:
        stage = stack.enter_context(open_stage())
        world = stack.enter_context(open_world(folder, block_time=1, epoch=EPOCH))
        truth = stack.enter_context(Endpoint(world.reader.name))
        relay = stack.enter_context(open_relay(truth))
        gateway = Gateway(world.store_directory)
        stack.callback(gateway.close)
        devices = []
        for name in ("steady", "troubled"):
            site = stack.enter_context(
                open_site(
                    world,
                    rpc=(relay.url,),
                    subscribe=(world.reader.name.replace("http", "ws"),),
                    directories=(),
                    chain=Finality(),
                    gateways=(gateway.url,),
                    following=Following(interval=timedelta(seconds=2)),
                )
            )
            device = Device(name, site, folder / f"{name}.log")
            stack.callback(device.stop)
            devices.append(device)
        people = [Ed25519PrivateKey.generate() for _ in range(3)]
        files = []
        for number, key in enumerate(people):
            file = stage.directory / f"person-{number}"
            file.write_bytes(private_key_file(key))
            file.chmod(0o600)
            files.append(file)
        model, account = Model(), getpass.getuser()
        events = Events(chance, world, model, devices, account, people, {"hosts": world.hosts})
        events.take("users-0", world.users, is_granted=True)
        events.register(is_granted=True)
        events.register(is_granted=False)
        events.rotate()
        events.issue()
        faults = Faults(chance, relay, gateway, devices[0], devices[1])
        yield Soak(chance, events, faults, Door(stage, files), out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and say what came of it; 1 where a device was not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    parser.add_argument("--idle", type=float, default=10.0, help="seconds of quiet before the end")
    parser.add_argument("--json", action="store_true", help="what came of it as data, on stdout")
    options = parser.parse_args(arguments)
    # So that whatever stops this ends all that it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"seed {options.seed}, {options.minutes:g} minutes", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="dpki-soak-") as made:
        folder = Path(made).resolve()
        with open_soak(options.seed, folder, sys.stderr) as soak:
            try:
                soak.run(soak.started + options.minutes * 60, options.idle)
                first, last = soak.memory()
            except (Wrong, DpkiError, OSError, AssertionError) as error:
                explain(soak, options.seed, error)
                return 1
            document = {
                "seed": options.seed,
                "minutes": options.minutes,
                "steps": soak.steps,
                "events": soak.happened,
                "faults": soak.failed,
                "forks": soak.forks,
                "forks_seen": soak.forks_seen,
                "agents_started": [device.starts for device in soak.devices],
                "checkpoints": soak.checkpoints,
                "slowest_checkpoint_seconds": round(soak.slowest, 1),
                "logins": soak.logins,
                "refusals": soak.refusals,
                "memory_mib": [round(each.resident / (1 << 20), 1) for each in (first, last)],
                "certificates": [each.anchored for each in (first, last)],
                "idle_processor_percent": round(100 * soak.idle, 2),
            }
    if options.json:
        print(json.dumps(document))
    else:
        for name, value in document.items():
            print(f"{name.replace('_', ' ')}: {value}")
    return 0


def explain(soak: Soak, seed: int, error: BaseException) -> None:
    """Say on standard error what went wrong, and what had happened before."""
    lines = [f"WRONG: {error!r}" if not isinstance(error, Wrong) else f"WRONG: {error}"]
    lines += [f"seed {seed}; the last {len(soak.told)} events:", *soak.told]
    for device in soak.devices:
        try:
            last = load_report(device.site.folder)
        except DpkiError as unread:
            lines.append(f"{device.name}: {unread.message}")
        else:
            said = () if last is None else last.said
            lines += [f"{device.name} says:", *(f"  {line}" for line in said)]
        if device.log.exists():
            log = device.log.read_text(errors="replace").splitlines()[-15:]
            lines += [f"{device.name}'s log:", *(f"  {line}" for line in log)]
    print("\n".join(lines), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
