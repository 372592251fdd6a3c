"""An admin whose endpoints lie, hang or are gone: what is decided, signed and sent (claim T4).

Three endpoints stand before one Anvil; two of them must agree.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dpki.chain.rpc import Call, Endpoint
from dpki.config.admin import AdminConfig, StoreConfig
from dpki.devnet.accounts import development_wallet
from dpki.devnet.anvil import CHAIN_ID, Anvil
from dpki.verification.verdict import Verdict
from tests.admins import Admin, Result, make_admin_of, runner, state_of
from tests.issuing_world import World, ok
from tests.relay import Relay, Tell, open_relay
from tests.soft_tokens import SoftHsmFolder


def false_state(call: Call, answer: Any) -> Any:
    """Lie about every word of the state, and about what contracts say at a block."""
    if call.method == "eth_getStorageAt":
        return f"0x{int(answer, 16) + 1:064x}"
    if call.method == "eth_getProof":
        told = [
            {**word, "value": hex(int(word["value"], 16) + 1)} for word in answer["storageProof"]
        ]
        return {**answer, "storageProof": told}
    if call.method == "eth_call" and isinstance(call.params[-1], dict):
        return answer[:-1] + ("0" if answer.endswith("1") else "1")
    return answer


def own_fork(mark: str) -> Tell:
    """Return a liar on a chain of its own."""

    def tell(call: Call, answer: Any) -> Any:
        if call.method == "eth_getBlockByNumber" and answer:
            return {**answer, "hash": f"0x{mark * 64}"}
        return answer

    return tell


@pytest.fixture
def relays(world: World) -> Iterator[list[Relay]]:
    with ExitStack() as stack:
        endpoint = stack.enter_context(Endpoint(world.anvil.url))
        yield [stack.enter_context(open_relay(endpoint)) for _ in range(3)]


@pytest.fixture
def admin(world: World, relays: list[Relay], tmp_path: Path) -> Admin:
    """The same admin, who asks the three."""

    def through(config: AdminConfig) -> AdminConfig:
        return replace(
            config, chain=replace(config.chain, rpc=tuple(relay.url for relay in relays))
        )

    return world.admin.copy(tmp_path / "home", through)


def words_of(name: str, world: World, admin: Admin) -> list[str | Path]:
    key = world.public_key(name)
    issue = ["ssh", "issue", "--ca", "users", "--key", key, "--identity", name]
    return [*issue, "--principal", "ops", *admin.option]


def request_of_a_device(world: World) -> Path:
    directory = world.directory / f"device-{secrets.token_hex(4)}"
    public = ("--domain", world.domain, "--rpc", world.anvil.url, "--console-access")
    ok(world.dpki("device", "init", "--dir", directory, *public))
    return directory / "enroll.request"


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("fault", ["lies", "is gone"])
def test_one_of_three_changes_nothing(
    world: World, relays: list[Relay], admin: Admin, fault: str, place: int
) -> None:
    if fault == "lies":
        relays[place].tell = false_state
    else:
        relays[place].is_gone = True
    listed = ok(world.dpki("ca", "list", *admin.option))
    assert listed == ok(world.dpki("ca", "list", *world.admin.option))

    issued = ok(world.dpki(*words_of("eve", world, admin)))
    certificate = Path(str(issued["certificate"]))
    assert world.verdict(certificate) is Verdict.VALID
    ok(world.dpki("ssh", "revoke", "--certificate", certificate, *admin.option))
    assert world.verdict(certificate) is Verdict.REVOKED

    name = f"gate-{secrets.token_hex(4)}"
    request = request_of_a_device(world)
    enrolled = ok(world.dpki("device", "enroll", request, "--name", name, *admin.option))
    shown = ok(world.dpki("device", "list", *admin.option))
    assert str(enrolled["device"]).lower() in str(shown).lower()


def test_what_is_read_after_writing_holds_what_was_written(
    world: World, relays: list[Relay], admin: Admin
) -> None:
    """Two endpoints see the transaction's block later than the one that it went through."""
    stale: dict[str, Any] = {}
    asked_again = 0

    def behind(call: Call, answer: Any) -> Any:
        nonlocal asked_again
        if call.method != "eth_getBlockByNumber" or call.params[0] != "latest":
            return answer
        first = stale.setdefault("block", answer)
        if answer["number"] != first["number"]:
            asked_again += 1
            if asked_again < 6:
                return first
        return answer

    relays[1].tell = relays[2].tell = behind
    issued = ok(world.dpki(*words_of("eve", world, admin)))
    assert asked_again >= 6
    assert world.verdict(Path(str(issued["certificate"]))) is Verdict.VALID


