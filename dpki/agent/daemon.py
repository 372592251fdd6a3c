"""`dpki agent run`: the same step as `dpki agent once`, for years. A shell round what is pure.

One task for each trust domain looks at it when its schedule says so, in a thread, since what reads
the chain blocks; whenever one has looked, all that was seen is decided anew and installed. Others
wait for hints, for signals and for changes of device.toml. The first task that fails on its own
account ends them all, and the service manager starts the agent again.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from dpki.agent.follow import KEYS, Follower, Seen
from dpki.agent.hints import listen_always
from dpki.agent.installation import Installation
from dpki.agent.once import LOCK
from dpki.agent.report import AgentReport
from dpki.agent.schedule import Hint, Schedule
from dpki.agent.service import ServiceManager
from dpki.agent.threads import finish_in_thread, in_thread
from dpki.chain.domain import registries_of
from dpki.config.device import FILE_NAME, DeviceConfig, load_device_config
from dpki.devices.keys import load_device_keys
from dpki.errors import ConfigError, DpkiError
from dpki.locks import hold_alone
from dpki.model import Address

Tell = Callable[[str, Mapping[str, object]], None]
"""Told what happened: a word, and what belongs to it."""

CONFIGURATION = 5.0
"""Seconds between two looks at whether device.toml was changed."""

STUCK = 900.0
"""Seconds after which a look that does not end is a defect: each question in it has a deadline."""


def run_daemon(directory: Path, tell: Tell) -> None:
    """Look after the device until SIGTERM.

    Args:
        directory: The device's folder: device.toml, keys, the agent's database.

    Raises:
        ConfigError: device.toml can't be used.
        DpkiError: Another agent is at work on this device, or its keys can't be read.
    """
    config = load_device_config(directory)
    load_device_keys(directory / KEYS)
    with hold_alone(directory / LOCK, "dpki agent run"):
        asyncio.run(_Daemon(directory, config, tell).run())


class _Daemon:
    """The agent, from its start to its end.

    Attributes:
        config: What is in force.
        problem: What is wrong with device.toml as it is now; nothing where it is in force.
    """

    def __init__(self, directory: Path, config: DeviceConfig, tell: Tell) -> None:
        self.directory = directory
        self.config = config
        self.problem = ""
        self.tell = tell
        self.manager = ServiceManager()
        self._stamp = self._read_stamp()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Live until SIGTERM: one `_Watch` after another, each for one configuration."""
        loop = asyncio.get_running_loop()
        own = asyncio.current_task()
        assert own is not None
        loop.add_signal_handler(signal.SIGTERM, own.cancel)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        self.tell("started", {"directory": str(self.directory), "domains": len(self.config.each())})
        # Whoever has another reason than the signal to cancel this has no other way to end it.
        with suppress(asyncio.CancelledError):
            while True:
                self._changed.clear()
                await _Watch(self).run(self._changed)
        self.manager.stopping()
        self.tell("stopped", {})

    async def heed_configuration(self) -> None:
        """Read device.toml again whenever somebody changed it."""
        while True:
            await asyncio.sleep(CONFIGURATION)
            if self._read_stamp() != self._stamp:
                self._reload()

    def _reload(self) -> None:
        """Put device.toml in force; with an error in it, keep what is."""
        self.manager.reloading(time.monotonic_ns() // 1000)
        self._stamp = self._read_stamp()
        try:
            config = load_device_config(self.directory)
        except ConfigError as error:
            self.problem = f"device.toml is not in force, the earlier one is: {error.message}"
            self.tell("configuration refused", {"reason": error.message, "hint": error.hint})
        else:
            self.problem = ""
            self.config = config
            self.tell("configuration read", {})
        self._changed.set()
        self.manager.ready()

    def _read_stamp(self) -> tuple[int, ...] | None:
        """Return what changes when somebody writes the file."""
        try:
            found = (self.directory / FILE_NAME).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size, found.st_ctime_ns


class _Watch:
    """The agent, as long as one configuration is in force."""

    def __init__(self, daemon: _Daemon) -> None:
        self._daemon = daemon
        self._config = daemon.config
        self._tell = daemon.tell
        self._posts = [
            _Post(Follower(name, config, daemon.directory))
            for name, config in daemon.config.each().items()
        ]
        self._installation = Installation(daemon.directory, daemon.config)
        self._turn = asyncio.Lock()
        self._said: object = None

    async def run(self, changed: asyncio.Event) -> None:
        """Follow all domains until the configuration changes."""
        for post in self._posts:
            await post.recall(self._tell)
        async with asyncio.TaskGroup() as tasks:
            lookers = [tasks.create_task(self._follow(post)) for post in self._posts]
            others = [
                tasks.create_task(self._daemon.heed_configuration()),
                tasks.create_task(self._beat()),
                *(
                    tasks.create_task(
                        listen_always(url, contracts(post), post.hint, self._note_subscription)
                    )
                    for post in self._posts
                    for url in post.follower.config.hints
                ),
            ]
            await changed.wait()
            for task in others:
                task.cancel()
            # No look is broken off, for the next watch must not look at the same time.
            for post in self._posts:
                post.dismiss()
            await asyncio.wait(lookers)
        for post in self._posts:
            post.follower.close()

    async def _follow(self, post: _Post) -> None:
        """Look at one domain whenever it is due."""
        while await post.until_due():
            await post.look()
            await self._install()

    async def _install(self) -> None:
        """Decide from what was seen of all domains, and install it."""
        async with self._turn:
            seen = {p.follower.name: p.seen for p in self._posts if p.seen is not None}
            failures = {p.follower.name: p.failure for p in self._posts if p.failure is not None}
            if not seen:
                self._say_failures(failures)
                return
            try:
                report = await finish_in_thread(
                    lambda: self._installation.update(seen, failures, datetime.now(UTC))
                )
            except DpkiError as error:
                self._say("not installed", {"reason": error.message, "hint": error.hint})
            else:
                self._say_report(report)

    def _say_report(self, report: AgentReport) -> None:
        problems = report.all_problems
        if self._daemon.problem:
            problems = (self._daemon.problem, *problems)
        self._daemon.manager.status(
            f"block {report.block.number}; {problems[0] if problems else 'all is well'}"
        )
        self._daemon.manager.ready()
        if report.changed or report.reloaded:
            self._tell(
                "installed",
                {
                    "block": report.block.number,
                    "changed": report.changed,
                    "reloaded": report.reloaded,
                },
            )
        if report.ended:
            self._tell("sessions ended", {"sessions": report.ended})
        waiting = tuple(w for domain in report.domains for w in domain.waiting)
        clocks = tuple(domain.clock for domain in report.domains if domain.clock)
        self._say("state", {"problems": problems, "waiting": waiting, "clock": clocks})

    def _say_failures(self, failures: Mapping[str, DpkiError]) -> None:
        problems = tuple(f"{name}: {error.message}" for name, error in failures.items())
        self._daemon.manager.status(f"nothing seen yet; {'; '.join(problems)}")
        # What is installed stays in force: the agent is up, and says what it lacks.
        self._daemon.manager.ready()
        self._say("out of reach", {"problems": problems})

    def _say(self, what: str, facts: Mapping[str, object]) -> None:
        """Tell a state, once."""
        if (what, facts) != self._said:
            self._said = (what, facts)
            self._tell(what, facts)

    def _note_subscription(self, name: str, does: str) -> None:
        self._tell("subscription", {"endpoint": name, "does": does})

    async def _beat(self) -> None:
        """Give the service manager signs of life, as long as nothing is stuck."""
        pulse = self._daemon.manager.pulse
        while pulse is not None:
            now = time.monotonic()
            if all(p.busy_since is None or now < p.busy_since + STUCK for p in self._posts):
                self._daemon.manager.alive()
            await asyncio.sleep(pulse)


class _Post:
    """One domain, when to look at it, and what was seen last.

    Attributes:
        seen: What a look saw last; None before the first that saw anything.
        failure: Why the last look saw nothing, if it did not.
        busy_since: Since when a look is under way, if one is.
    """

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.seen: Seen | None = None
        self.failure: DpkiError | None = None
        self.busy_since: float | None = None
        self._missed: Hint | None = None
        self._is_dismissed = False
        self._wake = asyncio.Event()
        interval = follower.config.following.interval.total_seconds()
        self._schedule = Schedule(interval, due=time.monotonic())

    async def recall(self, tell: Tell) -> None:
        """Take what was seen before, until something new is seen."""
        try:
            self.seen = await in_thread(self.follower.recall)
        except DpkiError as error:
            tell("not recalled", {"domain": self.follower.name, "reason": error.message})

    def hint(self, hint: Hint) -> None:
        """Take a hint: from a subscription, or from whoever else has one."""
        if self.busy_since is not None and self._missed is not Hint.EVENT:
            # The look that is under way may have been too early.
            self._missed = hint
        before = self._schedule
        self._schedule = before.hinted(hint, time.monotonic())
        if self._schedule.due < before.due:
            self._wake.set()

    def _make_up(self) -> None:
        """Take the hint that came while a look was under way."""
        if self._missed is not None:
            self.hint(self._missed)

    def dismiss(self) -> None:
        """Have no further look begin."""
        self._is_dismissed = True
        self._wake.set()

    async def until_due(self) -> bool:
        """Wait until it is time to look; return whether to look at all."""
        while not self._is_dismissed and (left := self._schedule.due - time.monotonic()) > 0:
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), left)
        return not self._is_dismissed

    async def look(self) -> None:
        """Look at the domain, and note what was seen."""
        self.busy_since, self._missed = time.monotonic(), None
        try:
            self.seen = await in_thread(lambda: self.follower.look(datetime.now(UTC)))
        except DpkiError as error:
            self.failure = error
            self._schedule = self._schedule.failed(time.monotonic(), random.random())
        else:
            self.failure = None
            pending = self.seen.observation.pending > 0
            self._schedule = self._schedule.succeeded(
                time.monotonic(), random.random(), pending=pending
            )
        self.busy_since = None
        self._make_up()


def contracts(post: _Post) -> tuple[Address, ...]:
    """Return the contracts whose logs hint at something."""
    address = post.follower.config.domain.address
    return (address, *registries_of(address))
