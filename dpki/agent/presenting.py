"""What the drop-in is to say: the mode's settings, and the host pairs that are presented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dpki.agent import disk
from dpki.agent.decide import Plan
from dpki.agent.observation import OwnPair
from dpki.agent.record import Hold, Record, digest, load_hold
from dpki.agent.rotation import Pair, retain
from dpki.agent.sshd import (
    InstalledFiles,
    host_options,
    mode_of,
    parse_drop_in,
    render_drop_in,
    settings_for,
)
from dpki.config.device import DeviceConfig

_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Presented:
    """What the drop-in says.

    Attributes:
        settings: Its options but the host pairs'.
        own_settings: What these are unless earlier ones were brought back.
        options: All of them.
        pairs: The host pairs that stay, the best first.
        keys: Public key blobs of those that sshd presents.
        due: The chain's time when the overlap of one of them ends; None for never.
        hold: What was brought back, and still stands in for something.
    """

    settings: list[tuple[str, str]]
    own_settings: list[tuple[str, str]]
    options: list[tuple[str, str]]
    pairs: tuple[Pair, ...]
    keys: tuple[bytes, ...]
    due: datetime | None
    hold: Hold

    @property
    def text(self) -> bytes:
        """The drop-in file."""
        return render_drop_in(self.options)

    def held(self) -> tuple[str, ...]:
        """Return what was brought back, a sentence each."""
        sentences = []
        if self.hold.host is not None:
            sentences.append(
                f"host pair {self.hold.host.what} was brought back, and stands in for the newest"
            )
        if self.hold.settings is not None:
            sentences.append("the earlier settings of the drop-in were brought back")
        return tuple(sentences)


def pair_name(pair: OwnPair) -> str:
    """Return the name of a key pair's files: the first digits of the certificate's hash."""
    return pair.certificate.hash.hex()[:16]


def settings_digest(settings: Sequence[tuple[str, str]]) -> str:
    """Return what stands for these settings in a hold."""
    return digest(render_drop_in(settings)).hex()


@dataclass(frozen=True)
class Presenter:
    """Decides what one device's drop-in says."""

    config: DeviceConfig
    files: InstalledFiles
    record: Record

    def present(self, plan: Plan | None) -> Presented:
        """Return what the drop-in is to say; without a plan, by what is installed alone."""
        files, record = self.files, self.record
        there = [p for p in record.pairs if disk.read_pair(files, p.name) is not None]
        if plan is None:
            # Whoever brings something back has looked whether it still counts.
            usable, now, overlap = [p.name for p in there], _EPOCH, timedelta(days=1)
            wanted = tuple(p.name for p in there if p.superseded is None)
        else:
            now = plan.time
            usable = [hash.hex()[:16] for hash in plan.presentable]
            # Where none is to be had now, the one that is installed stays as long as it counts.
            wanted = tuple(map(pair_name, plan.hosts)) or tuple(
                p.name for p in there if p.superseded is None and p.name in usable
            )
            overlap = max(
                (p.overlap for p in plan.hosts if p.overlap is not None),
                default=self.config.sshd.overlap,
            )
        own = settings = settings_for(files, self.config)
        hold = self._still_held(load_hold(files.hold), wanted, own, usable)
        if hold.settings is not None:
            settings, _ = parse_drop_in(disk.read(files.previous) or b"")
        pairs = retain(there, wanted, usable, now, overlap)
        due = min((p.superseded + overlap for p in pairs if p.superseded is not None), default=None)
        if hold.host is not None:
            first = hold.host.what
            pairs = (
                *(p for p in there if p.name == first),
                *(p for p in pairs if p.name != first),
            )
        names, keys = self._distinct(pairs, plan)
        return Presented(
            settings=settings,
            own_settings=own,
            options=[*settings, *host_options(files, names)],
            pairs=pairs,
            keys=keys,
            due=due,
            hold=hold,
        )

    def _still_held(
        self,
        hold: Hold,
        wanted: tuple[str, ...],
        settings: list[tuple[str, str]],
        usable: Sequence[str],
    ) -> Hold:
        """Return what is still held; what it stood in for has changed otherwise."""
        host, earlier = hold.host, hold.settings
        if host is not None and (
            host.against != wanted
            or host.what not in usable
            or disk.read_pair(self.files, host.what) is None
        ):
            host = None
        if earlier is not None:
            previous = disk.read(self.files.previous)
            if (
                previous is None
                or earlier.what != digest(previous).hex()
                or earlier.against != (settings_digest(settings),)
                or mode_of(parse_drop_in(previous)[0]) is not self.config.sshd.mode
            ):
                earlier = None
        return Hold(host, earlier)

    def _distinct(
        self, pairs: Sequence[Pair], plan: Plan | None
    ) -> tuple[list[str], tuple[bytes, ...]]:
        """Return which pairs sshd can present, and their keys: of pairs with one key, the best."""
        coming = {} if plan is None else {pair_name(p): p.certificate for p in plan.hosts}
        found: dict[bytes, str] = {}
        for pair in pairs:
            certificate = coming.get(pair.name) or disk.read_pair(self.files, pair.name)
            if certificate is not None:
                found.setdefault(certificate.subject_key, pair.name)
        return list(found.values()), tuple(found)
