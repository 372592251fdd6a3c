"""Who of several endpoints is asked first, from how each has behaved."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dpki.chain.quorum import Fault, Standing, preference


class Standings:
    """How endpoints have behaved, by their places.

    Args:
        names: What they are called in messages.
        clock: Seconds, for how long they are set aside.
    """

    def __init__(self, names: Sequence[str], clock: Callable[[], float]) -> None:
        self._names = tuple(names)
        self._clock = clock
        self._standings = [Standing()] * len(names)

    def order(self) -> list[int]:
        """Return the places in the order to ask them in: those set aside last."""
        return preference(self._standings, self._clock())

    def is_aside(self, place: int) -> bool:
        """Whether one is to be asked only when the others do not suffice."""
        return self._standings[place].is_aside(self._clock())

    def punish(self, place: int, fault: Fault) -> None:
        """Set one aside for a while."""
        self._standings[place] = self._standings[place].after(fault, self._clock())

    def forgive(self, place: int) -> None:
        """Take note of a good answer."""
        self._standings[place] = self._standings[place].forgiven(self._clock())

    def aside(self) -> tuple[str, ...]:
        """Return those that are set aside, each with the reason."""
        return tuple(
            f"{name}: {standing.fault.value}"
            for place, (name, standing) in enumerate(zip(self._names, self._standings, strict=True))
            if standing.fault is not None and self.is_aside(place)
        )
