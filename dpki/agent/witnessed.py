"""An agent that lets nothing in but what witnesses have seen, too (claim T4).

What is new counts only at a block that enough witnesses signed, its state proven against that
block's hash: the same observation is made, with that block for the newest. Beside endpoints that
must agree, these have to agree on that block's hash as well, and what they show at their newest
block is taken away on top; instead of them, it is that block or nothing. Where there is none such,
what was let in earlier stays, less what is taken away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from dpki.agent.memory import Memory, remember_removals, verify_floor, with_memory
from dpki.agent.observation import ClientPair, HostPair, Observation
from dpki.agent.state import AgentState
from dpki.chain.authority import Authority
from dpki.chain.connect import Connection
from dpki.chain.quorum import Evidence
from dpki.chain.rpc import Reader, fetch_block
from dpki.chain.snapshot import DeviceRecord, Snapshot, extend_snapshot, fetch_snapshot
from dpki.config.device import DeviceConfig
from dpki.config.finality import Finality
from dpki.config.witnesses import Mode, Witnesses
from dpki.errors import CouldNotCheck, DpkiError
from dpki.model import Address, AuthorityId, DeviceState, DomainId
from dpki.verification.checkpoint import Checkpoint
from dpki.witness.archive import Archive
from dpki.witness.connect import connect_signed
from dpki.witness.gather import gather

_Pair = TypeVar("_Pair", HostPair, ClientPair)

ARCHIVE = "witnesses"
"""The folder, in the agent's, of what witnesses said."""

AS_SIGNED = Finality(confirmations=1, authority_finality="latest")
"""Witnesses sign blocks that are final: at such a one nothing has to wait any more."""

ASK_AGAIN = timedelta(minutes=1)
"""How long what witnesses said need not be asked for again."""

PATIENCE = timedelta(seconds=2)
"""How long slow witnesses hold up what enough others say."""


@dataclass(frozen=True)
class Heard:
    """What witnesses said.

    Attributes:
        checkpoint: The newest that enough of them signed; None where there is none.
        problems: What is not as it should be, a sentence each.
    """

    checkpoint: Checkpoint | None
    problems: tuple[str, ...] = ()


def hear(witnesses: Witnesses, domain: DomainId, folder: Path) -> Heard:
    """Ask the witnesses; whatever they do, it costs a bounded time and nothing else.

    Args:
        folder: Where what they say is kept.
    """
    try:
        said = gather(
            witnesses.named, domain, Archive(folder), needed=witnesses.needed, patience=PATIENCE
        )
    except DpkiError as error:
        return Heard(None, (f"witnesses: {error.message}",))
    problems = [
        f"{proof}, and counts no more; the proof is in {folder}" for proof in said.equivocations
    ]
    try:
        return Heard(said.required(witnesses), tuple(problems))
    except CouldNotCheck as error:
        return Heard(None, (*problems, error.message))


