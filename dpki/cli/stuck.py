"""`dpki wallet pending` and `dpki wallet unstick`: what waits, and an end to the waiting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dpki.cli.confirm import confirm, verify_can_ask
from dpki.cli.output import Output, describe_receipt, describe_rehearsal, format_cost, say_receipt
from dpki.errors import UsageError

if TYPE_CHECKING:
    from dpki.transactions.sender import Sender
    from dpki.transactions.stuck import Stuck


def list_pending(output: Output, home: Path | None, pin: str | None) -> None:
    """List what is in no block yet; nothing is changed."""
    from dpki.chain.agreed import open_answering
    from dpki.cli.session import account_of
    from dpki.config.admin import find_home, load_admin_config
    from dpki.transactions.account import Account
    from dpki.transactions.outbox import Outbox
    from dpki.transactions.stuck import find_stuck

    place = find_home(home)
    config = load_admin_config(place)
    address, chain = (
        account_of(place, config, config.wallet.key, pin, output),
        config.chain.chain_id,
    )
    with (
        output.working("asking the chain"),
        open_answering(config.chain.rpc, config.chain.chain_id) as endpoint,
    ):
        account = Account(endpoint, address, chain)
        latest, following = account.count("latest"), account.count("pending")
        found = find_stuck(account, Outbox(chain, address))
    described = [_describe(one) for one in found]
    output.say(f"account {address}: {latest} transactions in blocks, {following - latest} waiting")
    if found:
        columns = ("nonce", "state", "does", "sent_by", "sent_at", "max_fee_per_gas_wei", "hash")
        output.table(columns, [[row[column] or "-" for column in columns] for row in described])
        output.say("end the waiting with: dpki wallet unstick")
    document = {"account": str(address), "chain_id": chain, "in_blocks": latest}
    output.result(document | {"next": following, "waiting": described})


def replace_pending(
    output: Output,
    home: Path | None,
    *,
    nonce: int | None,
    again: bool,
    dry_run: bool,
    yes: bool,
    passphrase: str | None,
) -> None:
    """Replace what waits, the lowest number first, as nodes take them in order.

    Raises:
        UsageError: Nothing waits under the number, or it was not confirmed.
    """
    from dpki.chain.agreed import open_answering
    from dpki.cli.session import open_sender
    from dpki.config.admin import find_home, load_admin_config

    word = "resend" if again else "end"
    if not dry_run:
        verify_can_ask("transactions", f"to {word}", yes=yes)
    place = find_home(home)
    config = load_admin_config(place)
    with open_answering(config.chain.rpc, config.chain.chain_id) as endpoint:
        sender = open_sender(place, config, endpoint, passphrase, output)
        found = [one for one in sender.find_stuck() if nonce in (None, one.nonce)]
        if not found and nonce is not None:
            raise UsageError(
                f"no transaction with number {nonce} waits", hint="see dpki wallet pending"
            )
        for one in found:
            output.say(f"number {one.nonce}: {_does(one)}, {_state(one)}")
        if dry_run:
            _rehearse(output, sender, found, again=again)
            return
        if found:
            confirm(output, word, yes=yes)
        done = [_replace(output, sender, one, again=again) for one in found]
    if not found:
        output.say("nothing waits")
    output.result({"replaced": done}, "\n".join(str(one["transaction"]) for one in done) or None)


def _replace(output: Output, sender: Sender, stuck: Stuck, *, again: bool) -> dict[str, object]:
    with output.working(f"waiting for number {stuck.nonce}"):
        receipt = sender.replace(stuck, again=again)
    say_receipt(output, receipt)
    is_old = receipt.transaction_hash == stuck.hash
    if is_old:
        output.say(f"number {stuck.nonce} got into a block by itself: it did what it was to do")
    became = "itself" if is_old else "sent again" if again else "ended"
    return {"nonce": stuck.nonce, "became": became, **describe_receipt(receipt)}


def _rehearse(output: Output, sender: Sender, found: Sequence[Stuck], *, again: bool) -> None:
    from dpki.transactions.flight import Rehearsal

    costs = [sender.rehearse_replacement(one, again=again) for one in found]
    cost = sum(costs, Rehearsal(0, 0))
    what = "send the same again" if again else "end it with an empty transaction"
    would = f"{what}, for {len(found)} that wait" if found else "do nothing: nothing waits"
    output.say(f"would {would}: {format_cost(cost)}, to begin with; nothing was sent")
    waiting = [_describe(one) for one in found]
    output.result(describe_rehearsal(cost, would) | {"waiting": waiting}, cost.gas)


def _describe(stuck: Stuck) -> dict[str, object]:
    return {
        "nonce": stuck.nonce,
        "state": _state(stuck),
        "does": _does(stuck),
        "sent_by": stuck.doing or None,
        "sent_at": None if stuck.since is None else stuck.since.isoformat(),
        "max_fee_per_gas_wei": None if stuck.fees is None else str(stuck.fees.maximum),
        "hash": None if stuck.hash is None else str(stuck.hash),
    }


def _state(stuck: Stuck) -> str:
    if stuck.call is None:
        return "known to nobody here"
    return "waiting at the node" if stuck.is_at_node else "lost by the node"


def _does(stuck: Stuck) -> str:
    """Return what a transaction was to do, in a few words."""
    if stuck.call is None:
        return "unknown"
    if "to" not in stuck.call:
        return "makes a contract"
    if stuck.call["data"] == "0x":
        return f"sends money to {stuck.call['to']}"
    return f"calls {stuck.call['to']}"
