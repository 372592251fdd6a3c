"""What the WatchdogRegistry's events may follow from, and what they change. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dpki.audit.acts import Act, find_authority
from dpki.audit.evidence import broken, require
from dpki.audit.occurrence import Occurrence
from dpki.audit.state import Authority, BatchRecord, Book, State
from dpki.chain.layout import MAXIMUM_WATCHDOGS, Progress, Watch, Watchdog
from dpki.model import MAXIMUM_PARCELS, Address, AuthorityId, Hash32

_UINT32 = 2**32 - 1
_REASONS = 6
_NOT_A_WATCHDOG = 0
_REASON_BYTES = 256


@dataclass
class WatchdogRules:
    """Rules of the watchdogs' events.

    Attributes:
        accepted: A batch that enough confirmed, which has to be announced by the next event.
    """

    state: State
    book: Book
    accepted: tuple[AuthorityId, int] | None = None

    def apply(self, occurrence: Occurrence) -> Act | None:
        """Change the state as the event says, and return who has to have caused it.

        Raises:
            Broken: The event can't follow from the state.
        """
        handler = _HANDLERS.get(occurrence.name)
        if handler is None:
            broken("an event is one that the contract emits", "another event", occurrence.name)
        return handler(self, occurrence)

    def verify_order(self, occurrence: Occurrence) -> None:
        """Check that what enough watchdogs confirmed is announced as accepted.

        Raises:
            Broken: Something else comes first.
        """
        if self.accepted is not None:
            require(
                occurrence.name == "BatchAccepted",
                "what enough watchdogs confirmed is accepted",
                f"BatchAccepted of {self.accepted[1]}",
                occurrence.name,
            )

    def finish(self, occurrence: Occurrence) -> None:
        """Check that nothing was begun by a transaction and not finished.

        Raises:
            HistoryContradicted: Something was.
        """
        if self.accepted is not None:
            raise occurrence.contradiction(
                "what enough watchdogs confirmed is accepted",
                f"BatchAccepted of {self.accepted[1]}",
                "nothing more",
            )

    def _changed(self, event: Occurrence) -> Act:
        values, authority = event.values, find_authority(self.state, event.values)
        before, version, first = authority.watch, values["version"], values["firstSerial"]
        following = 1 if before is None else before.version + 1
        start = authority.next_serial if before is None else before.first_serial
        require(version == following, "a watch's versions follow", following, version)
        require(first == start, "what has to be confirmed begins once for all", start, first)
        watchdogs = tuple(_watchdog(one) for one in values["watchdogs"])
        total, threshold = sum(one.weight for one in watchdogs), values["threshold"]
        accounts = {one.account for one in watchdogs}
        good = all(any(d.account) and d.weight and any(d.sealing_key) for d in watchdogs)
        require(
            1 <= len(watchdogs) <= MAXIMUM_WATCHDOGS and good and len(accounts) == len(watchdogs),
            "watchdogs are accounts with weights and keys, each once",
            f"1 to {MAXIMUM_WATCHDOGS} of them",
            ", ".join(f"{one.account}:{one.weight}" for one in watchdogs),
        )
        require(
            1 <= threshold <= total <= _UINT32,
            "the threshold can be reached",
            f"1 to {total}",
            threshold,
        )
        authority.watch = Watch(version, first, threshold, total)
        authority.watchdogs = watchdogs
        return Act(event, self.state.governor, ("setWatch",), authority.id)

    def _requested(self, event: Occurrence) -> Act:
        authority, _, _ = self._watched(event)
        count = len(event.values["parcels"])
        require(
            1 <= count <= MAXIMUM_PARCELS,
            "a batch is laid out in parcels",
            f"1 to {MAXIMUM_PARCELS}",
            count,
        )
        return Act(event, authority.operator, ("requestReview",), authority.id)

    def _confirmed(self, event: Occurrence) -> None:
        authority, watch, batch = self._watched(event)
        account, weight = Address.parse(event.values["watchdog"]), event.values["weight"]
        seat = self._seat(authority, account)
        right = authority.watchdogs[seat].weight
        made, bit = _made(batch, watch), 1 << seat
        require(weight == right, "a watchdog weighs what the governor gave it", right, weight)
        require(
            not made.confirmed and not (made.confirmations | made.objections) & bit,
            "a watchdog confirms once, and not what it objected to or what is accepted",
            "a batch that it said nothing to",
            batch.first_serial,
        )
        summed = made.weight + weight
        is_enough = summed >= watch.threshold
        made = replace(
            made, confirmations=made.confirmations | bit, weight=summed, confirmed=is_enough
        )
        self.book.put_batch(replace(batch, progress=made))
        if is_enough:
            self.accepted = authority.id, batch.first_serial

    def _accepted_event(self, event: Occurrence) -> None:
        told = AuthorityId(event.values["ca"]), event.values["firstSerial"]
        require(
            told == self.accepted,
            "a batch is accepted when enough confirmed it",
            "no batch" if self.accepted is None else self.accepted[1],
            told[1],
        )
        self.accepted = None

    def _objected(self, event: Occurrence) -> Act:
        authority, watch, batch = self._watched(event)
        account, reason = Address.parse(event.values["watchdog"]), event.values["reason"]
        seat = self._seat(authority, account)
        length = len(reason.encode())
        require(
            length <= _REASON_BYTES, "a reason is short", f"at most {_REASON_BYTES} bytes", length
        )
        made, bit = _made(batch, watch), 1 << seat
        if not made.confirmed:
            require(
                not made.objections & bit,
                "a watchdog objects once",
                "a batch that it did not object to",
                batch.first_serial,
            )
            weight = made.weight
            if made.confirmations & bit:
                weight -= authority.watchdogs[seat].weight
            made = replace(
                made,
                objections=made.objections | bit,
                confirmations=made.confirmations & ~bit,
                weight=weight,
            )
            self.book.put_batch(replace(batch, progress=made))
        return Act(event, account, ("object",), authority.id)

    def _skipped(self, event: Occurrence) -> None:
        values = event.values
        authority = self.state.authorities.get(AuthorityId(values["ca"]))
        account, reason = Address.parse(values["watchdog"]), values["reason"]
        is_none = authority is None or authority.seat_of(account) is None
        require(
            reason < _REASONS and (reason == _NOT_A_WATCHDOG) is is_none,
            "a confirmation is skipped for a reason",
            "that it is no watchdog's" if is_none else "a reason that holds",
            reason,
        )

    def _watched(self, event: Occurrence) -> tuple[Authority, Watch, BatchRecord]:
        authority, first = find_authority(self.state, event.values), event.values["firstSerial"]
        watch = authority.watch
        batch = self.book.batch(authority.number, first)
        if watch is None or not watch.covers(first) or batch is None:
            broken("watchdogs look at batches that are watched", "a watched batch", first)
        return authority, watch, batch

    def _seat(self, authority: Authority, account: Address) -> int:
        seat = authority.seat_of(account)
        if seat is None:
            broken("a CA's watchdogs confirm and object, nobody else", "a watchdog", account)
        return seat


def _made(batch: BatchRecord, watch: Watch) -> Progress:
    """Return how far a batch is: what was made in part under other watchdogs is void."""
    made = batch.progress
    if made.version != watch.version and not made.confirmed:
        return Progress(watch.version, 0, 0, 0)
    return made


def _watchdog(fields: Mapping[str, Any]) -> Watchdog:
    return Watchdog(
        Address.parse(fields["account"]), fields["weight"], Hash32(fields["sealingKey"])
    )


_HANDLERS: Mapping[str, Callable[[WatchdogRules, Occurrence], Act | None]] = {
    "WatchChanged": WatchdogRules._changed,
    "ReviewRequested": WatchdogRules._requested,
    "BatchConfirmed": WatchdogRules._confirmed,
    "BatchAccepted": WatchdogRules._accepted_event,
    "BatchObjected": WatchdogRules._objected,
    "ConfirmationSkipped": WatchdogRules._skipped,
}
