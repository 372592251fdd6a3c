"""What a whole round of a council costs, and how long it takes: by file and one by one."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_account.messages import encode_typed_data

from dpki.chain.domain import fetch_domain
from dpki.chain.rpc import Endpoint, fetch_block
from dpki.devnet.accounts import development_wallet
from dpki.devnet.devnet import Devnet, Ipfs
from dpki.keccak import keccak
from dpki.model import Address
from dpki.transactions.calls import encode_call, encode_deployment
from dpki.transactions.deploy import deploy_domain
from dpki.transactions.sender import Sender
from dpki.transactions.wallet import KeyWallet, Wallet

SIZES = (4, 20, 50, 100)
GOAL = (100, 3_000_000)
"""A whole round of so many, relayed, may cost this much gas."""

DAY = 86_400
ROOT, APPROVE = 3, 1
PARAMETERS = (
    *((20, 5, 40), (60, 20, 90), (100, 50, 150)),
    *(1, 5, 2, 1, 180 * DAY, DAY, 0, 0, DAY, 30 * DAY),
    *(0, 0),
)
"""The presets of a devnet: nothing waits, so that the clock need not be moved."""

VOTE = [
    {"name": name, "type": kind}
    for name, kind in (
        ("round", "bytes32"),
        ("voter", "address"),
        ("choice", "uint8"),
        ("nonce", "uint8"),
        ("deadline", "uint64"),
    )
]


@dataclass(frozen=True)
class RoundFigure:
    """A whole round: gas of its steps, and seconds from the first to the last."""

    members: int
    relayed: bool
    propose: int
    votes: int
    execute: int
    seconds: float

    @property
    def gas(self) -> int:
        """All of it."""
        return self.propose + self.votes + self.execute


class _Council:
    """A council of equal roots on a fresh domain. Its rounds unname a registrar that is none."""

    def __init__(self, endpoint: Endpoint, chain_id: int, members: int) -> None:
        self._endpoint, self._chain_id = endpoint, chain_id
        anybody = development_wallet(0, chain_id=chain_id)
        self._anybody = Sender(endpoint, anybody, chain_id)
        self.members = [Wallet.create() for _ in range(members)]
        for member in self.members:
            endpoint.call("anvil_setBalance", [str(member.address), hex(10**20)])
        governor = anybody.address
        id, _ = deploy_domain(endpoint, anybody, governor=governor, chain_id=chain_id)
        domain = fetch_domain(endpoint, id)
        founders = [(str(member.address), ROOT) for member in self.members]
        code = encode_deployment("RootCouncil", str(id.address), founders, PARAMETERS)
        deployed = self._anybody.send(None, code)
        assert deployed.contract is not None
        self.address = deployed.contract
        self._anybody.send(
            id.address, encode_call("TrustDomain", "offerGovernor", str(self.address))
        )
        self._calls = [
            (str(id.address), encode_call("TrustDomain", "acceptGovernor")),
            (
                str(domain.devices),
                encode_call("DeviceRegistry", "setRegistrar", str(governor), False),
            ),
        ]
        self._salt = 0
        # It takes its role by a round, as every council; the weights move for the first time.
        self.round(relayed=True, call=0)
        endpoint.call("evm_increaseTime", [DAY])
        endpoint.call("evm_mine")

    def round(self, *, relayed: bool, call: int = 1) -> RoundFigure:
        """Propose, have everybody vote, execute."""
        self._salt += 1
        block = fetch_block(self._endpoint, "latest")
        assert block is not None
        deadline = int(block.time.timestamp()) + 7 * DAY
        proposal = (0, [self._calls[call]], deadline, self._salt.to_bytes(32))
        started = time.perf_counter()
        first = self._send(self.members[0], "propose", proposal)
        id = round_id(proposal)
        if relayed:
            votes = [self._vote(member, id, deadline) for member in self.members]
            cast = self._send(None, "relay", id, votes)
        else:
            cast = sum(self._send(member, "vote", id, APPROVE) for member in self.members)
        last = self._send(None, "execute", proposal, [])
        seconds = time.perf_counter() - started
        return RoundFigure(len(self.members), relayed, first, cast, last, seconds)

    def _send(self, member: KeyWallet | None, function: str, *arguments: Any) -> int:
        sender = self._anybody
        if member is not None:
            sender = Sender(self._endpoint, member, self._chain_id)
        return sender.send(self.address, encode_call("RootCouncil", function, *arguments)).gas_used

    def _vote(self, member: KeyWallet, id: bytes, deadline: int) -> tuple[Any, ...]:
        digest = vote_digest(self._chain_id, self.address, id, member.address, deadline)
        signature = member.sign_digest(digest)
        parts = signature.r.to_bytes(32) + signature.s.to_bytes(32) + bytes([27 + signature.v])
        return (str(member.address), APPROVE, 0, deadline, parts)


def round_id(proposal: tuple[Any, ...]) -> bytes:
    """Return a round's id: the hash of its contents' ABI encoding."""
    encoded = encode_call("RootCouncil", "roundIdOf", proposal)[4:]
    return bytes(keccak(encoded))


def vote_digest(chain_id: int, council: Address, id: bytes, voter: Address, deadline: int) -> bytes:
    """Return what a member signs to approve a round for the first time (EIP-712)."""
    signable = encode_typed_data(
        domain_data={
            "name": "dpki RootCouncil",
            "version": "1",
            "chainId": chain_id,
            "verifyingContract": str(council),
        },
        message_types={"Vote": VOTE},
        message_data={
            "round": id,
            "voter": str(voter),
            "choice": APPROVE,
            "nonce": 0,
            "deadline": deadline,
        },
    )
    return bytes(keccak(b"\x19" + signable.version + signable.header + signable.body))


def measure_rounds(sizes: Sequence[int] = SIZES) -> list[RoundFigure]:
    """Have councils of these sizes decide something, both ways, each on a fresh chain."""
    figures = []
    for members in sizes:
        with (
            tempfile.TemporaryDirectory() as folder,
            Devnet(Path(folder), ipfs=Ipfs.OFF, token=False) as devnet,
            Endpoint(devnet.state.rpc) as endpoint,
        ):
            council = _Council(endpoint, devnet.state.chain_id, members)
            figures.append(council.round(relayed=True))
            endpoint.call("evm_increaseTime", [DAY])
            figures.append(council.round(relayed=False))
    return figures


def council_section(figures: Sequence[RoundFigure]) -> list[str]:
    """Return the section of docs/benchmarks.md."""
    members, goal = GOAL
    return [
        "## Council",
        "",
        (
            "A whole round of a council of equal roots: proposed, voted on by every member,"
            " executed, settled, everybody's weight moved and written. Relayed: all votes as"
            " signatures in one transaction; direct: a transaction each, one after the other. The"
            " time is that of signing and sending to a chain that mines at once: a real chain's"
            " blocks come on top, at least three of them."
        ),
        "",
        "| members | votes | propose | votes | execute | all | at most | time |",
        "|---:|---|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {f.members} | {'relayed' if f.relayed else 'direct'} | {f.propose:,} |"
            f" {f.votes:,} | {f.execute:,} | {f.gas:,} |"
            f" {f'{goal:,}' if f.relayed and f.members == members else ''} | {f.seconds:.2f} s |"
            for f in figures
        ),
        "",
    ]


def rounds_over(figures: Sequence[RoundFigure]) -> list[str]:
    """Return what is over its goal, a sentence each."""
    members, goal = GOAL
    return [
        f"a round of {members}, relayed: {figure.gas:,} gas"
        for figure in figures
        if figure.relayed and figure.members == members and figure.gas > goal
    ]
