"""Whether sshd enforces what its drop-in says: asked at each change, and now and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from dpki.agent import disk
from dpki.agent.drift import Fingerprint, config_files, fingerprint
from dpki.agent.sshd import check_candidate, render_drop_in, verify_effective
from dpki.config.sshd import Sshd
from dpki.errors import ConfigError, ServiceFailed
from dpki.files import PUBLIC, translated, write_atomic, written_beside

RECHECK = timedelta(minutes=10)
"""How long sshd's answer is believed while no file that it reads was touched."""


class Enforcement:
    """What one sshd says is in force, and since when that is known.

    Args:
        accounts: Whom it is asked about.
        clock: Seconds that only grow.
    """

    def __init__(self, sshd: Sshd, accounts: frozenset[str], clock: Callable[[], float]) -> None:
        self.accounts = accounts
        self._sshd = sshd
        self._clock = clock
        self._known: tuple[Fingerprint, float, tuple[str, ...]] | None = None

    @property
    def is_due(self) -> bool:
        """Whether sshd's last answer is too old to go by."""
        known = self._known
        return known is None or self._clock() - known[1] >= RECHECK.total_seconds()

    def look(self) -> Fingerprint:
        """Return what changes when somebody touches sshd, or what it reads."""
        return fingerprint([*config_files(self._sshd.config), self._sshd.binary])

    def replace_drop_in(self, options: Sequence[tuple[str, str]], beside: Path) -> None:
        """Replace the drop-in, and bring the old one back if the new one does not take effect.

        The old one is written beside it before: taking it back then needs no room on a disk that
        may have become full.

        Args:
            beside: A file of the agent's own; beside it the candidate lies while it is checked.

        Raises:
            ConfigError: Something else is in force; the earlier one is back.
            DpkiError: It could not be written, or sshd refuses it; likewise.
        """
        sshd, text = self._sshd, render_drop_in(options)
        path = sshd.drop_in
        check_candidate(sshd.binary, sshd.config, text, beside)
        before = disk.read(path)
        with translated(path):
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with written_beside(path, before or b"", mode=PUBLIC) as earlier:
            try:
                write_atomic(path, text, mode=PUBLIC)
                verify_effective(sshd.binary, sshd.config, options, self.accounts)
            except BaseException:
                with translated(path, "look at it, and restart sshd only when it is right"):
                    if before is None:
                        path.unlink(missing_ok=True)
                    else:
                        earlier.replace(path)
                raise
        self._known = (self.look(), self._clock(), ())

    def drift(self, options: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        """Return what sshd does not enforce; asks it only when a file was touched, or it is due."""
        sshd, seen = self._sshd, self.look()
        if self._known is None or self._known[0] != seen or self.is_due:
            drift = []
            for account in sorted(self.accounts):
                try:
                    verify_effective(sshd.binary, sshd.config, options, [account])
                except (ConfigError, ServiceFailed) as error:
                    drift.append(f"{error.message}; {error.hint}" if error.hint else error.message)
            self._known = (seen, self._clock(), tuple(dict.fromkeys(drift)))
        return self._known[2]
