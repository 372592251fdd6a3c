"""Random histories, random liars: fewer than must agree change neither verdict nor installation.

The liars collude: asked the same, they tell the same, one of the tales of `tests.lying` for each
question. When they stop, the same device accepts the truth.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from dpki.agent.decide import Plan, decide
from dpki.agent.observe import observe
from dpki.agent.opened import OpenedBundles
from dpki.agent.state import open_state
from dpki.certificates.keys import spki_of, ssh_blob
from dpki.certificates.profile import Profile, Subject
from dpki.certificates.ssh import build_ssh_certificate
from dpki.chain.domain import fetch_domain
from dpki.chain.panel import Panel
from dpki.chain.proven import ProvenReader
from dpki.chain.rpc import Call, Reader
from dpki.config.device import Access, DeviceConfig
from dpki.devices.keys import generate_device_keys
from dpki.errors import DpkiError
from dpki.model import Address, Entry, Hash32
from dpki.verification.check import check
from dpki.verification.verdict import Verdict
from tests.fakes.chain import START
from tests.fakes.proving import ProvingChain, Tell, sources, truth
from tests.lying import TALES, Scene

NOW = START + timedelta(minutes=30)
KEY = Ed25519PrivateKey.generate()
DEVICE = generate_device_keys()
CERTIFICATES = [
    build_ssh_certificate(
        KEY,
        Profile.user(timedelta(hours=8)),
        Subject(ssh_blob(KEY.public_key()), ("ops",), "alice"),
        serial=serial,
        key_id="x",
        valid_after=START,
        valid_before=START + timedelta(hours=2),
    )
    for serial in range(1, 7)
]

DEEDS = st.lists(
    st.tuples(st.sampled_from(["issue", "revoke", "below", "mine"]), st.integers(1, 6)), max_size=5
)
CONFIG = DeviceConfig(
    domain=ProvingChain().domain.id, rpc=("unused",), access=Access(console_access=True)
)


@dataclass
class History:
    """A chain with one user CA, on which things happen."""

    chain: ProvingChain = field(default_factory=ProvingChain)
    issued: int = 0
    revoked: set[int] = field(default_factory=set)
    below: int = 0

    def __post_init__(self) -> None:
        self.ca = self.chain.register(spki_of(KEY.public_key()))
        self.chain.enroll(DEVICE.address, Hash32(b"\x07" * 32))

    def play(self, deeds: Sequence[tuple[str, int]]) -> None:
        for what, number in deeds:
            if what == "issue" and self.issued < len(CERTIFICATES):
                one = CERTIFICATES[self.issued]
                entry = Entry(one.hash, Address.zero(), one.valid_before, Hash32.zero())
                self.chain.issue(self.ca, [entry])
                self.issued += 1
            elif what == "revoke" and number <= self.issued and number not in self.revoked:
                self.revoked.add(number)
                self.chain.revoke(self.ca, [number])
            elif what == "below" and self.below < number <= self.issued:
                self.below = number
                self.chain.revoke_below(self.ca, number)
            else:
                self.chain.mine()


def colluding(scene: Scene, seed: int) -> Tell:
    """Return a liar's tale, another for each question; all liars choose alike."""
    names = sorted(TALES)

    def tell(call: Call, answer: Callable[[], object]) -> object:
        choose = random.Random(f"{seed} {call.method} {call.params}")
        # Half of them keep to one tale, which may be more than each by itself.
        name = random.Random(seed).choice(names) if seed % 2 else choose.choice(names)
        return TALES[name](scene)(call, answer)

    return tell


def verdicts(asked: Reader, history: History) -> list[Verdict]:
    domain = fetch_domain(asked, history.chain.domain.id)
    return [check(asked, domain, one, None, NOW).verdict for one in CERTIFICATES]


def plan_of(asked: Reader, history: History, folder: Path) -> Plan:
    domain = fetch_domain(asked, history.chain.domain.id)
    with open_state(folder) as state:
        opened = OpenedBundles(folder / "bundles", folder / "keys")
        seen = observe(asked, domain, CONFIG, DEVICE, [], state, opened, NOW)
    return decide(CONFIG, DEVICE.address, seen, NOW)


@given(
    before=DEEDS,
    after=DEEDS,
    seed=st.integers(0, 2**32),
    quorum=st.integers(2, 3),
    place=st.integers(0, 3),
)
@settings(max_examples=25, deadline=None)
def test_fewer_liars_than_must_agree(
    before: list[tuple[str, int]],
    after: list[tuple[str, int]],
    seed: int,
    quorum: int,
    place: int,
) -> None:
    history = History()
    history.play(before)
    with tempfile.TemporaryDirectory() as folder:
        plan_of(history.chain, history, Path(folder))
        earlier = history.chain.head.number
        history.play(after)
        scene = Scene(history.chain, history.chain.domain, history.ca, 1, earlier, NOW)
        tells = [truth] * quorum
        tells[place:place] = [colluding(scene, seed)] * (quorum - 1)
        places = sources(history.chain, *tells)
        asked = ProvenReader(Panel(places, quorum, 31337, patience=timedelta(seconds=10)))
        true_verdicts = verdicts(history.chain, history)
        with tempfile.TemporaryDirectory() as other:
            plan_of(history.chain, history, Path(other))
            expected = plan_of(history.chain, history, Path(other))
        assert verdicts(asked, history) == true_verdicts
        assert plan_of(asked, history, Path(folder)) == expected
        assert asked.evidence().level == "proven"
        for source in places:
            source.tell = truth
        assert plan_of(asked, history, Path(folder)) == expected


@given(before=DEEDS, after=DEEDS, seed=st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_liars_only_un_revoke_nothing_that_the_device_has_seen(
    before: list[tuple[str, int]], after: list[tuple[str, int]], seed: int
) -> None:
    history = History()
    history.play([("issue", 1), ("issue", 1), ("revoke", 1), *before])
    with tempfile.TemporaryDirectory() as folder:
        plan_of(history.chain, history, Path(folder))
        earlier, revoked, below = history.chain.head.number, set(history.revoked), history.below
        history.play(after)
        scene = Scene(history.chain, history.chain.domain, history.ca, 1, earlier, NOW)
        liars = sources(history.chain, *[colluding(scene, seed)] * 3)
        asked = ProvenReader(Panel(liars, 2, 31337, patience=timedelta(seconds=10)))
        try:
            plan = plan_of(asked, history, Path(folder))
        except DpkiError:
            return
        login = {one.serial for one in plan.index.certificates}
        assert not login & (revoked | set(range(1, below)))
