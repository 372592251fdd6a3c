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
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpki.agent.acknowledge import AGAIN, leave_each
from dpki.agent.doorbell import listen_for_doorbell
from dpki.agent.follow import KEYS, Follower
from dpki.agent.heap import keep_one_heap
from dpki.agent.hints import listen_always
from dpki.agent.installation import Installation
from dpki.agent.once import at_work
from dpki.agent.post import Post
from dpki.agent.report import AgentReport
from dpki.agent.schedule import Hint, backoff, wait_until
from dpki.agent.service import ServiceManager
from dpki.agent.threads import finish_in_thread, in_thread
from dpki.config.device import FILE_NAME, DeviceConfig, load_device_config
from dpki.devices.keys import load_device_keys
from dpki.errors import ConfigError, DpkiError

if TYPE_CHECKING:
    from dpki.agent.metrics import Figures

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
    with at_work(directory, config, "dpki agent run"):
        keep_one_heap()
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
        self._tell = tell
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

    def tell(self, event: str, facts: Mapping[str, object]) -> None:
        """Tell what happened; a full disk, or nobody who listens, ends no agent."""
        with suppress(OSError, DpkiError):
            self._tell(event, facts)

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
            Post(Follower(name, config, daemon.directory, beside=True))
            for name, config in daemon.config.each().items()
        ]
        self._installation = Installation(daemon.directory, daemon.config)
        self._figures = _figures(daemon.config)
        self._turn = asyncio.Lock()
        self._said: object = None
        self._unsaid = asyncio.Event()
        self._decided = asyncio.Event()

    async def run(self, changed: asyncio.Event) -> None:
        """Follow all domains until the configuration changes."""
        for post in self._posts:
            try:
                await post.recall()
            except DpkiError as error:
                self._tell("not recalled", {"domain": post.name, "reason": error.message})
        async with asyncio.TaskGroup() as tasks:
            lookers = [tasks.create_task(self._follow(post)) for post in self._posts]
            others = [
                tasks.create_task(self._daemon.heed_configuration()),
                tasks.create_task(self._beat()),
                tasks.create_task(self._acknowledge()),
                tasks.create_task(self._end_sessions()),
                *(tasks.create_task(post.supply()) for post in self._posts),
                *(tasks.create_task(one) for one in (*self._subscriptions(), *self._exposures())),
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

    def _subscriptions(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Yield what listens for hints: whatever else hints is added here, and tells a post."""
        for post in self._posts:
            for url in post.follower.config.hints:
                yield listen_always(url, post.contracts, self._hinting(post), self._subscribed)
        if self._config.news.doorbell and self._config.broker is not None:
            hints = [self._hinting(post) for post in self._posts]
            yield listen_for_doorbell(
                self._config.broker,
                load_device_keys(self._daemon.directory / KEYS).address,
                lambda: [hint(Hint.EVENT) for hint in hints],
                self._subscribed,
            )

    def _hinting(self, post: Post) -> Callable[[Hint], None]:
        def tell(hint: Hint) -> None:
            if self._figures is not None:
                self._figures.hinted(post.name)
            post.hint(hint)

        return tell

    def _subscribed(self, name: str, does: str) -> None:
        self._tell("subscription", {"endpoint": name, "does": does})

    def _exposures(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Yield what tells the figures to whom they were promised."""
        if self._figures is None:
            return
        from dpki.agent.metrics import serve_figures, write_figures

        metrics = self._config.metrics
        if metrics.listen is not None:
            yield serve_figures(self._figures, *metrics.listen, self._exposed)
        if metrics.textfile is not None:
            yield write_figures(self._figures, metrics.textfile, self._exposed)

    def _exposed(self, how: str) -> None:
        self._tell("metrics", {"are": how})

    async def _follow(self, post: Post) -> None:
        """Look at one domain whenever it is due."""
        while await post.until_due():
            started = time.monotonic()
            await post.look()
            if self._figures is not None:
                seconds = time.monotonic() - started
                self._figures.looked(post.name, seconds, failed=post.failure is not None)
            await self._install()

    async def _install(self) -> None:
        """Decide from what was seen of all domains, and install it."""
        async with self._turn:
            seen = {p.name: p.seen for p in self._posts if p.seen is not None}
            failures = {p.name: p.failure for p in self._posts if p.failure is not None}
            if not seen:
                self._say_failures(failures)
                return
            try:
                report = await finish_in_thread(
                    lambda: self._installation.update(seen, failures, datetime.now(UTC))
                )
            except DpkiError as error:
                if self._figures is not None:
                    self._figures.not_installed()
                self._say("not installed", {"reason": error.message, "hint": error.hint})
            else:
                if self._figures is not None:
                    self._figures.installed(report)
                self._say_report(report)
            self._decided.set()
            # Also where nothing was installed: it says what arrived.
            self._unsaid.set()

    async def _end_sessions(self) -> None:
        """End sessions in the moment when their certificates run out: no look is due then."""
        while True:
            self._decided.clear()
            now = datetime.now(UTC)
            due = self._installation.next_end(now)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._decided.wait(), wait_until(due, now))
                continue
            if due is None or datetime.now(UTC) < due:
                continue
            async with self._turn:
                ended = await finish_in_thread(
                    lambda: self._installation.end_sessions(datetime.now(UTC))
                )
            if ended:
                self._tell("sessions ended", {"sessions": ended})

    async def _acknowledge(self) -> None:
        """Leave what is to be said where it belongs; ever less often while in vain."""
        failures = 0
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._unsaid.wait(), AGAIN.total_seconds())
            self._unsaid.clear()
            try:
                left = await in_thread(
                    lambda: leave_each(self._daemon.directory, self._config, datetime.now(UTC))
                )
                if left:
                    self._tell("acknowledged", {"to": left})
            except DpkiError as error:
                failures += 1
                self._tell("not acknowledged", {"reason": error.message})
                await asyncio.sleep(backoff(failures, random.random()))
                self._unsaid.set()
            else:
                failures = 0

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

    async def _beat(self) -> None:
        """Give the service manager signs of life, as long as nothing is stuck."""
        pulse = self._daemon.manager.pulse
        while pulse is not None:
            now = time.monotonic()
            if all(p.busy_since is None or now < p.busy_since + STUCK for p in self._posts):
                self._daemon.manager.alive()
            await asyncio.sleep(pulse)


def _figures(config: DeviceConfig) -> Figures | None:
    """Return what counts, where somebody wants to know: the library costs memory."""
    if config.metrics.listen is None and config.metrics.textfile is None:
        return None
    from dpki.agent.metrics import Figures

    return Figures()
