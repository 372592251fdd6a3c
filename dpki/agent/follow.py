"""Following one trust domain: a connection that lasts, and looks through it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from dpki.agent.observation import Observation
from dpki.agent.observe import observe
from dpki.agent.sources import Conduct, KnownSource
from dpki.agent.state import open_state
from dpki.chain.connect import Connection, connect_agreed
from dpki.chain.quorum import Evidence
from dpki.config.device import FIRST, DeviceConfig
from dpki.devices.keys import DeviceKeys
from dpki.files import make_private_directory
from dpki.store.directory import DirectoryStore
from dpki.store.gateway import Gateway

DOMAINS = "domains"

THOROUGH = timedelta(minutes=5)
"""How long a look may save what the one before found out."""

SEARCH = timedelta(hours=1)
"""How seldom to search the whole chain for a host certificate that is missing."""


@dataclass(frozen=True)
class Seen:
    """What a look saw.

    Attributes:
        evidence: What stands behind it.
        at: When, by the device's clock.
        sources: How the sources of bundles behaved, by name.
    """

    observation: Observation
    evidence: Evidence
    at: datetime
    sources: Mapping[str, Conduct] = field(default_factory=dict)


class Follower:
    """What follows one domain; one thread at a time.

    Args:
        name: What the domain is called on this device.
        config: The device's configuration, as this domain sees it.
        directory: The agent's folder; what is remembered of the first domain lies in it, and of the
            others in folders of their own below it.
    """

    def __init__(self, name: str, config: DeviceConfig, keys: DeviceKeys, directory: Path) -> None:
        self.name = name
        self.config = config
        self.directory = directory if name == FIRST else directory / DOMAINS / name
        self._keys = keys
        self._sources = _sources(config)
        self._stack = ExitStack()
        self._connection: Connection | None = None
        self._before: Observation | None = None
        self._thorough = self._searched = -math.inf

    def look(self, now: datetime) -> Seen:
        """Look at chain and stores.

        Raises:
            CouldNotCheck: The chain could not be read; the next look connects anew.
            DpkiError: What was seen could not be remembered.
        """
        try:
            chain = self._connect()
            make_private_directory(self.directory)
            started = time.monotonic()
            is_thorough = started >= self._thorough + THOROUGH.total_seconds()
            search = started >= self._searched + SEARCH.total_seconds()
            with open_state(self.directory) as state:
                observation = observe(
                    chain.reader,
                    chain.domain,
                    self.config,
                    self._keys,
                    self._sources,
                    state,
                    self.directory,
                    now,
                    before=None if is_thorough else self._before,
                    search=search,
                )
            if is_thorough:
                self._thorough = started
            if search:
                self._searched = started
            self._before = observation
            conduct = {source.name: source.conduct for source in self._sources}
            return Seen(observation, chain.evidence(), now, conduct)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connection; another look makes a new one."""
        self._connection = None
        self._stack.close()

    def _connect(self) -> Connection:
        if self._connection is None:
            config = self.config
            chain = connect_agreed(config.rpc, config.domain, config.quorum)
            self._connection = self._stack.enter_context(chain)
        return self._connection


def _sources(config: DeviceConfig) -> tuple[KnownSource, ...]:
    """Return where bundles come from, in order."""
    directories = [KnownSource(DirectoryStore(path)) for path in config.directories]
    return (*directories, *(KnownSource(Gateway(url)) for url in config.gateways))
