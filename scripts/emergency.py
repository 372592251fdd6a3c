"""Who acts on the worst day: a council, several devices, people, and a thief with everything."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dpki.config.admin import Home, create_admin_config, load_admin_config
from dpki.devnet.accounts import development_wallet
from dpki.devnet.anvil import CHAIN_ID
from dpki.signer.pin import pin_from_file
from dpki.transactions.wallet import create_keystore
from scripts.gate import Gate
from scripts.players import Story, require
from scripts.stage import Client
from scripts.story import Step

ROOTS = ("root-1", "root-2", "root-3")
DEPUTIES = ("deputy-1", "deputy-2")
"""Members of role intermediate."""
MEMBERS = ROOTS + DEPUTIES
MONEY = hex(10**20)
"""What an account that was made here gets, in wei."""
KEYSTORE_WORK = 2**12
"""scrypt's work for development accounts: everybody knows their keys, so guessing gains nothing."""


@dataclass(frozen=True)
class Part:
    """What one part of the day took.

    Attributes:
        seconds: From its beginning to its end, waiting for people not counted: there are none.
        transactions: How many are on the chain because of it.
        gas: What they used, all together.
    """

    name: str
    title: str
    seconds: float
    transactions: int
    gas: int


@dataclass
class WorstDay(Story):
    """The state that the steps hand on.

    Attributes:
        devices: How many there are.
        people: How many log in to them.
        standby: Whether the CA's successor is registered before anything happens.
        parts: What each part took.
        moments: Seconds from the theft to what matters.
    """

    devices: int = 3
    people: int = 3
    standby: bool = False
    gates: list[Gate] = field(default_factory=list)
    council: str = ""
    successor: str = ""
    spare: str = ""
    parts: list[Part] = field(default_factory=list)
    moments: dict[str, float] = field(default_factory=dict)
    stolen_at: float = 0.0
    _first_root: str = ""
    _counted: int = -1

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [f"gate-{number}" for number in range(2, self.devices + 1)]
        self.gates = [self.gate, *(Gate(self.stage, name) for name in names)]

    # --- where things are -----------------------------------------------------------------------

    @property
    def authority_key(self) -> Path:
        """The user CA's key: in a file, so that it can be stolen."""
        return self.home / "users.pem"

    @property
    def backup(self) -> Path:
        """The administrator's backup."""
        return self.stage.directory / "admin.backup"

    @property
    def recovery(self) -> Path:
        """The home of the machine that takes over: restored from the backup."""
        return self.stage.directory / "recovery"

    def crew(self) -> list[Path]:
        """Return the keys of the people who log in."""
        return [self.laptop / f"person-{number}" for number in range(1, self.people + 1)]

    def token_key(self, label: str) -> str:
        """Return the reference of a key in the token."""
        return f"pkcs11:token={self.configuration()['token']['label']};object={label}"

    # --- the council ----------------------------------------------------------------------------

    def seat(self, name: str) -> Path:
        """Return a member's home."""
        return self.stage.directory / name

    def account(self, name: str) -> str:
        """Return a member's account."""
        return str(_wallet(name).address) if name != ROOTS[0] else self._first_root

    def furnish(self, name: str) -> None:
        """Give a member a home and a wallet: the first root's key is in the token."""
        config, home = load_admin_config(Home(self.home)), Home(self.seat(name))
        passphrase = self.stage.directory / f"{name}.passphrase"
        passphrase.touch(0o600)
        passphrase.write_text(secrets.token_urlsafe(24))
        create_admin_config(home, replace(config, passphrase=f"file:{passphrase}", keys={}))
        if name == ROOTS[0]:
            self._first_root = self.make_account(self.seat(name), name)
            return
        create_keystore(
            home.keystore, pin_from_file(passphrase), wallet=_wallet(name), work=KEYSTORE_WORK
        )

    def make_account(self, home: Path, label: str) -> str:
        """Make a wallet's key in the token, for this home to use; return its account, funded."""
        account = str(self.at(home, "wallet", "create", label)["account"])
        self.stage.rpc(self.rpc, "anvil_setBalance", account, MONEY)
        return account

    def member(self, name: str, *arguments: str | Path, expect: int | None = 0) -> dict[str, Any]:
        """Run `dpki` as a member of the council."""
        return self.at(self.seat(name), *arguments, expect=expect)

    def decide(self, identifier: str, proposer: str, *voters: str) -> dict[str, Any]:
        """Have members sign their approval without any network, and one bring all and execute.

        The proposer, who approved by proposing, sends the round around in a file.
        """
        file = self.seat(proposer) / f"{identifier[2:12]}.round"
        self.member(proposer, "council", "show", identifier, "--out", file)
        brought: list[str | Path] = []
        for name in voters:
            vote = self.seat(name) / f"{file.stem}.vote"
            self.member(name, "council", "sign", file, "--approve", "--out", vote)
            brought += ["--relay", vote]
        return self.member(proposer, "council", "execute", identifier, *brought)

    def pending(self, document: dict[str, Any]) -> str:
        """Return the id of the round that a command has opened."""
        waits = document.get("pending")
        require(isinstance(waits, dict), f"no round was opened: {document}")
        assert isinstance(waits, dict)
        return str(waits["id"])

    # --- devices, people, the thief -------------------------------------------------------------

    def agents(self, *, expect: int | None = 0) -> None:
        """Run every device's agent once."""
        for gate in self.gates:
            gate.agent_once(expect=expect)

    def at_gate(self, key: Path, gate: Gate) -> Client:
        """Return somebody who logs in to this device, with the certificate beside the key."""
        return replace(self.engineer(key), name=gate.host)

    def expect_everywhere(self, key: Path) -> None:
        """Fail unless this one gets in everywhere."""
        for gate in self.gates:
            self.expect_login(self.at_gate(key, gate), server=gate.server)

    def expect_nowhere(self, key: Path, because: str) -> None:
        """Fail unless this one is kept out everywhere, for the reason told."""
        for gate in self.gates:
            self.expect_no_login(self.at_gate(key, gate), because, server=gate.server)

    def forge(self, key: Path, ca: str) -> dict[str, Any]:
        """Have the thief sign a certificate for a key with the stolen CA key, and anchor it.

        Returns:
            Whether it is anchored, and what the chain said where it is not.
        """
        return self.theft("both", self.thief / "ca.pem", ca, key)

    # --- what it took ---------------------------------------------------------------------------

    def now(self) -> float:
        """Return the seconds since the theft."""
        return time.monotonic() - self.stolen_at

    def account_for(self, step: Step[Any], seconds: float) -> None:
        """Note what a step took, by the receipts of all blocks since the last one."""
        if not self.rpc:  # the first steps, before anybody knows where the chain is
            return
        head = int(self.stage.rpc(self.rpc, "eth_blockNumber"), 16)
        gas = [
            int(self.stage.rpc(self.rpc, "eth_getTransactionReceipt", sent)["gasUsed"], 16)
            for number in range(self._counted + 1, head + 1)
            for sent in self.stage.rpc(self.rpc, "eth_getBlockByNumber", hex(number), False)[
                "transactions"
            ]
        ]
        self._counted = head
        self.parts.append(Part(step.name, step.title, seconds, len(gas), sum(gas)))


def _wallet(name: str) -> Any:
    return development_wallet(MEMBERS.index(name) + 1, chain_id=CHAIN_ID)
