"""What people and scripts see: data on stdout, words on stderr, progress only at a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, TextIO

import typer

from dpki.config.amounts import format_ether
from dpki.errors import DpkiError

if TYPE_CHECKING:
    from dpki.issuance.progress import Progress, Step
    from dpki.transactions.account import Receipt
    from dpki.transactions.flight import Rehearsal


class _Display(Protocol):
    """Something that moves on the terminal."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


class Output:
    """Where a command's results and words go.

    Args:
        json: Whether stdout gets one JSON document instead of the one datum that scripts want.
    """

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._display: _Display | None = None

    def say(self, text: str) -> None:
        """Tell people something; that nobody can hear it stops nothing."""
        try:
            typer.echo(text, err=True)
        except OSError:
            _discard(sys.stderr)

    def notice(self, text: str) -> None:
        """Tell people something while something else moves on the terminal."""
        with self.paused():
            self.say(text)

    def result(self, document: Mapping[str, object], datum: object = None) -> None:
        """Give the result: the whole document with `--json`, else the essential datum.

        Args:
            datum: One line, or several; None for a command that has nothing to give.

        Raises:
            DpkiError: It could not be written, such as to a file on a full disk.
        """
        if self._json:
            self._print(json.dumps(document, indent=2, ensure_ascii=False))
        elif datum is not None:
            self._print(str(datum))

    def event(self, document: Mapping[str, object], sentence: str) -> None:
        """Tell, while a command goes on, what just happened: a line each, with `--json` as data."""
        if self._json:
            typer.echo(json.dumps(document, ensure_ascii=False))
        else:
            self.say(sentence)

    def line(self, document: Mapping[str, object], sentence: str) -> None:
        """Give one of many results while a command goes on: a line each, with `--json` as data.

        Raises:
            DpkiError: It could not be written.
        """
        with self.paused():
            self._print(json.dumps(document, ensure_ascii=False) if self._json else sentence)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print rows to stdout in columns, for people and `cut`; nothing with `--json`."""
        if self._json:
            return
        texts = [list(heads), *([str(cell) for cell in row] for row in rows)]
        widths = [max(len(row[i]) for row in texts) for i in range(len(heads))]
        for row in texts:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self._print("  ".join(cells).rstrip())

    def _print(self, text: str) -> None:
        try:
            typer.echo(text)
        except BrokenPipeError:
            raise  # whoever reads has seen enough
        except OSError as error:
            _discard(sys.stdout)
            raise DpkiError(
                f"could not write the result to standard output: {error.strerror}",
                hint="what the command does is done; only its words are lost",
            ) from error

    def error(self, error: DpkiError) -> None:
        """Tell what went wrong and what to do next."""
        # A module's own subclass is nobody else's word.
        kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__name__[0] != "_"]
        self.failure(kinds[0], error.message, error.hint, error.exit_status, error.details())
        # What a contract says has an explanation of its own.
        name = getattr(error, "name", kinds[0])
        if name not in ("DpkiError", "UsageError", "UnknownError"):
            self.say(f"  more: dpki explain {name}")

    def failure(
        self,
        kind: str,
        message: str,
        hint: str,
        exit_status: int,
        details: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        """Tell what went wrong, by words and, with `--json`, as a document.

        Args:
            details: For the document, beside the words.
        """
        self.say(f"error: {message}")
        if hint:
            self.say(f"  next: {hint}")
        fields = {"type": kind, "message": message, "hint": hint, "exit_status": exit_status}
        # Whoever gets the exit status and no words has a full disk to thank.
        with suppress(DpkiError, BrokenPipeError):
            self.result({"error": fields, **details})

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Show, at a terminal, that something takes its time."""
        if not sys.stderr.isatty():
            yield
            return
        from rich.console import Console

        with Console(stderr=True).status(what) as status, self._showing(status):
            yield

    @contextmanager
    def counting(self, what: str, things: str) -> Iterator[Callable[[int, int, int], None]]:
        """Give a callback that shows, at a terminal, a bar and how many things were done.

        It takes how far something is, how far it goes, and how many things that were.
        """
        if not sys.stderr.isatty():
            yield lambda done, total, count: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[count]:,} " + things),
            TimeElapsedColumn(),
        )
        with (
            Bars(*columns, console=Console(stderr=True), transient=True) as bars,
            self._showing(bars),
        ):
            task = bars.add_task(what, total=None, count=0)

            def show(done: int, total: int, count: int) -> None:
                bars.update(task, completed=done, total=total, count=count)

            yield show

    @contextmanager
    def steps(self) -> Iterator[Progress]:
        """Give a progress callback that shows, at a terminal, a bar for each step."""
        if not sys.stderr.isatty():
            from dpki.issuance.progress import silent

            yield silent
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with (
            Bars(*columns, console=Console(stderr=True), transient=True) as bars,
            self._showing(bars),
        ):
            tasks = {}

            def show(step: Step, done: int, total: int) -> None:
                if step not in tasks:
                    tasks[step] = bars.add_task(step.value, total=total)
                bars.update(tasks[step], completed=done, total=total)

            yield show

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take what moves off the terminal for a while, so that a question can be asked."""
        if self._display is not None:
            self._display.stop()
        yield
        if self._display is not None:
            self._display.start()

    @contextmanager
    def _showing(self, display: _Display) -> Iterator[None]:
        self._display = display
        try:
            yield
        finally:
            self._display = None


def _discard(stream: TextIO) -> None:
    """Send what a stream still holds, and all that follows, to nowhere.

    Python itself would complain of it once more when it ends.
    """
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


LOW = 20
"""For how many more transactions like the last a wallet should have money."""


def describe_receipt(receipt: Receipt | None) -> dict[str, object]:
    """Return what a transaction did, as plain data; nothing where none was needed."""
    if receipt is None:
        return {"transaction": None}
    return {
        "transaction": str(receipt.transaction_hash),
        "block": receipt.block.number,
        "gas": receipt.gas_used,
        "fee_wei": str(receipt.fee),
        "balance_wei": None if receipt.balance is None else str(receipt.balance),
    }


def describe_rehearsal(rehearsal: Rehearsal, would: str) -> dict[str, object]:
    """Return what a transaction would do and cost, as plain data."""
    return {
        "dry_run": True,
        "would": would,
        "gas": rehearsal.gas,
        "fee_wei": str(rehearsal.fee),
        "layer_fee_wei": str(rehearsal.layer_fee),
    }


def format_cost(cost: Rehearsal) -> str:
    """Return what a transaction costs at most, in words."""
    below = f" ({format_ether(cost.layer_fee)} of it for the layer below)" if cost.layer_fee else ""
    return f"at most {cost.gas:,} gas, {format_ether(cost.fee)} ETH{below}"


def say_rehearsal(output: Output, rehearsal: Rehearsal | None, would: str) -> None:
    """Tell what would be done and what it would cost at most; nothing was sent.

    Args:
        rehearsal: None where it was done before, and nothing would be sent.
    """
    if rehearsal is None:
        output.say("it is on chain already; nothing would be sent")
        output.result({"dry_run": True, "would": would, "gas": 0, "fee_wei": "0"}, 0)
        return
    output.say(f"would {would}: {format_cost(rehearsal)}; nothing was sent")
    output.result(describe_rehearsal(rehearsal, would), rehearsal.gas)


def say_receipt(output: Output, receipt: Receipt | None) -> None:
    """Tell people about a transaction."""
    if receipt is None:
        output.say("it was on chain already; nothing was sent")
        return
    output.say(
        f"transaction {receipt.transaction_hash} in block {receipt.block.number}:"
        f" {receipt.gas_used:,} gas, {format_ether(receipt.fee)} ETH"
    )
    if receipt.balance is not None and receipt.balance < LOW * receipt.fee:
        output.say(
            f"warning: the wallet has {format_ether(receipt.balance)} ETH left, enough for about"
            f" {receipt.balance // receipt.fee} more such transactions"
        )
