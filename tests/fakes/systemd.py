"""systemd as far as it is asked: it runs what is enabled, and refuses what it does not know."""

from __future__ import annotations

from pathlib import Path

from dpki.errors import ServiceFailed


class FakeSystemd:
    """Knows the units below one root, as of the last time that it read them.

    Attributes:
        done: What it was asked for, in order.
        running: Units that run, and are started at boot.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root
        self.done: list[str] = []
        self.running: set[str] = set()
        self._units: set[str] = set()

    def reload_units(self) -> None:
        self.done.append("reload units")
        folder = None if self.root is None else self.root / "etc/systemd/system"
        self._units = set() if folder is None else {path.name for path in folder.glob("*.service")}

    def is_in_service(self, unit: str) -> bool:
        return unit in self.running

    def enable(self, unit: str) -> None:
        self.done.append(f"enable {unit}")
        self._verify_known(unit)
        self.running.add(unit)

    def disable(self, unit: str) -> None:
        self.done.append(f"disable {unit}")
        self._verify_known(unit)
        self.running.discard(unit)

    def reload(self, unit: str) -> None:
        self.done.append(f"reload {unit}")

    def _verify_known(self, unit: str) -> None:
        if unit not in self._units:
            raise ServiceFailed(f"Unit {unit} does not exist")
