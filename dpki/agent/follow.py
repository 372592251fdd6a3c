"""Following one trust domain: a connection that lasts, and looks through it."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from dpki.agent.client_files import ClientFiles
from dpki.agent.kept import Kept, load_kept, save_kept
from dpki.agent.memory import with_memory
from dpki.agent.observation import ClientPair, HostPair, Observation
from dpki.agent.observe import observe
from dpki.agent.opened import OpenedBundles
from dpki.agent.opener import FETCH_BUDGET, FETCH_DEADLINE
from dpki.agent.presenting import pair_name
from dpki.agent.schedule import Thoroughness
from dpki.agent.sources import Conduct, KnownSource, Pantry
from dpki.agent.sshd import InstalledFiles
from dpki.agent.state import open_state
from dpki.agent.witnessed import ARCHIVE, Vouching
from dpki.certificates.ssh import parse_ssh_certificate
from dpki.chain.connect import Connection, connect_agreed
from dpki.chain.quorum import Evidence
from dpki.chain.snapshot import Snapshot
from dpki.chain.standings import FILE, StandingsFile
from dpki.config.device import FIRST, DeviceConfig
from dpki.devices.keys import DeviceKeys, load_device_keys
from dpki.errors import CouldNotCheck
from dpki.files import make_private_directory
from dpki.store.directory import DirectoryStore
from dpki.store.gateway import Gateway
from dpki.verification.verdict import Finding, Verdict

_Pair = TypeVar("_Pair", HostPair, ClientPair)

KEYS = "keys"
DOMAINS = "domains"
BUNDLES = "bundles"

SEARCH = timedelta(hours=1)
"""How seldom to search the whole chain for a host certificate that is missing."""


def folder_of(directory: Path, name: str) -> Path:
    """Return where the agent remembers what it must of one trust domain.

    Args:
        directory: The agent's folder.
        name: What the domain is called on this device.
    """
    return directory if name == FIRST else directory / DOMAINS / name


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
        beside: Whether bundles are fetched beside the looks, by `fetch`, and not within.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        name: str,
        config: DeviceConfig,
        directory: Path,
        *,
        beside: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.config = config
        self.directory = folder_of(directory, name)
        self._key_folder = directory / KEYS
        self._keys: tuple[object, DeviceKeys] | None = None
        self._sources = _sources(config)
        self._pantry = Pantry(self._sources) if beside else None
        self._stack = ExitStack()
        self._connection: Connection | None = None
        self._observed: Observation | None = None
        self._before: Observation | None = None
        self._clock = clock
        self._vouching = (
            None
            if config.witnesses is None
            else Vouching(config.witnesses, config.domain, config.rpc, self.directory / ARCHIVE)
        )
        self._thorough = Thoroughness()
        self._searched = -math.inf

    def look(self, now: datetime) -> Seen:
        """Look at chain and stores.

        Raises:
            CouldNotCheck: The chain could not be read.
            DpkiError: What was seen could not be remembered.
        """
        try:
            keys = self._load_keys()
            if self._pantry is not None:
                self._pantry.begin()
            make_private_directory(self.directory)
            earlier = self._earlier()
            started = self._clock()
            search = started >= self._searched + SEARCH.total_seconds()
            is_served = self._pantry is not None and self._pantry.serves
            is_anew = search or is_served or started >= self._thorough.due
            observed = None if is_anew else self._observed
            with open_state(self.directory) as state:

                def observe_by(chain: Connection, config: DeviceConfig) -> Observation:
                    self._observed = observe(
                        chain.reader,
                        chain.domain,
                        config,
                        keys,
                        self._sources if self._pantry is None else [self._pantry],
                        state,
                        OpenedBundles(self.directory / BUNDLES, self._key_folder),
                        now,
                        before=observed,
                        search=search,
                    )
                    return self._observed

                if self._vouching is None:
                    chain = self._connect()
                    observation, evidence = observe_by(chain, self.config), chain.evidence()
                else:
                    observation, evidence = self._vouching.observe(
                        self.config,
                        keys.address,
                        self._connect,
                        observe_by,
                        state,
                        earlier,
                        now,
                    )
            if search:
                self._searched = started
            seen = Seen(observation, evidence, now, self._conduct())
            self._before = observation
            if not observation.is_reused:
                self._note_anew(started)
                save_kept(self.directory, Kept.of(observation, seen.evidence, now))
            return seen
        except CouldNotCheck:
            raise  # the connection knows whom to ask next
        except BaseException:
            self.close()
            raise

    def _note_anew(self, started: float) -> None:
        """Note that a look found out everything anew."""
        is_well = self._observed is not None and not self._observed.problems
        self._thorough = self._thorough.looked(started, random.random(), is_well=is_well)
        if self._pantry is not None:
            self._pantry.end()

    @property
    def wants(self) -> bool:
        """Whether a bundle is to be fetched beside the looks."""
        return self._pantry is not None and self._pantry.wants

    def fetch(self) -> bool:
        """Fetch a bundle that the last look found wanting; return whether one came.

        In a thread of its own: a gateway may take its time.
        """
        return self._pantry is not None and self._pantry.stock(FETCH_BUDGET, FETCH_DEADLINE)

    def recall(self) -> Seen | None:
        """Return what was seen before this process began; None where there is nothing.

        Raises:
            DpkiError: It can't be read.
        """
        kept = load_kept(self.directory, self.config.domain)
        if kept is None:
            return None
        with open_state(self.directory) as state:
            snapshot = with_memory(kept.snapshot, state.memory())
            confirmed = snapshot.block.number - self.config.chain.confirmations + 1
            known = tuple(k for k in state.known() if k.block <= confirmed)
        keys = self._load_keys()
        host = client = None
        if kept.host is not None:
            files = InstalledFiles(self.config.sshd.directory)
            host = _recalled(HostPair, kept.host, snapshot, keys.host_key_for, files.host_key)
        if kept.client is not None and self.config.outbound is not None:
            at = ClientFiles(self.config.outbound.directory)
            client = _recalled(ClientPair, kept.client, snapshot, keys.user_key_for, at.key)
        observation = Observation(
            snapshot,
            kept.finalized,
            known,
            host,
            (),
            kept.unconfirmed,
            kept.waiting,
            client=client,
        )
        return Seen(observation, kept.evidence, kept.at)

    def close(self) -> None:
        """Let go of the connections; another look makes new ones."""
        self._connection = None
        self._stack.close()
        if self._vouching is not None:
            self._vouching.close()

    def _earlier(self) -> Observation | None:
        """Return what stays where witnesses don't say enough: what was seen before."""
        if self._before is not None or self._vouching is None:
            return self._before
        recalled = self.recall()
        return None if recalled is None else recalled.observation

    def _load_keys(self) -> DeviceKeys:
        """Return the device's keys: one may have been added, or erased, since the last look."""
        files = [self._key_folder, *sorted(self._key_folder.rglob("*"))]
        found = [(str(file), _stamp(file)) for file in files]
        if self._keys is None or self._keys[0] != found:
            self._keys = found, load_device_keys(self._key_folder)
            self._observed = None
        return self._keys[1]

    def _conduct(self) -> dict[str, Conduct]:
        return {source.name: source.conduct for source in self._sources}

    def _connect(self) -> Connection:
        if self._connection is None:
            config = self.config
            file = StandingsFile(self.directory / FILE)
            chain = connect_agreed(config.rpc, config.domain, config.quorum, file)
            self._connection = self._stack.enter_context(chain)
        return self._connection


