import io
import json

import pytest

from dpki.cli.output import Output, describe_receipt
from dpki.config.amounts import format_ether
from dpki.errors import DpkiError
from dpki.model import Address, Hash32
from dpki.transactions.account import Receipt
from tests.world import block


@pytest.mark.parametrize(
    ("wei", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (10**18, "1"),
        (15 * 10**17, "1.5"),
        (6077290000000000, "0.00607729"),
    ],
)
def test_amounts_are_rounded_up(wei: int, text: str) -> None:
    assert format_ether(wei) == text


def test_data_goes_to_stdout_and_words_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(json=False)
    output.say("hello")
    output.result({"a": 1}, Address(b"\x11" * 20))
    captured = capsys.readouterr()
    assert captured.out == "0x1111111111111111111111111111111111111111\n"
    assert captured.err == "hello\n"


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(json=True)
    output.table(("a",), [("b",)])
    output.result({"ä": [1]}, "datum")
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"ä": [1]}


def test_nothing_to_give_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Output(json=False).result({"a": 1})
    assert capsys.readouterr().out == ""


def test_tables_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    Output(json=False).table(("name", "n"), [("long-name", 1), ("x", 22)])
    assert capsys.readouterr().out == "name       n\nlong-name  1\nx          22\n"


def test_no_bars_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from dpki.issuance.progress import Step

    output = Output(json=False)
    with output.working("thinking"), output.steps() as progress:
        progress(Step.SIGN, 1, 2)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_receipts() -> None:
    assert describe_receipt(None) == {"transaction": None}
    receipt = Receipt(Hash32(bytes(32)), block(7), 21_000, 10**30)
    assert describe_receipt(receipt)["fee_wei"] == str(10**30)


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("kind", ["working", "steps"])
def test_questions_are_asked_on_a_quiet_terminal(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """What moves on the terminal would draw over a prompt."""
    monkeypatch.setattr("sys.stderr", Terminal())
    output = Output(json=False)
    events: list[str] = []
    with output.paused():
        events.append("nothing moves: nothing to stop")
    with output.working("thinking") if kind == "working" else output.steps():
        display = output._display
        assert display is not None
        with monkeypatch.context() as patch:
            patch.setattr(display, "stop", lambda: events.append("stop"))
            patch.setattr(display, "start", lambda: events.append("start"))
            with output.paused():
                events.append("asked")
    assert events[1:] == ["stop", "asked", "start"]
    assert output._display is None


def test_a_secret_s_source_is_asked_while_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import contextmanager

    from dpki.cli.session import secret

    events: list[str] = []

    class Quiet(Output):
        @contextmanager
        def paused(self):
            events.append("quiet")
            yield
            events.append("loud")

    monkeypatch.setenv("SOME_SECRET", "x")
    assert secret("env:SOME_SECRET", Quiet(json=False))("the PIN") == "x"
    assert events == ["quiet", "loud"]


class Full(io.StringIO):
    """A stream to a file on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_full_standard_output_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", Full())
    for give in (
        lambda: Output(json=True).result({"a": 1}),
        lambda: Output(json=False).table(("a",), [("b",)]),
    ):
        with pytest.raises(DpkiError, match="standard output: No space left") as caught:
            give()
        assert "is done" in caught.value.hint


def test_words_that_nobody_can_hear_stop_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else a domain that was deployed would not be saved."""
    monkeypatch.setattr("sys.stderr", Full())
    Output(json=False).say("hello")
    Output(json=True).failure("DpkiError", "it failed", "", 1)
    assert json.loads(capsys.readouterr().out)["error"]["message"] == "it failed"


def test_a_failure_is_told_wherever_it_can_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout", Full())
    Output(json=True).failure("DpkiError", "it failed", "", 1)
    assert capsys.readouterr().err == "error: it failed\n"
