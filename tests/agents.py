"""Agents as processes of their own, on a trust domain of tests.chain_world."""

from __future__ import annotations

import getpass
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from dpki.agent.follow import KEYS
from dpki.agent.sshd import InstalledFiles
from dpki.certificates.krl import Krl, parse_krl
from dpki.config.device import Access, DeviceConfig, Grant, save_device_config
from dpki.config.finality import Finality
from dpki.config.following import Following
from dpki.config.sshd import CommandHook, Sshd
from dpki.devices.keys import save_device_keys
from scripts.stage import dpki_command
from tests.chain_world import ChainWorld

PATIENCE = 30.0
"""Seconds after which a thing that should happen counts as not happening."""

Event = dict[str, Any]


@dataclass
class Site:
    """A device's folders: the agent's own, and what its sshd reads."""

    directory: Path
    config: DeviceConfig
    agents: list[AgentProcess] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.directory / "agent"

    @property
    def files(self) -> InstalledFiles:
        return InstalledFiles(self.config.sshd.directory)

    @property
    def krl(self) -> Krl:
        return parse_krl(self.files.krl.read_bytes())

    def configure(self, **fields: object) -> None:
        """Write device.toml, with these fields changed."""
        self.config = replace(self.config, **fields)  # type: ignore[arg-type]
        save_device_config(self.folder, self.config)

    def start(self, **environment: str) -> AgentProcess:
        agent = AgentProcess(self.folder, environment)
        self.agents.append(agent)
        return agent

    def call(self, *words: str) -> tuple[int, Event, str]:
        """Run another `dpki agent` command on the device: exit status, document, words."""
        done = subprocess.run(
            [dpki_command(), "agent", *words, "--dir", str(self.folder), "--json"],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        return done.returncode, json.loads(done.stdout), done.stderr


class AgentProcess:
    """`dpki agent run --json`, and what it tells."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [dpki_command(), "agent", "run", "--dir", str(folder), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.seen: list[Event] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, event: str, **facts: object) -> Event:
        """Return the next event of this name with these facts, which are looked for in lists too.

        Events are looked at once: what was passed over is not found again.
        """
        while True:
            line = self._lines.get(timeout=PATIENCE)
            assert line is not None, f"the agent ended: {self.seen} {self.errors()}"
            told = json.loads(line)
            self.seen.append(told)
            if told["event"] == event and all(_holds(told.get(k), v) for k, v in facts.items()):
                return dict(told)

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it, and return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=PATIENCE)

    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()


def _holds(told: object, wanted: object) -> bool:
    if isinstance(told, list):
        return any(wanted in item for item in told) if wanted else not told
    return told == wanted


@contextmanager
def open_site(world: ChainWorld, **fields: object) -> Iterator[Site]:
    """Make a device that lets users of the world's CA into the account that runs the tests."""
    # Not below pytest's own folder, which is closed to others: the agent refuses such a place.
    directory = Path(tempfile.mkdtemp(prefix="dpki-agent-")).resolve()
    directory.chmod(0o755)
    etc, folder = directory / "etc", directory / "agent"
    etc.mkdir(mode=0o755)
    folder.mkdir(mode=0o700)
    host_key = etc / "ssh_host_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host_key)], check=True)
    (etc / "sshd_config").write_text(
        f"Include {etc / '10-dpki.conf'}\nHostKey {host_key}\nUsePAM no\nStrictModes no\n"
    )
    account = getpass.getuser()
    config = DeviceConfig(
        domain=world.domain.id,
        rpc=(world.reader.name,),
        directories=(world.store_directory,),
        sshd=Sshd(
            directory=etc / "dpki",
            config=etc / "sshd_config",
            drop_in=etc / "10-dpki.conf",
            login_user="nobody" if os.geteuid() == 0 else account,
            reload=CommandHook(()),
        ),
        access=Access(console_access=True),
        accounts={account: (Grant(world.users.id, "ops"),)},
        chain=Finality(confirmations=1, authority_finality="latest"),
        following=Following(interval=timedelta(seconds=1)),
    )
    site = Site(directory, replace(config, **fields))  # type: ignore[arg-type]
    save_device_keys(folder / KEYS, world.keys)
    site.configure()
    try:
        yield site
    finally:
        for agent in site.agents:
            if agent.process.poll() is None:
                agent.process.kill()
                agent.process.wait()
        shutil.rmtree(directory, ignore_errors=True)
