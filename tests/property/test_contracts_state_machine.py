"""The real contracts on a real Anvil against the model in contract_model.py.

Hypothesis makes up sequences of calls by rightful and wrong callers. The model says which succeed
and with which error the others revert; after each call everything that can be read from the chain
equals the model, and the chain's own history keeps the promises in docs/contracts.md.

DPKI_STATE_MACHINE_EXAMPLES and DPKI_STATE_MACHINE_STEPS make it search longer.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from eth_abi.abi import decode, encode
from eth_hash.auto import keccak
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.contracts import reference
from tests.property import contract_model as model
from tests.property.contract_model import NOBODY, ZERO, Certificate, Refused, Signed

EXAMPLES = int(os.environ.get("DPKI_STATE_MACHINE_EXAMPLES", "25"))
STEPS = int(os.environ.get("DPKI_STATE_MACHINE_STEPS", "60"))

#: Few of everything, so that calls meet.
ACTORS = 6
DEVICES = 3
KEYS = tuple(bytes([n]) * 44 for n in range(1, 4))
CAS = tuple(hashlib.sha256(key).digest() for key in KEYS)
WORDS = 3
FOREVER = 2**256 - 1
FAR_AWAY = 2**96 - 1


class Reverted(Exception):
    """A call reverted, with the error of this name."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


@dataclass
class Contract:
    """One deployed contract: its address and how its functions are encoded."""

    address: str
    functions: dict[str, tuple[bytes, list[str], list[str]]]

    @classmethod
    def of(cls, instance: Any) -> Contract:
        functions = {}
        for method in [
            *instance.contract_type.view_methods,
            *instance.contract_type.mutable_methods,
        ]:
            selector = keccak(method.selector.encode())[:4]
            inputs = [part.canonical_type for part in method.inputs]
            outputs = [part.canonical_type for part in method.outputs]
            functions[method.name] = (selector, inputs, outputs)
        return cls(str(instance.address), functions)

    def data(self, function: str, arguments: Sequence[Any]) -> str:
        selector, inputs, _ = self.functions[function]
        return "0x" + (selector + encode(inputs, list(arguments))).hex()


