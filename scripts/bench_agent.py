"""The agent as a daemon: how soon, in how much memory, with how much work, and two hundred at once.

    python scripts/bench_agent.py --samples 200 --agents 200 --idle 120

Agents are processes of their own. Times run from the block that holds an event to the files on the
disk, or to the first login that sshd refuses.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.keys import public_key_line, ssh_blob
from dpki.certificates.ssh import SshCertificate, ssh_line
from dpki.config.following import Following
from scripts.stage import Client, Stage, open_stage
from scripts.stage import Sshd as Server
from tests.agents import Site, open_site
from tests.chain_world import ChainWorld, open_world
from tests.device import HOST, private_key_file

BLOCK_SECONDS = 2
DEADLINE = 120.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Spread:
    """Seconds that something took, each time."""

    seconds: tuple[float, ...]

    def at(self, percent: int) -> float:
        """Return a percentile; of less than a hundred samples, the 99th is the worst."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]

    def __str__(self) -> str:
        """Return median, 99th percentile and number."""
        median = statistics.median(self.seconds)
        return f"p50 {median:.3f} s, p99 {self.at(99):.3f} s ({len(self.seconds)} times)"


@dataclass(frozen=True)
class Load:
    """What processes cost.

    Attributes:
        resident: Bytes in memory, of the one that needs most.
        proportional: Bytes of all of them, shared pages divided.
        processors: Share of one processor while nothing happens, all of them and their children.
    """

    resident: int
    proportional: int
    processors: float


@dataclass(frozen=True)
class AgentFigures:
    """Everything that was measured; see the goals in `agent_section`."""

    installed: Spread
    refused: Spread
    one: Load
    crowd: int
    started: float
    crowd_installed: Spread
    all_of_them: Load


def measure_agents(samples: int, agents: int, idle: float) -> AgentFigures:
    """Measure on chains of our own.

    Args:
        samples: How often to time each way.
        agents: How many at once.
        idle: Seconds in which nothing happens.
    """
    with chain(None) as world, started(world, 1) as (site,):
        installed = Spread(tuple(_time_installing(world, [site])[0] for _ in range(samples)))
    with chain(BLOCK_SECONDS) as world, started(world, 1) as (site,), open_stage() as stage:
        one = _measure_load([site], idle)
        refused = Spread(tuple(_time_refusal(world, site, stage) for _ in range(samples)))
    with chain(BLOCK_SECONDS) as world:
        begun = time.monotonic()
        with started(world, agents) as sites:
            took = time.monotonic() - begun
            crowd = [s for _ in range(3) for s in _time_installing(world, sites)]
            load = _measure_load(sites, idle)
    return AgentFigures(installed, refused, one, agents, took, Spread(tuple(crowd)), load)


@contextmanager
def chain(block_time: int | None) -> Iterator[ChainWorld]:
    """A trust domain on a chain that mines at once, or every so many seconds."""
    with (
        tempfile.TemporaryDirectory() as folder,
        open_world(Path(folder), block_time=block_time) as world,
    ):
        world.issue_host()
        world.anchor_users(world.sign_user())
        yield world


@contextmanager
def started(world: ChainWorld, agents: int) -> Iterator[list[Site]]:
    """Agents that have installed what there is; they start a few at a time."""
    with ExitStack() as stack:
        sites: list[Site] = []
        waiting = []
        for _ in range(agents):
            site = stack.enter_context(open_site(world, following=Following()))
            sites.append(site)
            waiting.append(site.start())
            if len(waiting) >= 2 * (os.cpu_count() or 1):
                waiting.pop(0).wait_for("state", problems=())
        for agent in waiting:
            agent.wait_for("state", problems=())
        yield sites


def _time_installing(world: ChainWorld, sites: Sequence[Site]) -> list[float]:
    """Return the seconds from a block with a certificate to each agent's index on the disk."""
    before = {site.folder: _written(site) for site in sites}
    world.anchor_users(world.sign_user())
    mined = time.time()
    _wait(lambda: all(_written(site) != before[site.folder] for site in sites))
    # A chain that mines at once may be overtaken before its receipt is here.
    took = [max(0.0, _written(site) / 1e9 - mined) for site in sites]
    time.sleep(1)  # so that no sample lives on what the one before it has set going
    return took


