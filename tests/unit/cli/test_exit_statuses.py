"""One place turns errors into words and exit statuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

import pytest
import typer

from dpki import errors
from dpki.cli import app as cli
from dpki.cli.options import JsonOption
from dpki.errors import DpkiError
from dpki.explanations import find_explanation

REFUSED = "CertificateRegistryNotActive"


def all_errors() -> Iterator[type[DpkiError]]:
    def walk(kind: type[DpkiError]) -> Iterator[type[DpkiError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from walk(child)

    seen = dict.fromkeys(walk(DpkiError))
    yield from (kind for kind in seen if kind.__module__ == errors.__name__)


def make(kind: type[DpkiError]) -> DpkiError:
    if issubclass(kind, errors.TransactionReverted):
        return kind(REFUSED, {"caller": "0x01"}, hint="try otherwise")
    return kind("it went wrong", hint="try otherwise")


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """A command line with one command, `act`, to be given a body."""
    stage = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)

    @stage.callback()
    def root() -> None:
        pass

    monkeypatch.setattr(cli, "grow", lambda word: typer.main.get_command(stage))
    return stage


def act_raising(stage: typer.Typer, error: BaseException) -> None:
    @stage.command("act")
    def act(json: JsonOption = False) -> None:
        raise error


STATUS = {
    errors.DpkiError: 1,
    errors.TransactionFailed: 1,
    errors.TransactionReverted: 1,
    errors.TokenError: 1,
    errors.StoreFailed: 1,
    errors.UsageError: 2,
    errors.ConfigError: 2,
    errors.InvalidPrincipal: 2,
    errors.CheckedFalse: 3,
    errors.SignatureInvalid: 3,
    errors.WrongDomain: 3,
    errors.NotAllowed: 4,
    errors.PinIncorrect: 4,
    errors.TransactionForbidden: 4,
    errors.CouldNotCheck: 5,
    errors.EndpointUnavailable: 5,
    errors.DomainNotShown: 5,
    errors.ContentUnavailable: 5,
}


@pytest.mark.parametrize(
    ("kind", "status"), STATUS.items(), ids=lambda v: getattr(v, "__name__", v)
)
def test_status_of(stage: typer.Typer, kind: type[DpkiError], status: int) -> None:
    act_raising(stage, make(kind))
    assert cli.run(["act"]) == status


@pytest.mark.parametrize("kind", all_errors())
def test_each_error_is_told_once_with_what_to_do_next(
    stage: typer.Typer, kind: type[DpkiError], capsys: pytest.CaptureFixture[str]
) -> None:
    error = make(kind)
    act_raising(stage, error)
    assert cli.run(["act"]) == error.exit_status
    captured = capsys.readouterr()
    told, _, more = captured.err.partition("  more: ")
    assert told == f"error: {error.message}\n  next: try otherwise\n"
    assert captured.out == ""
    if more:
        name = more.removeprefix("dpki explain ").strip()
        assert find_explanation(name).exit_status == error.exit_status or name == REFUSED
    else:
        assert type(error) in (errors.DpkiError, errors.UsageError)


def test_json_has_the_error_as_a_document(
    stage: typer.Typer, capsys: pytest.CaptureFixture[str]
) -> None:
    act_raising(stage, errors.PinIncorrect("the token refused the PIN", hint="ask for it"))
    assert cli.run(["act", "--json"]) == 4
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "error": {
            "type": "PinIncorrect",
            "message": "the token refused the PIN",
            "hint": "ask for it",
            "exit_status": 4,
        }
    }
    assert "error: the token refused the PIN" in captured.err


def test_what_nobody_expected_is_one_line_that_repeats_nothing(
    stage: typer.Typer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DPKI_DEBUG", raising=False)
    act_raising(stage, ValueError("hunter2"))
    assert cli.run(["act"]) == 1
    assert capsys.readouterr().err == (
        "error: dpki failed unexpectedly: ValueError\n  next: set DPKI_DEBUG=1 for the traceback\n"
    )


def test_debug_shows_the_traceback(
    stage: typer.Typer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DPKI_DEBUG", "1")
    act_raising(stage, ValueError("odd"))
    assert cli.run(["act"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), typer.Abort()])
def test_interrupted(
    stage: typer.Typer, error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    act_raising(stage, error)
    assert cli.run(["act"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_interrupted_while_issuing_says_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dpki.cli.resume.resume_all", interrupt)
    monkeypatch.setattr("dpki.cli.ssh_work.issue_one", interrupt)
    words = ["--key", "a.pub", "--identity", "alice", "--principal", "ops"]
    assert cli.run(["ssh", "issue", "--ca", "users", *words]) == 130
    assert "dpki ssh resume" in capsys.readouterr().err
    assert cli.run(["ssh", "resume"]) == 130
    assert "run it again" in capsys.readouterr().err


def test_a_command_s_own_status(stage: typer.Typer) -> None:
    @stage.command("act")
    def act() -> None:
        raise typer.Exit(3)

    assert cli.run(["act"]) == 3


@pytest.mark.parametrize("arguments", [["nonsense"], ["act", "--nonsense"], ["act"]])
def test_wrong_usage(
    stage: typer.Typer, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    @stage.command("act")
    def act(number: Annotated[int, typer.Option("--number")], json: JsonOption = False) -> None:
        pass

    assert cli.run([*arguments, "--json"]) == 2
    captured = capsys.readouterr()
    assert "--help" in captured.err
    assert json.loads(captured.out)["error"]["type"] == "UsageError"


def test_main_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