def test_two_of_three_on_forks_of_their_own(
    world: World, relays: list[Relay], admin: Admin
) -> None:
    relays[0].tell, relays[1].tell = own_fork("a"), own_fork("b")
    request = request_of_a_device(world)
    before = state_of(world.anvil, admin.home.directory)
    for words in (
        ["ca", "list", *admin.option],
        words_of("eve", world, admin),
        ["ssh", "revoke", "--ca", "users", "--serial", "1", *admin.option],
        ["device", "enroll", request, "--name", "late", *admin.option],
    ):
        refused: Result = world.dpki(*words)
        assert refused.status == 5, refused.err
        assert "agree" in refused.message
        assert all(relay.url in refused.message for relay in relays[:2]), refused.message
    assert state_of(world.anvil, admin.home.directory) == before


def test_one_that_swallows_transactions_is_not_believed(
    world: World, relays: list[Relay], admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It passes nothing on, and shows a receipt all the same."""
    from datetime import timedelta

    from dpki.chain import agreed

    monkeypatch.setattr(agreed, "WAIT", timedelta(seconds=1))
    last = ok(world.dpki(*words_of("bob", world, admin)))
    transaction = str(last["transaction"])

    class Swallowing:
        """A chain that takes transactions and has an old receipt for each."""

        name = "swallowing"

        def __init__(self, honest: Endpoint) -> None:
            self.honest = honest

        def call(self, method: str, params: Any = ()) -> Any:
            if method == "eth_sendRawTransaction":
                return f"0x{'1' * 64}"
            if method == "eth_getTransactionReceipt":
                old: Any = self.honest.call(method, [transaction])
                return {**old, "transactionHash": params[0]}
            return self.honest.call(method, params)

        def batch(self, calls: Any) -> list[Any]:
            return [self.call(call.method, call.params) for call in calls]

    relays[0].chain = Swallowing(relays[1].chain)  # type: ignore[arg-type]
    refused = world.dpki(*words_of("eve", world, admin))
    assert refused.status == 5, refused.err
    assert "don't confirm" in refused.message


def test_a_domain_and_its_council_through_three_of_which_one_lies(
    tmp_path: Path, softhsm: SoftHsmFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runner(capsys)
    with ExitStack() as stack:
        anvil = stack.enter_context(Anvil(tmp_path))
        endpoint = stack.enter_context(Endpoint(anvil.url))
        relays = [stack.enter_context(open_relay(endpoint)) for _ in range(3)]
        store = StoreConfig(directories=(tmp_path / "store",))
        admin = make_admin_of(tmp_path / "admin", anvil, store, softhsm.token())
        chain = replace(admin.config.chain, rpc=tuple(relay.url for relay in relays), quorum=2)
        admin.write(replace(admin.config, chain=chain))
        for relay in relays:
            relay.tell = false_state if relay is relays[1] else relay.tell
        ok(run("deploy", *admin.option))
        account = str(ok(run("wallet", "show", *admin.option))["account"])
        other = ("--root", str(development_wallet(1, chain_id=CHAIN_ID).address))
        founded = ok(run("council", "init", "--root", account, *other, *admin.option))
        pending: Any = founded["pending"]
        shown = ok(run("council", "show", pending["id"], *admin.option))
        assert shown["would_fail"] is None
        members = ok(run("council", "members", *admin.option))
        assert account in str(members)

        relays[2].tell = own_fork("c")
        relays[0].tell = own_fork("a")
        refused = run("council", "show", pending["id"], *admin.option)
        assert refused.status == 5, refused.err