def _time_refusal(world: ChainWorld, site: Site, stage: Stage) -> float:
    """Return the seconds from a revocation that was mined to the end of the login it refuses."""
    certificate, client = _person(world, stage)
    server = stage.servers[0] if stage.servers else _serve(site, stage)
    _wait(lambda: stage.ssh(server, client).status == 0)
    world.writer.revoke(world.users.id, [certificate.serial])
    mined = time.monotonic()
    while stage.ssh(server, client).status == 0:
        pass
    return time.monotonic() - mined


def _person(world: ChainWorld, stage: Stage) -> tuple[SshCertificate, Client]:
    key = Ed25519PrivateKey.generate()
    certificate = world.users.sign(
        subject=key,
        valid_after=world.now - timedelta(minutes=5),
        valid_before=world.now + timedelta(hours=8),
    )
    path = stage.directory / "person"
    path.write_bytes(private_key_file(key))
    path.chmod(0o600)
    path.with_name("person.pub").write_text(f"{public_key_line(ssh_blob(key.public_key()))}\n")
    path.with_name("person-cert.pub").write_text(f"{ssh_line(certificate)}\n")
    known = stage.directory / "known_hosts"
    known.write_text(f"@cert-authority {HOST} {public_key_line(world.hosts.blob)}\n")
    world.anchor_users(certificate)
    return certificate, Client(path, path.with_name("person-cert.pub"), known, None, HOST)


def _serve(site: Site, stage: Stage) -> Server:
    return stage.start_sshd("device", [], include=site.config.sshd.drop_in)


def _measure_load(sites: Sequence[Site], idle: float) -> Load:
    pids = [agent.process.pid for site in sites for agent in site.agents]
    # What the start brought about is over: subscriptions, first looks, collected garbage.
    time.sleep(15)
    before = sum(map(_ticks, pids))
    time.sleep(idle)
    used = (sum(map(_ticks, pids)) - before) / TICKS
    return Load(
        max(_kilobytes(pid, "status", "VmRSS") for pid in pids) * 1024,
        sum(_kilobytes(pid, "smaps_rollup", "Pss") for pid in pids) * 1024,
        used / idle,
    )


def _ticks(pid: int) -> int:
    """Return the clock ticks of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15])


def _kilobytes(pid: int, file: str, name: str) -> int:
    for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise LookupError(name)


def _written(site: Site) -> int:
    return site.files.login_index.stat().st_mtime_ns


def _wait(is_done: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not is_done():
        if time.monotonic() > end:
            raise TimeoutError("the agent did not do it in time")
        time.sleep(0.002)


def agent_section(figures: AgentFigures, today: datetime) -> list[str]:
    """Return the chapter for docs/benchmarks.md."""
    one, crowd = figures.one, figures.all_of_them
    return [
        "## The agent",
        "",
        (
            f"`dpki agent run` as a process, by subscription, on {today:%Y-%m-%d}: chain and sshd"
            f" on loopback, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores. The"
            " second row ends with the first `ssh` that is turned away, and holds that one's time."
        ),
        "",
        "| what | measured | at most |",
        "|---|---|---|",
        f"| block with a certificate → on the disk | {figures.installed} | p50 0.2 s, p99 1 s |",
        (
            f"| revocation mined (a block every {BLOCK_SECONDS} s) → refused at sshd |"
            f" {figures.refused} | p99 a block and 1 s |"
        ),
        f"| resident memory | {one.resident / 1e6:.0f} MB | 80 MB |",
        (
            f"| processor while nothing happens, a block every {BLOCK_SECONDS} s |"
            f" {one.processors:.2%} | 0.5 % |"
        ),
        f"| {figures.crowd} agents on this machine: started in | {figures.started:.0f} s | |",
        f"| …: block → on the disk, each of them | {figures.crowd_installed} | |",
        f"| …: memory of all, shared pages once | {crowd.proportional / 1e6:,.0f} MB | |",
        f"| …: processor while nothing happens, all | {crowd.processors:.1%} | |",
        "",
    ]


def main() -> int:
    """Measure and print the chapter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100, help="how often to time each way")
    parser.add_argument("--agents", type=int, default=200, help="how many at once")
    parser.add_argument("--idle", type=float, default=60, help="seconds in which nothing happens")
    asked = parser.parse_args()
    figures = measure_agents(asked.samples, asked.agents, asked.idle)
    print("\n".join(agent_section(figures, datetime.now(UTC))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
