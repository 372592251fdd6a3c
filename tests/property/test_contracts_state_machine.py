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
from dataclasses import dataclass
from typing import Any

import pytest
from eth_hash.auto import keccak
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.auditing import audit_chain
from tests.contracts import reference
from tests.contracts.fresh import compile_fresh
from tests.property import contract_model as model
from tests.property.bare_chain import Chain, Contract, Reverted
from tests.property.contract_model import (
    NOBODY,
    ZERO,
    Brought,
    Certificate,
    Refused,
    Signed,
    Watchdog,
)

EXAMPLES = int(os.environ.get("DPKI_STATE_MACHINE_EXAMPLES", "50"))
STEPS = int(os.environ.get("DPKI_STATE_MACHINE_STEPS", "40"))

#: Few of everything, so that calls meet.
ACTORS = 6
DEVICES = 3
KEYS = tuple(bytes([n]) * 44 for n in range(1, 5))
CAS = tuple(hashlib.sha256(key).digest() for key in KEYS)
WORDS = 3
FOREVER = 2**256 - 1
FAR_AWAY = 2**96 - 1


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
    watches: dict[bytes, tuple[Any, ...]]
    watchdogs: dict[bytes, tuple[Any, ...]]
    progress: dict[tuple[bytes, int], tuple[Any, ...]]
    confirmed: set[tuple[bytes, int]]

    @property
    def revoked(self) -> set[tuple[bytes, int]]:
        found = set()
        for ca, words in self.words.items():
            serials = range(1, self.issuers[ca][1])
            below = self.watermarks[ca]
            found |= {(ca, s) for s in serials if s < below or words[s >> 8] >> (s & 255) & 1}
        return found


def look(chain: Chain, highest: dict[bytes, int], batches: Sequence[tuple[bytes, int]]) -> View:
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
        ask(("watch", ca), "watchdogs", "watch", ca)
        ask(("watchdogs", ca), "watchdogs", "watchdogs", ca)
        for actor in chain.actors:
            ask(("revoker", ca, actor), "certificates", "isRevoker", ca, actor)
    for batch in batches:
        ask(("progress", *batch), "watchdogs", "progress", *batch)
        ask(("confirmed", *batch), "watchdogs", "isConfirmed", *batch)
    for device in chain.keys:
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
        devices={d: told["device", d] for d in chain.keys},
        registrars={k[1] for k, v in told.items() if k[0] == "registrar" and v},
        watches={ca: told["watch", ca] for ca in CAS},
        watchdogs={ca: told["watchdogs", ca] for ca in CAS},
        progress={(k[1], k[2]): v for k, v in told.items() if k[0] == "progress"},
        confirmed={(k[1], k[2]) for k, v in told.items() if k[0] == "confirmed" and v},
    )


ANYBODY = list(range(ACTORS))


def mostly(good: Any, flaws: Sequence[Any]) -> st.SearchStrategy[Any]:
    """Return what is good two times in three: calls that fail lead nowhere."""
    return st.sampled_from([good] * (2 * len(flaws)) + list(flaws))