@dataclass
class Chain:
    """The contracts over bare JSON-RPC: a call costs about a millisecond."""

    url: str
    chain_id: int
    parts: dict[str, Contract]
    errors: dict[str, str]
    actors: list[str]
    device_keys: dict[str, str]
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60))

    def request(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = self.client.post(self.url, json=body).json()
        if "error" in answer:
            data = answer["error"].get("data")
            assert isinstance(data, str), answer
            raise Reverted(self.errors[data[:10]])
        return answer["result"]

    def send(self, caller: str, part: str, function: str, *arguments: Any) -> list[dict[str, Any]]:
        """Send a transaction and return its logs, or raise `Reverted`."""
        contract = self.parts[part]
        data = contract.data(function, arguments)
        sent = self.request(
            "eth_sendTransaction", {"from": caller, "to": contract.address, "data": data}
        )
        receipt = self.request("eth_getTransactionReceipt", sent)
        assert receipt["status"] == "0x1"
        logs: list[dict[str, Any]] = receipt["logs"]
        return logs

    def read(self, calls: Sequence[tuple[str, str, tuple[Any, ...]]]) -> list[Any]:
        """Return what many views answer, asked all at once."""
        body = [
            {
                "jsonrpc": "2.0",
                "id": number,
                "method": "eth_call",
                "params": [
                    {
                        "to": self.parts[part].address,
                        "data": self.parts[part].data(function, arguments),
                    },
                    "latest",
                ],
            }
            for number, (part, function, arguments) in enumerate(calls)
        ]
        answers = {a["id"]: a["result"] for a in self.client.post(self.url, json=body).json()}
        values = []
        for number, (part, function, _) in enumerate(calls):
            outputs = self.parts[part].functions[function][2]
            decoded = decode(outputs, bytes.fromhex(answers[number][2:]))
            values.append(decoded[0] if len(outputs) == 1 else decoded)
        return values

    @property
    def now(self) -> int:
        return int(self.request("eth_getBlockByNumber", "latest", False)["timestamp"], 16)


@dataclass
class View:
    """Everything that the contracts say of themselves at one block."""

    roles: tuple[str, str, str]
    registered: tuple[bytes, ...]
    authorities: dict[bytes, tuple[Any, ...]]
    issuers: dict[bytes, tuple[Any, ...]]
    watermarks: dict[bytes, int]
    words: dict[bytes, tuple[int, ...]]
    commitments: dict[tuple[bytes, int], bytes]
    revokers: set[tuple[bytes, str]]
    devices: dict[str, tuple[Any, ...]]
    registrars: set[str]

    @property
    def revoked(self) -> set[tuple[bytes, int]]:
        found = set()
        for ca, words in self.words.items():
            serials = range(1, self.issuers[ca][1])
            below = self.watermarks[ca]
            found |= {(ca, s) for s in serials if s < below or words[s >> 8] >> (s & 255) & 1}
        return found


def look(chain: Chain, highest: dict[bytes, int]) -> View:
    """Read everything; of commitments those that begin up to one past `highest`."""
    calls: list[tuple[str, str, tuple[Any, ...]]] = []
    keys: list[tuple[Any, ...]] = []

    def ask(key: tuple[Any, ...], part: str, function: str, *arguments: Any) -> None:
        keys.append(key)
        calls.append((part, function, arguments))

    for role in ("governor", "offeredGovernor", "guardian"):
        ask(("role", role), "domain", role)
    (count,) = chain.read([("authorities", "count", ())])
    for index in range(count):
        ask(("listed", index), "authorities", "authorityAt", index)
    for ca in CAS:
        ask(("authority", ca), "authorities", "authority", ca)
        ask(("issuer", ca), "certificates", "issuer", ca)
        ask(("below", ca), "certificates", "revokedBelow", ca)
        for index in range(WORDS):
            ask(("word", ca, index), "certificates", "revocationWord", ca, index)
        # A long batch has no others begin inside it: its edges are enough, and its middle.
        firsts = range(highest.get(ca, 1) + 2)
        for first in firsts if len(firsts) <= 12 else [*firsts[:8], *firsts[-4:]]:
            ask(("commitment", ca, first), "certificates", "commitment", ca, first)
        for actor in chain.actors:
            ask(("revoker", ca, actor), "certificates", "isRevoker", ca, actor)
    for device in chain.device_keys:
        ask(("device", device), "devices", "device", device)
    for actor in chain.actors:
        ask(("registrar", actor), "devices", "isRegistrar", actor)
    told = dict(zip(keys, chain.read(calls), strict=True))
    return View(
        roles=(
            told["role", "governor"],
            told["role", "offeredGovernor"],
            told["role", "guardian"],
        ),
        registered=tuple(told["listed", index] for index in range(count)),
        authorities={ca: told["authority", ca] for ca in CAS},
        issuers={ca: told["issuer", ca] for ca in CAS},
        watermarks={ca: told["below", ca] for ca in CAS},
        words={ca: tuple(told["word", ca, i] for i in range(WORDS)) for ca in CAS},
        commitments={(k[1], k[2]): v for k, v in told.items() if k[0] == "commitment"},
        revokers={(k[1], k[2]) for k, v in told.items() if k[0] == "revoker" and v},
        devices={d: told["device", d] for d in chain.device_keys},
        registrars={k[1] for k, v in told.items() if k[0] == "registrar" and v},
    )


#: A caller: one of the actors, or whoever the model says may (None).
callers = st.one_of(st.none(), st.none(), st.integers(0, ACTORS - 1))
actors = st.integers(0, ACTORS - 1)
somebody = st.one_of(actors, actors, st.just(-1))  # -1 is the zero address
authorities = st.sampled_from(CAS)
#: Serials near the start, near each end of a revocation word, and anywhere.
serials = st.one_of(
    st.integers(0, 8), st.sampled_from([127, 128, 254, 255, 256, 257]), st.integers(0, 700)
)
minutes = st.sampled_from([0, 1, 60, 2**24 - 1])


class TrustDomainMachine(RuleBasedStateMachine):
    """Calls made up by Hypothesis, each on the model and on the chain."""

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self.chain = chain
        self.model = model.Domain(
            governor=chain.actors[0], guardian=chain.actors[1], registrars={chain.actors[2]}
        )
        self.view: View | None = None
        self.issued: set[tuple[bytes, int]] = set()
        self.announced: set[bytes] = set()
        self.snapshot = chain.request("evm_snapshot")

    def teardown(self) -> None:
        assert self.chain.request("evm_revert", self.snapshot)

    # -- helping the rules -----------------------------------------------------------------------------

    def who(self, index: int | None, rightful: str) -> str:
        return rightful if index is None else self.name(index)

    def name(self, index: int) -> str:
        return NOBODY if index < 0 else self.chain.actors[index]

    def device_name(self, index: int) -> str:
        return list(self.chain.device_keys)[index]

    def operator_of(self, ca: bytes) -> str:
        known = self.model.authorities.get(ca)
        return self.model.governor if known is None else known.operator

    def revoker_of(self, ca: bytes) -> str:
        known = self.model.authorities.get(ca)
        named = sorted(known.revokers - {NOBODY}) if known else []
        return named[0] if named else self.operator_of(ca)

    def registrar(self) -> str:
        named = sorted(self.model.registrars - {NOBODY})
        return named[0] if named else self.model.governor

    def both(
        self, predict: Callable[[], None], caller: str, part: str, function: str, *arguments: Any
    ) -> None:
        """Let the model predict, let the chain act, and compare."""
        try:
            predict()
        except Refused as refused:
            with pytest.raises(Reverted) as reverted:
                self.chain.send(caller, part, function, *arguments)
            assert reverted.value.error == refused.error
            return
        for log in self.chain.send(caller, part, function, *arguments):
            self.note(log)

    def note(self, log: dict[str, Any]) -> None:
        """Keep what was announced: T3, serials and keys are used once."""
        topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
        if topics[0] == keccak(
            b"CertificateIssued(bytes32,address,uint32,bytes32,uint96,bytes32)"
        ):
            serial = (topics[1], int.from_bytes(topics[3], "big"))
            assert serial not in self.issued
            self.issued.add(serial)
        if topics[0] == keccak(b"AuthorityRegistered(bytes32,uint8,bytes32,bytes,bytes32)"):
            assert topics[1] not in self.announced
            self.announced.add(topics[1])

    def made(self, signed: Signed) -> tuple[int, bytes]:
        """Return (deadline, signature) of what the model knows the meaning of."""
        kind = reference.ENROLLMENT if signed.kind == "enroll" else reference.UPDATE
        deadline = 0 if signed.expired else FOREVER
        digest = reference.message_digest(
            kind,
            self.chain.chain_id,
            self.chain.parts["devices"].address,
            signed.device,
            signed.document,
            signed.nonce,
            deadline,
        )
        return deadline, reference.sign(self.chain.device_keys[signed.signer], digest)

    # -- rules: TrustDomain ----------------------------------------------------------------------------

    @initialize(operators=st.lists(actors, min_size=1, max_size=2))
    def some_authorities(self, operators: list[int]) -> None:
        """Most of what is interesting needs an authority to begin with."""
        for ca, operator in enumerate(operators):
            self.register(None, 1, ca, True, None, operator, 60)

    @rule(caller=callers, offered=somebody)
    def offer_governor(self, caller: int | None, offered: int) -> None:
        who, to = self.who(caller, self.model.governor), self.name(offered)
        self.both(
            lambda: self.model.offer_governor(who, to), who, "domain", "offerGovernor", to
        )

    @rule(caller=callers)
    def accept_governor(self, caller: int | None) -> None:
        offered = self.model.offered
        who = self.who(caller, self.chain.actors[3] if offered == NOBODY else offered)
        self.both(lambda: self.model.accept_governor(who), who, "domain", "acceptGovernor")

    @rule(caller=callers, guardian=somebody)
    def set_guardian(self, caller: int | None, guardian: int) -> None:
        who, named = self.who(caller, self.model.governor), self.name(guardian)
        self.both(
            lambda: self.model.set_guardian(who, named), who, "domain", "setGuardian", named
        )

    # -- rules: AuthorityRegistry ----------------------------------------------------------------------

    @rule(
        caller=callers,
        kind=st.sampled_from([0, 1, 1, 1, 2]),
        key=st.sampled_from([0, 1, 2, 2, -1, -2]),
        issuer_key=st.sampled_from([True, True, True, False]),
        parent=st.one_of(st.none(), st.none(), st.integers(0, 2)),
        operator=somebody,
        lifetime=minutes,
    )
    def register(
        self,
        caller: int | None,
        kind: int,
        key: int,
        issuer_key: bool,
        parent: int | None,
        operator: int,
        lifetime: int,
    ) -> None:
        who = self.who(caller, self.model.governor)
        arguments = (
            kind,
            {-1: b"", -2: b"\1" * 1025}.get(key) if key < 0 else KEYS[key],
            b"\x42" * 32 if issuer_key else ZERO,
            ZERO if parent is None else CAS[parent],
            self.name(operator),
            lifetime,
        )
        self.both(
            lambda: self.model.register(who, *arguments),
            who,
            "authorities",
            "register",
            *arguments,
        )

    # -- rules: CertificateRegistry --------------------------------------------------------------------

    @rule(caller=actors, ca=authorities)
    def open(self, caller: int, ca: bytes) -> None:
        who = self.name(caller)
        self.both(lambda: self.model.open(who), who, "certificates", "open", ca, who, 1)

    @rule(
        caller=callers,
        ca=authorities,
        first=st.one_of(st.none(), st.none(), st.none(), serials),
        count=st.sampled_from([1, 1, 2, 3, 5, 130, 0]),
        device=st.integers(-1, DEVICES - 1),
        end=st.sampled_from([1, 30, 30, FAR_AWAY]),
        flaw=st.sampled_from([None, None, None, 0, 1]),
    )
    def issue(
        self,
        caller: int | None,
        ca: bytes,
        first: int | None,
        count: int,
        device: int,
        end: int,
        flaw: int | None,
    ) -> None:
        """`end` is the past, half a minute from now, or never; the flaw is a missing hash."""
        who = self.who(caller, self.operator_of(ca))
        known = self.model.authorities.get(ca)
        begin = (known.next_serial if known else 1) if first is None else first
        now = self.chain.now
        batch = tuple(
            Certificate(
                hash=ZERO if i == flaw else keccak(bytes([i])),
                device=NOBODY if device < 0 else self.device_name(device),
                not_after=now + end if end == 30 else end,
            )
            for i in range(count)
        )
        if known and known.next_serial + count > 256 * WORDS:
            return
        entries = [
            reference.Entry(c.hash, c.device, c.not_after, keccak(c.hash)).abi for c in batch
        ]
        self.both(
            lambda: self.model.issue(who, ca, begin, batch, now),
            who,
            "certificates",
            "issue",
            ca,
            begin,
            entries,
        )

    @rule(caller=callers, ca=authorities, chosen=st.lists(serials, max_size=4))
    def revoke(self, caller: int | None, ca: bytes, chosen: list[int]) -> None:
        who = self.who(caller, self.revoker_of(ca))
        self.both(
            lambda: self.model.revoke(who, ca, chosen), who, "certificates", "revoke", ca, chosen
        )

    @rule(caller=callers, ca=authorities, share=st.floats(0, 1))
    def revoke_an_issued_one(self, caller: int | None, ca: bytes, share: float) -> None:
        known = self.model.authorities.get(ca)
        if known is None or known.next_serial == 1:
            return
        self.revoke(caller, ca, [1 + int(share * (known.next_serial - 2))])

    @rule(caller=callers, ca=authorities, serial=serials)
    def revoke_below(self, caller: int | None, ca: bytes, serial: int) -> None:
        who = self.who(caller, self.revoker_of(ca))
        self.both(
            lambda: self.model.revoke_below(who, ca, serial),
            who,
            "certificates",
            "revokeBelow",
            ca,
            serial,
        )

    @rule(caller=callers, ca=authorities, guardian=st.booleans())
    def suspend(self, caller: int | None, ca: bytes, guardian: bool) -> None:
        by_guardian = guardian and self.model.guardian != NOBODY
        who = self.who(caller, self.model.guardian if by_guardian else self.model.governor)
        self.both(lambda: self.model.suspend(who, ca), who, "certificates", "suspend", ca)

    @rule(caller=callers, ca=authorities)
    def lift(self, caller: int | None, ca: bytes) -> None:
        who = self.who(caller, self.model.governor)
        self.both(lambda: self.model.lift(who, ca), who, "certificates", "lift", ca)

    @rule(caller=callers, ca=authorities)
    def close(self, caller: int | None, ca: bytes) -> None:
        who = self.who(caller, self.model.governor)
        self.both(lambda: self.model.close(who, ca), who, "certificates", "close", ca)

    @rule(caller=callers, ca=authorities, sure=st.sampled_from([True, False, False]))
    def retire(self, caller: int | None, ca: bytes, sure: bool) -> None:
        """One time in three: what is retired has little left to be tried."""
        if not sure:
            return
        who = self.who(caller, self.model.governor)
        self.both(lambda: self.model.retire(who, ca), who, "certificates", "retire", ca)

    @rule(caller=callers, ca=authorities, operator=somebody)
    def set_operator(self, caller: int | None, ca: bytes, operator: int) -> None:
        who, named = self.who(caller, self.model.governor), self.name(operator)
        self.both(
            lambda: self.model.set_operator(who, ca, named),
            who,
            "certificates",
            "setOperator",
            ca,
            named,
        )

    @rule(caller=callers, ca=authorities, revoker=somebody, allowed=st.booleans())
    def set_revoker(self, caller: int | None, ca: bytes, revoker: int, allowed: bool) -> None:
        who, named = self.who(caller, self.model.governor), self.name(revoker)
        self.both(
            lambda: self.model.set_revoker(who, ca, named, allowed),
            who,
            "certificates",
            "setRevoker",
            ca,
            named,
            allowed,
        )

    @rule(caller=callers, ca=authorities, lifetime=minutes)
    def set_maximum_lifetime(self, caller: int | None, ca: bytes, lifetime: int) -> None:
        who = self.who(caller, self.model.governor)
        self.both(
            lambda: self.model.set_maximum_lifetime(who, ca, lifetime),
            who,
            "certificates",
            "setMaximumLifetime",
            ca,
            lifetime,
        )

    # -- rules: DeviceRegistry -------------------------------------------------------------------------

    @rule(
        caller=callers,
        function=st.sampled_from(["enroll", "update"]),
        device=st.integers(0, DEVICES - 1),
        document=st.sampled_from([b"\x11" * 32, b"\x22" * 32, b"\x33" * 32, ZERO]),
        signer=st.one_of(st.none(), st.none(), st.none(), st.integers(0, DEVICES - 1)),
        kind=st.one_of(st.none(), st.none(), st.none(), st.sampled_from(["enroll", "update"])),
        nonce=st.one_of(st.none(), st.none(), st.none(), st.integers(0, 3)),
        expired=st.sampled_from([False, False, False, True]),
    )
    def bring_a_signature(
        self,
        caller: int | None,
        function: str,
        device: int,
        document: bytes,
        signer: int | None,
        kind: str | None,
        nonce: int | None,
        expired: bool,
    ) -> None:
        """Signed rightly where a choice is None, else as chosen: of others, of old nonces."""
        who, subject = self.who(caller, self.registrar()), self.device_name(device)
        known = self.model.devices.get(subject)
        present = 0 if known is None else known.nonce
        signed = Signed(
            signer=subject if signer is None else self.device_name(signer),
            kind=function if kind is None else kind,
            device=subject,
            document=document,
            nonce=(0 if function == "enroll" else present) if nonce is None else nonce,
            expired=expired,
        )
        act = self.model.enroll if function == "enroll" else self.model.update
        self.both(
            lambda: act(who, subject, document, signed),
            who,
            "devices",
            function,
            subject,
            document,
            *self.made(signed),
        )

    @rule(caller=callers, device=st.integers(0, DEVICES - 1))
    def retire_device(self, caller: int | None, device: int) -> None:
        who, subject = self.who(caller, self.registrar()), self.device_name(device)
        self.both(
            lambda: self.model.retire_device(who, subject), who, "devices", "retire", subject
        )

    @rule(caller=callers, registrar=somebody, allowed=st.booleans())
    def set_registrar(self, caller: int | None, registrar: int, allowed: bool) -> None:
        who, named = self.who(caller, self.model.governor), self.name(registrar)
        self.both(
            lambda: self.model.set_registrar(who, named, allowed),
            who,
            "devices",
            "setRegistrar",
            named,
            allowed,
        )

    # -- after each step -------------------------------------------------------------------------------

    @invariant()
    def the_chain_is_what_the_model_says(self) -> None:
        before = self.view
        highest = {ca: a.next_serial for ca, a in self.model.authorities.items()}
        self.view = look(self.chain, highest)
        self.check_against_the_model(self.view)
        check_promises(self.view)
        if before is not None:
            check_history(before, self.view)
        assert {ca for ca, _ in self.issued} <= set(CAS)

    def check_against_the_model(self, view: View) -> None:
        expected = self.model
        assert view.roles == (expected.governor, expected.offered, expected.guardian)
        assert view.registered == tuple(expected.authorities)
        assert view.registrars == expected.registrars - {NOBODY}
        for ca in CAS:
            authority = expected.authorities.get(ca)
            if authority is None:
                assert view.authorities[ca] == (0, 0, ZERO, ZERO, b"")
                assert view.issuers[ca] == (NOBODY, 0, 0, 0, model.UNREGISTERED)
                continue
            kind, _, _, parent, key = view.authorities[ca]
            assert (kind, parent, key) == (authority.kind, authority.parent, authority.key)
            assert view.issuers[ca] == (
                authority.operator,
                authority.next_serial,
                len(authority.revoked),
                authority.maximum_lifetime,
                authority.state,
            )
            assert view.watermarks[ca] == authority.revoked_below
            bits = sum(1 << serial for serial in authority.revoked)
            told = sum(word << 256 * index for index, word in enumerate(view.words[ca]))
            assert told == bits
            revokers = {actor for named, actor in view.revokers if named == ca}
            assert revokers == authority.revokers - {NOBODY}
            issued = {serial for named, serial in self.issued if named == ca}
            assert issued == set(range(1, authority.next_serial))
            for (named, first), commitment in view.commitments.items():
                if named == ca:
                    assert commitment == self.commitment(ca, first)
        for name, told_device in view.devices.items():
            device = expected.devices.get(name)
            state = model.DEVICE_UNREGISTERED
            assert told_device == (
                (ZERO, state, 0)
                if device is None
                else (device.document, device.state, device.nonce)
            )

    def commitment(self, ca: bytes, first: int) -> bytes:
        """Return what should stand at a serial, by the reference implementation."""
        batch = self.model.authorities[ca].batches.get(first)
        if batch is None:
            return ZERO
        registry = self.chain.parts["certificates"].address
        leaves = [
            reference.leaf(
                self.chain.chain_id,
                registry,
                ca,
                first + i,
                reference.Entry(c.hash, c.device, c.not_after),
            )
            for i, c in enumerate(batch)
        ]
        return reference.commitment(reference.tree_root(leaves), len(batch))


def check_promises(view: View) -> None:
    """What holds at every block, by the chain's own words."""
    assert len(set(view.registered)) == len(view.registered)
    for ca in view.registered:
        operator, next_serial, revoked_count, lifetime, _ = view.issuers[ca]
        assert revoked_count == sum(word.bit_count() for word in view.words[ca])
        assert view.watermarks[ca] <= next_serial
        assert operator != NOBODY
        assert lifetime > 0
    assert view.roles[0] != NOBODY


def check_history(before: View, after: View) -> None:
    """What never goes back, by the chain's own words."""
    assert after.registered[: len(before.registered)] == before.registered
    assert after.revoked >= before.revoked
    for ca in before.registered:
        assert after.authorities[ca] == before.authorities[ca]
        assert after.issuers[ca][1] >= before.issuers[ca][1]
        assert after.issuers[ca][2] >= before.issuers[ca][2]
        assert after.watermarks[ca] >= before.watermarks[ca]
        states = (before.issuers[ca][4], after.issuers[ca][4])
        assert states[0] != model.RETIRED or states[1] == model.RETIRED
        ended = (model.CLOSED, model.CLOSED_SUSPENDED)
        assert states[0] not in ended or states[1] in (*ended, model.RETIRED)
    for place, commitment in before.commitments.items():
        if commitment != ZERO and place in after.commitments:
            assert after.commitments[place] == commitment
    for name, (_, state, nonce) in before.devices.items():
        assert after.devices[name][2] >= nonce
        assert state != model.DEVICE_RETIRED or after.devices[name] == before.devices[name]


@pytest.fixture
def deployed(project: Any, chain: Any, accounts: Any) -> Chain:
    """Deploy a domain for the machine."""
    actors = [accounts[i] for i in range(ACTORS)]
    domain = project.TrustDomain.deploy(actors[0], actors[1], [actors[2]], sender=actors[5])
    instances = {
        "domain": domain,
        "authorities": project.AuthorityRegistry.at(domain.authorities()),
        "certificates": project.CertificateRegistry.at(domain.certificates()),
        "devices": project.DeviceRegistry.at(domain.devices()),
    }
    errors = {}
    for instance in instances.values():
        for error in instance.contract_type.errors:
            errors["0x" + keccak(error.selector.encode())[:4].hex()] = error.name
    keys = [accounts[ACTORS + i] for i in range(DEVICES)]
    return Chain(
        url=chain.provider.uri,
        chain_id=chain.chain_id,
        parts={name: Contract.of(instance) for name, instance in instances.items()},
        errors=errors,
        actors=[str(actor.address).lower() for actor in actors],
        device_keys={str(key.address).lower(): key.private_key for key in keys},
    )


@pytest.mark.slow
@pytest.mark.timeout(120 + 10 * EXAMPLES * STEPS // 100)
def test_the_contracts_do_what_the_model_says(deployed: Chain) -> None:
    """T2, T3, and the numbered invariants of every contract."""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: TrustDomainMachine(deployed),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        ),
    )