def _recalled(
    sort: type[_Pair],
    blob: bytes,
    snapshot: Snapshot,
    find: Callable[[bytes], bytes | None],
    place: Callable[[str], Path],
) -> _Pair | None:
    """Return the key pair that was good, as far as it still is and its key is here.

    Args:
        find: Returns the device's own private key.
        place: Returns where one that came in a bundle is installed, by the pair's name.
    """
    certificate = parse_ssh_certificate(blob)
    authority = snapshot.authorities.get(certificate.authority_id)
    is_good = (
        authority is not None
        and authority.state.is_trusted
        and not authority.is_revoked(certificate.serial)
    )
    if not is_good:
        return None
    finding = Finding(Verdict.VALID, "it was when it was last judged")
    own = find(certificate.subject_key)
    pair = sort(certificate, own or b"", finding)
    if own is not None:
        return pair
    try:
        # It came in a bundle, and lies where it is used.
        return sort(certificate, place(pair_name(pair)).read_bytes(), finding)
    except OSError:
        return None


def _stamp(file: Path) -> tuple[int, int] | None:
    """Return what changes when somebody replaces the file."""
    try:
        found = file.stat()
    except OSError:
        return None  # gone since; loading says what it thinks of that
    return found.st_ino, found.st_mtime_ns


def _sources(config: DeviceConfig) -> tuple[KnownSource, ...]:
    """Return where bundles come from, in order."""
    directories = [KnownSource(DirectoryStore(path)) for path in config.directories]
    return (*directories, *(KnownSource(Gateway(url)) for url in config.gateways))