#: A caller: whoever the model says may (None), or one of the actors.
callers = mostly(None, ANYBODY)
actors = st.sampled_from(ANYBODY)
#: -1 is the zero address.
somebody = st.sampled_from([*ANYBODY, -1])
#: Which of the registered authorities; -1 is one that is not.
picks = st.sampled_from([*range(6), -1])
#: Where between two serials.
shares = st.floats(0, 1)
minutes = st.sampled_from([1, 60, 2**24 - 1])


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
        try:
            self.an_auditor_finds_nothing()
        finally:
            assert self.chain.request("evm_revert", self.snapshot)

    def an_auditor_finds_nothing(self) -> None:
        """Whatever happened, its replay comes to the state that the chain holds."""
        chain = self.chain
        report = audit_chain(chain.url, chain.chain_id, chain.parts["domain"].address)
        assert str(report.state.governor).lower() == self.model.governor
        assert [bytes(ca) for ca in report.state.authorities] == list(self.model.authorities)
        assert report.counts.get("calls through a contract", 0) == 0
        assert report.versions == ()

    # -- helping the rules -----------------------------------------------------------------------

    def who(self, index: int | None, rightful: str) -> str:
        return rightful if index is None else self.name(index)

    def name(self, index: int) -> str:
        return NOBODY if index < 0 else self.chain.actors[index]

    def device_name(self, index: int) -> str:
        return list(self.chain.keys)[index]

    def pick(self, index: int) -> bytes:
        """Return a registered authority where there is one, unless asked for another."""
        registered = list(self.model.authorities)
        others = [ca for ca in CAS if ca not in registered]
        if not registered or (index < 0 and others):
            return others[0]
        return registered[index % len(registered)]

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
        expected = None
        try:
            predict()
        except Refused as refused:
            expected = refused.error
        if expected is not None:
            with pytest.raises(Reverted) as reverted:
                self.chain.send(caller, part, function, *arguments)
            assert reverted.value.error == expected
            return
        for log in self.chain.send(caller, part, function, *arguments):
            self.note(log)

    def note(self, log: dict[str, Any]) -> None:
        """Keep what was announced: T3, serials and keys are used once."""
        topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
        if topics[0] == keccak(b"CertificateIssued(bytes32,address,uint32,bytes32,uint96,bytes32)"):
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
        return deadline, reference.sign(self.chain.keys[signed.signer], digest)

    # -- rules: TrustDomain ----------------------------------------------------------------------

    @initialize(
        operators=st.lists(actors, min_size=1, max_size=2),
        watchdogs=st.lists(actors, max_size=3, unique=True),
        threshold=st.integers(1, 4),
    )
    def some_authorities(self, operators: list[int], watchdogs: list[int], threshold: int) -> None:
        """Most of what is interesting needs an authority to begin with, and a watched batch."""
        for operator in operators:
            self.register(None, 1, None, operator, 60, None)
            self.issue(None, len(self.model.authorities) - 1, 5, 0, True, None)
        if watchdogs:
            self.set_watch(None, 0, watchdogs, [1, 2, 1], threshold, None)
            self.issue(None, 0, 2, -1, True, None)

    @precondition(lambda self: self.model.offered != NOBODY)
    @rule(caller=callers)
    def accept_governor(self, caller: int | None) -> None:
        who = self.who(caller, self.model.offered)
        self.both(lambda: self.model.accept_governor(who), who, "domain", "acceptGovernor")

    # -- rules: AuthorityRegistry ----------------------------------------------------------------

    @rule(
        caller=callers,
        kind=st.sampled_from([1, 2]),
        parent=st.sampled_from([None, None, 0, 1]),
        operator=actors,
        lifetime=minutes,
        flaw=mostly(
            None,
            ["kind", "empty", "long", "again", "issuer", "parent", "operator", "lifetime"],
        ),
    )
    def register(
        self,
        caller: int | None,
        kind: int,
        parent: int | None,
        operator: int,
        lifetime: int,
        flaw: str | None,
    ) -> None:
        who = self.who(caller, self.model.governor)
        used = [known.key for known in self.model.authorities.values()]
        fresh = [key for key in KEYS if key not in used]
        key = fresh[0] if fresh and (flaw != "again" or not used) else used[0]
        above = ZERO if parent is None else self.pick(parent)
        arguments = (
            0 if flaw == "kind" else kind,
            {"empty": b"", "long": b"\1" * 1025}.get(flaw or "", key),
            ZERO if flaw == "issuer" else b"\x42" * 32,
            b"\x09" * 32 if flaw == "parent" else above,
            NOBODY if flaw == "operator" else self.name(operator),
            0 if flaw == "lifetime" else lifetime,
        )
        self.both(
            lambda: self.model.register(who, *arguments),
            who,
            "authorities",
            "register",
            *arguments,
        )

    # -- rules: CertificateRegistry --------------------------------------------------------------

    @rule(
        caller=callers,
        pick=picks,
        count=st.sampled_from([1, 2, 3, 5, 130]),
        device=st.integers(-1, DEVICES - 1),
        past=st.booleans(),
        flaw=mostly(None, ["open", "first", "earlier", "later", "none", "many", "hash", "end"]),
    )
    def issue(
        self,
        caller: int | None,
        pick: int,
        count: int,
        device: int,
        past: bool,
        flaw: str | None,
    ) -> None:
        ca = self.pick(pick)
        who = self.who(caller, self.operator_of(ca))
        if flaw == "open":
            self.both(lambda: self.model.open(who), who, "certificates", "open", ca, who, 1)
            return
        known = self.model.authorities.get(ca)
        following = known.next_serial if known else 1
        if following + count > 256 * WORDS:
            return
        first = {"first": 1, "earlier": following - 1, "later": following + 1}.get(
            flaw or "", following
        )
        count = {"none": 0, "many": 1001}.get(flaw or "", count)
        now = self.chain.now
        batch = tuple(
            Certificate(
                hash=ZERO if (flaw, i) == ("hash", count - 1) else keccak(bytes([i % 256])),
                device=NOBODY if device < 0 else self.device_name(device),
                not_after=FAR_AWAY if flaw == "end" else 1 if past else now + 30,
            )
            for i in range(count)
        )
        entries = [
            reference.Entry(c.hash, c.device, c.not_after, keccak(c.hash)).abi for c in batch
        ]
        self.both(
            lambda: self.model.issue(who, ca, first, batch, now),
            who,
            "certificates",
            "issue",
            ca,
            first,
            entries,
        )

    @rule(
        caller=callers,
        pick=picks,
        where=st.lists(shares, min_size=1, max_size=4),
        flaw=mostly(None, ["zero", "future", "none"]),
    )
    def revoke(self, caller: int | None, pick: int, where: list[float], flaw: str | None) -> None:
        ca = self.pick(pick)
        who = self.who(caller, self.revoker_of(ca))
        known = self.model.authorities.get(ca)
        following = known.next_serial if known else 1
        chosen = [max(1, int(share * (following - 1))) for share in where]
        wrong = {"zero": [0], "future": [following]}
        chosen = [] if flaw == "none" else chosen + wrong.get(flaw or "", [])
        self.both(
            lambda: self.model.revoke(who, ca, chosen), who, "certificates", "revoke", ca, chosen
        )

    @rule(
        caller=callers,
        pick=picks,
        share=shares,
        flaw=mostly(None, ["lower", "same", "future"]),
    )
    def revoke_below(self, caller: int | None, pick: int, share: float, flaw: str | None) -> None:
        ca = self.pick(pick)
        who = self.who(caller, self.revoker_of(ca))
        known = self.model.authorities.get(ca)
        present, following = (known.revoked_below, known.next_serial) if known else (0, 1)
        serial = {
            "lower": max(0, present - 1),
            "same": present,
            "future": following + 1,
        }.get(flaw or "", present + 1 + int(share * (following - present - 1)))
        self.both(
            lambda: self.model.revoke_below(who, ca, serial),
            who,
            "certificates",
            "revokeBelow",
            ca,
            serial,
        )

    @rule(
        caller=callers,
        pick=picks,
        step=st.sampled_from(["suspend", "lift", "suspend", "lift", "close", "retire"]),
        guardian=st.booleans(),
    )
    def change_state(self, caller: int | None, pick: int, step: str, guardian: bool) -> None:
        ca = self.pick(pick)
        by_guardian = guardian and step == "suspend" and self.model.guardian != NOBODY
        who = self.who(caller, self.model.guardian if by_guardian else self.model.governor)
        act = getattr(self.model, step)
        self.both(lambda: act(who, ca), who, "certificates", step, ca)

    @rule(
        caller=callers,
        pick=picks,
        role=st.sampled_from(["governor", "guardian", "operator", "revoker", "registrar"]),
        named=somebody,
        allowed=mostly(True, [False]),
    )
    def name_somebody(
        self, caller: int | None, pick: int, role: str, named: int, allowed: bool
    ) -> None:
        who, to, ca = self.who(caller, self.model.governor), self.name(named), self.pick(pick)
        domain = self.model
        predict, part, function, arguments = {
            "governor": (domain.offer_governor, "domain", "offerGovernor", (to,)),
            "guardian": (domain.set_guardian, "domain", "setGuardian", (to,)),
            "operator": (domain.set_operator, "certificates", "setOperator", (ca, to)),
            "revoker": (domain.set_revoker, "certificates", "setRevoker", (ca, to, allowed)),
            "registrar": (domain.set_registrar, "devices", "setRegistrar", (to, allowed)),
        }[role]
        self.both(lambda: predict(who, *arguments), who, part, function, *arguments)

    @rule(caller=callers, pick=picks, lifetime=mostly(60, [0, 1]))
    def set_maximum_lifetime(self, caller: int | None, pick: int, lifetime: int) -> None:
        who, ca = self.who(caller, self.model.governor), self.pick(pick)
        self.both(
            lambda: self.model.set_maximum_lifetime(who, ca, lifetime),
            who,
            "certificates",
            "setMaximumLifetime",
            ca,
            lifetime,
        )

    # -- rules: DeviceRegistry -------------------------------------------------------------------

    @rule(
        caller=callers,
        device=st.integers(0, DEVICES - 1),
        document=st.sampled_from([b"\x11" * 32, b"\x22" * 32, b"\x33" * 32]),
        flaw=mostly(
            None,
            ["function", "signer", "kind", "old nonce", "new nonce", "document", "expired"],
        ),
    )
    def bring_a_signature(
        self, caller: int | None, device: int, document: bytes, flaw: str | None
    ) -> None:
        """Enrol a new device, update an old one; or try it with a signature of something else."""
        who, subject = self.who(caller, self.registrar()), self.device_name(device)
        known = self.model.devices.get(subject)
        functions = ("update", "enroll") if known else ("enroll", "update")
        function, other = functions[::-1] if flaw == "function" else functions
        nonce = known.nonce if known and function == "update" else 0
        steps = {"old nonce": -1 if nonce else 5, "new nonce": 1}
        signed = Signed(
            signer=self.device_name((device + 1) % DEVICES) if flaw == "signer" else subject,
            kind=other if flaw == "kind" else function,
            device=subject,
            document=ZERO if flaw == "document" else document,
            nonce=nonce + steps.get(flaw or "", 0),
            expired=flaw == "expired",
        )
        act = self.model.enroll if function == "enroll" else self.model.update
        self.both(
            lambda: act(who, subject, signed.document, signed),
            who,
            "devices",
            function,
            subject,
            signed.document,
            *self.made(signed),
        )

    @rule(
        caller=callers,
        device=st.integers(0, DEVICES - 1),
        sure=st.sampled_from([True, False, False]),
    )
    def retire_device(self, caller: int | None, device: int, sure: bool) -> None:
        if not sure:
            return
        who, subject = self.who(caller, self.registrar()), self.device_name(device)
        self.both(lambda: self.model.retire_device(who, subject), who, "devices", "retire", subject)

    # -- rules: WatchdogRegistry -----------------------------------------------------------------

    @rule(
        caller=callers,
        pick=picks,
        who=st.lists(actors, min_size=1, max_size=3, unique=True),
        weights=st.lists(st.sampled_from([1, 2, 5]), min_size=3, max_size=3),
        threshold=st.integers(1, 8),
        flaw=mostly(None, ["none", "many", "twice", "nobody", "weight", "key", "overflow", "zero"]),
    )
    def set_watch(
        self,
        caller: int | None,
        pick: int,
        who: list[int],
        weights: list[int],
        threshold: int,
        flaw: str | None,
    ) -> None:
        ca, sender = self.pick(pick), self.who(caller, self.model.governor)
        accounts = [self.name(index) for index in who]
        named = [
            Watchdog(account, weight, b"\x07" * 32)
            for account, weight in zip(accounts, weights, strict=False)
        ]
        threshold = min(threshold, sum(w.weight for w in named) + 1)
        last = named[-1]
        spoilt = {
            "none": [],
            "many": [Watchdog(f"0x{i:040x}", 1, b"\x07" * 32) for i in range(1, 34)],
            "twice": [*named, named[0]],
            "nobody": [*named[:-1], Watchdog(NOBODY, 1, last.key)],
            "weight": [*named[:-1], Watchdog(last.account, 0, last.key)],
            "key": [*named[:-1], Watchdog(last.account, last.weight, ZERO)],
            "overflow": [*named, Watchdog("0x" + "99" * 20, 2**32 - 1, last.key)],
        }
        given = tuple(spoilt.get(flaw or "", named))
        threshold = 0 if flaw == "zero" else threshold
        self.both(
            lambda: self.model.set_watch(sender, ca, given, threshold),
            sender,
            "watchdogs",
            "setWatch",
            ca,
            [(w.account, w.weight, w.key) for w in given],
            threshold,
        )

    def watched_batch(self, pick: int, which: int) -> tuple[bytes, int]:
        """Return a batch, one that is watched where there is one; or where none begins."""
        for ca in (self.pick(pick), *self.model.authorities):
            known = self.model.authorities.get(ca)
            watched = [f for f in known.batches if known.is_watched(f)] if known else []
            if watched and which >= 0:
                return ca, watched[-1 - which % len(watched)]
        return self.pick(pick), 1 if which == -1 else 700

    def watchdog_of(self, ca: bytes, index: int) -> str:
        known = self.model.authorities.get(ca)
        named = known.watchdogs if known else ()
        return named[index % len(named)].account if named else self.model.governor

    @precondition(lambda self: any(a.version for a in self.model.authorities.values()))
    @rule(pick=picks, index=st.integers(0, 2))
    def confirm(self, pick: int, index: int) -> None:
        """As a watchdog does it; most batches need more than one."""
        self.review(None, pick, 0, index, "confirm", None)

    @precondition(lambda self: self.model.authorities)
    @rule(
        caller=callers,
        pick=picks,
        which=mostly(0, [1, 2, -1, -2]),
        index=st.integers(0, 2),
        act=st.sampled_from(["confirm", "confirm", "confirm", "object", "requestReview"]),
        flaw=mostly(None, ["commitment", "size"]),
    )
    def review(
        self, caller: int | None, pick: int, which: int, index: int, act: str, flaw: str | None
    ) -> None:
        ca, first = self.watched_batch(pick, which)
        rightful = self.operator_of(ca) if act == "requestReview" else self.watchdog_of(ca, index)
        who = self.who(caller, rightful)
        is_it = flaw != "commitment"
        commitment = self.standing(ca, first) if is_it else b"\x09" * 32
        size = {"requestReview": 17, "object": 257}.get(act, 0) if flaw == "size" else 1
        predict, arguments = {
            "confirm": (lambda: self.model.confirm(who, ca, first, is_it), (commitment,)),
            "object": (
                lambda: self.model.object(who, ca, first, is_it, size),
                (commitment, "n" * size),
            ),
            "requestReview": (
                lambda: self.model.request_review(who, ca, first, size),
                ([b"\x01" * 32] * size,),
            ),
        }[act]
        self.both(predict, who, "watchdogs", act, ca, first, *arguments)

    @precondition(lambda self: self.model.authorities)
    @rule(
        caller=actors,
        pick=picks,
        which=mostly(0, [1, -1, -2]),
        flaws=st.lists(
            mostly(None, ["stranger", "signer", "version", "commitment", "expired"]),
            min_size=1,
            max_size=4,
        ),
    )
    def relay(self, caller: int, pick: int, which: int, flaws: list[str | None]) -> None:
        """Bring confirmations of one batch, some of which don't count."""
        ca, first = self.watched_batch(pick, which)
        known = self.model.authorities.get(ca)
        version = known.version if known else 0
        brought, given = [], []
        for index, flaw in enumerate(flaws):
            watchdog = self.name(index) if flaw == "stranger" else self.watchdog_of(ca, index)
            one = Brought(
                ca=ca,
                first=first,
                is_the_batch=flaw != "commitment",
                watchdog=watchdog,
                signer=self.name(5) if flaw == "signer" else watchdog,
                version=version + (flaw == "version"),
                expired=flaw == "expired",
            )
            brought.append(one)
            given.append(self.brought(one))
        expected = self.model.relay(brought)
        logs = self.chain.send(self.name(caller), "watchdogs", "relay", given)
        told: list[int | None] = []
        for log in logs:
            topic = bytes.fromhex(log["topics"][0][2:])
            if topic == keccak(b"ConfirmationSkipped(bytes32,uint32,address,uint8)"):
                told.append(int(log["data"], 16))
            elif topic == keccak(b"BatchConfirmed(bytes32,uint32,address,uint32)"):
                told.append(None)
        assert told == expected

    def standing(self, ca: bytes, first: int) -> bytes:
        return self.commitment(ca, first) if ca in self.model.authorities else ZERO

    def brought(self, one: Brought) -> tuple[Any, ...]:
        """Return a confirmation as the contract takes it, signed as the model says."""
        commitment = self.standing(one.ca, one.first) if one.is_the_batch else b"\x09" * 32
        deadline = 0 if one.expired else FOREVER
        digest = reference.confirmation_digest(
            self.chain.chain_id,
            self.chain.parts["watchdogs"].address,
            one.ca,
            one.version,
            one.first,
            commitment,
            one.watchdog,
            deadline,
        )
        signature = reference.sign(self.chain.actor_keys[one.signer], digest)
        return one.ca, one.first, commitment, one.watchdog, deadline, signature

    # -- after each step -------------------------------------------------------------------------

    @invariant()
    def the_chain_is_what_the_model_says(self) -> None:
        before = self.view
        highest = {ca: a.next_serial for ca, a in self.model.authorities.items()}
        batches = [(ca, first) for ca, a in self.model.authorities.items() for first in a.batches]
        self.view = look(self.chain, highest, batches)
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
            self.check_watched(view, ca, authority)
        for name, told_device in view.devices.items():
            device = expected.devices.get(name)
            state = model.DEVICE_UNREGISTERED
            assert told_device == (
                (ZERO, state, 0)
                if device is None
                else (device.document, device.state, device.nonce)
            )

    def check_watched(self, view: View, ca: bytes, authority: model.Authority) -> None:
        total = sum(watchdog.weight for watchdog in authority.watchdogs)
        told = (authority.version, authority.watched_from, authority.threshold, total)
        assert view.watches[ca] == told
        named = tuple((w.account, w.weight, w.key) for w in authority.watchdogs)
        assert view.watchdogs[ca] == named
        for first in authority.batches:
            made = authority.progress.get(first, model.Progress())
            assert view.progress[ca, first] == (
                made.version,
                made.weight,
                sum(1 << place for place in made.confirmed),
                sum(1 << place for place in made.objected),
                made.accepted,
            )
            assert ((ca, first) in view.confirmed) == authority.is_confirmed(first)

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
        version, _, threshold, total = view.watches[ca]
        assert version == 0 or 1 <= threshold <= total
        assert total == sum(weight for _, weight, _ in view.watchdogs[ca])
    for (ca, _), (version, weight, confirmations, objections, is_accepted) in view.progress.items():
        assert confirmations & objections == 0
        if version == view.watches[ca][0]:
            weights = [
                w for i, (_, w, _) in enumerate(view.watchdogs[ca]) if confirmations >> i & 1
            ]
            assert weight == sum(weights)
            assert is_accepted == (version > 0 and weight >= view.watches[ca][2])
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
        version, first_serial, _, _ = before.watches[ca]
        assert after.watches[ca][0] >= version
        assert version == 0 or after.watches[ca][1] == first_serial
    assert after.confirmed >= before.confirmed
    for place, commitment in before.commitments.items():
        if commitment != ZERO and place in after.commitments:
            assert after.commitments[place] == commitment
    for name, (_, state, nonce) in before.devices.items():
        assert after.devices[name][2] >= nonce
        assert state != model.DEVICE_RETIRED or after.devices[name] == before.devices[name]


@pytest.fixture
def deployed(project: Any, chain: Any, accounts: Any) -> Chain:
    """Deploy a domain for the machine."""
    compile_fresh(project)
    actors = [accounts[i] for i in range(ACTORS)]
    domain = project.TrustDomain.deploy(actors[0], actors[1], [actors[2]], sender=actors[5])
    instances = {
        "domain": domain,
        "authorities": project.AuthorityRegistry.at(domain.authorities()),
        "certificates": project.CertificateRegistry.at(domain.certificates()),
        "devices": project.DeviceRegistry.at(domain.devices()),
        "watchdogs": project.WatchdogRegistry.at(domain.watchdogs()),
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
        actor_keys={str(actor.address).lower(): actor.private_key for actor in actors},
        keys={str(key.address).lower(): key.private_key for key in keys},
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