class Vouching:
    """The witnesses of one domain, and a connection that reads what they signed.

    Args:
        rpc: Endpoints, any of which may serve the state.
        folder: Where what the witnesses say is kept.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        witnesses: Witnesses,
        domain: DomainId,
        rpc: tuple[str, ...],
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.witnesses = witnesses
        self._domain = domain
        self._rpc = rpc
        self._folder = folder
        self._clock = clock
        self._heard: tuple[Heard, float] | None = None
        self._stack = ExitStack()
        self._connected: tuple[Checkpoint, Connection] | None = None

    def hear(self) -> Heard:
        """Return what the witnesses said, at most a minute ago."""
        if self._heard is None or self._clock() >= self._heard[1] + ASK_AGAIN.total_seconds():
            self._heard = (hear(self.witnesses, self._domain, self._folder), self._clock())
        return self._heard[0]

    def connect(self, checkpoint: Checkpoint) -> Connection:
        """Return what reads the domain at the block of a checkpoint.

        Raises:
            WrongDomain: No endpoint holds the domain.
            CouldNotCheck: No endpoint has the block, or shows the domain.
        """
        if self._connected is None or self._connected[0] != checkpoint:
            self.close()
            connection = connect_signed(self._rpc, checkpoint, self.said(checkpoint))
            self._connected = (checkpoint, self._stack.enter_context(connection))
        return self._connected[1]

    def observe(
        self,
        config: DeviceConfig,
        device: Address,
        connect: Callable[[], Connection],
        observe_by: Callable[[Connection, DeviceConfig], Observation],
        state: AgentState,
        before: Observation | None,
        now: datetime,
    ) -> tuple[Observation, Evidence]:
        """Return what is known with the witnesses' word, and what stands behind it.

        Args:
            connect: Returns the connection to endpoints that must agree.
            observe_by: Observes by a connection.
            before: What was observed last; None where nothing was.

        Raises:
            CouldNotCheck: Nothing new counts, and nothing could be taken away either.
        """
        heard = self.hear()

        def observe_signed(checkpoint: Checkpoint) -> Observation:
            is_good = False
            try:
                seen = observe_by(self.connect(checkpoint), replace(config, chain=AS_SIGNED))
                is_good = seen.is_reused or not seen.problems
                return seen
            finally:
                if not is_good:
                    # Another endpoint may do better, and is asked first next time.
                    self.close()

        if self.witnesses.mode is Mode.INSTEAD:
            checkpoint = _required(heard)
            evidence = self.connect(checkpoint).evidence
            seen = observe_signed(checkpoint)
            return replace(seen, problems=(*heard.problems, *seen.problems)), evidence()
        chain = connect()
        devices = [device, *state.holders()]
        head = fetch_snapshot(chain.reader, chain.domain, devices=devices)
        memory = state.memory()
        verify_floor(memory, head)
        memory = remember_removals(memory, head, now)
        with state.transaction():
            state.save_memory(memory)
        oldest = now - config.access.maximum_age
        seen = observe_beside(heard, chain.reader, head, memory, observe_signed, before, oldest)
        return seen, replace(chain.evidence(), signed=self.said(heard.checkpoint))

    def said(self, checkpoint: Checkpoint | None) -> str:
        """Return in words who signed what."""
        if checkpoint is None:
            return f"no block that {self.witnesses} signed"
        return self.witnesses.signed(checkpoint.number)

    def close(self) -> None:
        """Let go of the connection; the next may begin with another endpoint."""
        self._connected = None
        self._stack.close()


def observe_beside(
    heard: Heard,
    reader: Reader,
    head: Snapshot,
    memory: Memory,
    observe_signed: Callable[[Checkpoint], Observation],
    before: Observation | None,
    oldest: datetime,
) -> Observation:
    """Return what is known: new things as of the witnesses' block, removals as of the newest.

    Args:
        reader: Endpoints that must agree.
        head: The domain at their newest block.
        memory: All that was ever seen revoked, then included.
        observe_signed: Observes at the block of a checkpoint.
        before: What was observed last; None where nothing was.
        oldest: A witnesses' block from before that is reported.

    Raises:
        CouldNotCheck: Nothing new counts, and nothing was observed before.
    """
    problems = list(heard.problems)
    try:
        seen = observe_signed(verify_agreed(heard, reader))
    except CouldNotCheck as error:
        if before is None:
            raise
        problems += [error.message] if heard.checkpoint is not None else []
        problems.append("nothing new counts until witnesses and endpoints agree on a block")
        return take_away(replace(before, problems=tuple(problems), is_reused=True), head, memory)
    signed = seen.snapshot.block
    if signed.time < oldest:
        problems.append(
            f"the newest block that witnesses signed is of {signed.time}, older than allowed:"
            " nothing newer counts"
        )
    problems += seen.problems
    # With the devices whose certificates were only just read.
    head = extend_snapshot(reader, head, devices=seen.snapshot.devices)
    return take_away(replace(seen, problems=tuple(problems)), head, memory)


def verify_agreed(heard: Heard, reader: Reader) -> Checkpoint:
    """Return the checkpoint that was heard, if the endpoints agree on its block.

    Raises:
        CouldNotCheck: They don't, or there is none.
    """
    checkpoint = _required(heard)
    block = fetch_block(reader, checkpoint.number)
    if block is None:
        raise CouldNotCheck(
            f"{reader.name} has no block {checkpoint.number}, which witnesses signed",
            hint="wait for it, or ask other RPC endpoints",
        )
    if block.hash != checkpoint.block_hash:
        raise CouldNotCheck(
            f"witnesses and endpoints disagree: block {checkpoint.number} is"
            f" {checkpoint.block_hash} to the witnesses, and {block.hash} to {reader.name}",
            hint="one side is on a fork or lying: `dpki audit confirm`, with other endpoints and"
            " other witnesses, tells which",
        )
    return checkpoint


def _required(heard: Heard) -> Checkpoint:
    if heard.checkpoint is None:
        raise CouldNotCheck(
            "; ".join(heard.problems), hint="wait for the witnesses, or name more of them"
        )
    return heard.checkpoint


def take_away(seen: Observation, head: Snapshot, memory: Memory) -> Observation:
    """Return the observation less what the newest block takes away.

    Args:
        head: The domain at that block.
        memory: All that was ever seen revoked there.
    """
    remembered = with_memory(seen.snapshot, memory)
    authorities = {
        id: _less(authority, head.authorities.get(id))
        for id, authority in remembered.authorities.items()
    }
    devices = {
        address: _less_device(record, head.devices.get(address))
        for address, record in remembered.devices.items()
    }
    snapshot = replace(remembered, block=head.block, authorities=authorities, devices=devices)
    return replace(
        seen,
        snapshot=snapshot,
        host=_still(seen.host, authorities),
        client=_still(seen.client, authorities),
    )


def _less(authority: Authority, newest: Authority | None) -> Authority:
    """Return the CA; suspended, closed or retired where the newest block says so."""
    if newest is None or newest.state.is_trusted:
        return authority
    return replace(authority, state=newest.state)


def _less_device(record: DeviceRecord, newest: DeviceRecord | None) -> DeviceRecord:
    """Return the device; retired where the newest block says so."""
    if newest is None or newest.state is DeviceState.ACTIVE:
        return record
    return replace(record, state=newest.state)


def _still(pair: _Pair | None, authorities: Mapping[AuthorityId, Authority]) -> _Pair | None:
    """Return the key pair, where nothing took it away."""
    if pair is None:
        return None
    certificate = pair.certificate
    authority = authorities.get(certificate.authority_id)
    if (
        authority is None
        or not authority.state.is_trusted
        or authority.is_revoked(certificate.serial)
    ):
        return None
    return pair
