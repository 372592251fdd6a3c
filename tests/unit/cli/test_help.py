"""Every command explains itself, quickly, and shows an example."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from dpki import __version__
from dpki.cli.app import app, run

HEAVY = (
    "coincurve",
    "cryptography",
    "eth_abi",
    "eth_account",
    "eth_hash",
    "httpcore",
    "httpx",
    "ipfshttpclient",
    "nacl",
    "pkcs11",
    "rich",
    "sqlite3",
    "web3",
)


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    def walk(path: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
        for name, child in getattr(command, "commands", {}).items():
            yield from walk((*path, name), child)
        if not hasattr(command, "commands"):
            yield path, command

    yield from walk((), typer.main.get_command(app))


COMMANDS = dict(commands())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*path, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Example:" in text
    assert f"dpki {' '.join(path)}" in text.split("Example:")[1]
    assert "--json" in text
    for param in COMMANDS[path].params:
        assert param.help, f"{path}: {param.name} is not explained"


def test_the_commands_are_the_ones_that_are_documented() -> None:
    assert {" ".join(path) for path in COMMANDS} == {
        "init",
        "deploy",
        "verify",
        "doctor",
        "explain",
        "backup",
        "bundle list",
        "bundle retry",
        "bundle repin",
        "bundle gc",
        "restore",
        "devnet up",
        "devnet status",
        "devnet down",
        "ca create",
        "ca list",
        "ca show",
        "ca profile show",
        "ca profile lint",
        "ca rotate",
        "ca close",
        "ca suspend",
        "ca lift",
        "ca retire",
        "device init",
        "device rekey",
        "device enroll",
        "device update",
        "device list",
        "device retire",
        "ssh issue",
        "ssh rotate",
        "ssh revoke",
        "ssh list",
        "ssh resume",
        "ssh known-hosts",
        "wallet show",
        "wallet create",
        "wallet use",
        "agent once",
        "agent status",
    }


def test_no_secret_can_be_given_itself() -> None:
    for path, command in COMMANDS.items():
        for param in command.params:
            if param.name in ("pin", "passphrase"):
                assert param.metavar == "SPEC", path
            else:
                assert not {"secret", "password", "private"} & set(param.name.split("_")), path


def test_first_lines_are_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["--help"],
        *([noun, "--help"] for noun in ("ca", "device", "ssh", "devnet")),
    ):
        assert run(arguments) == 0
        assert "..." not in capsys.readouterr().out.partition("Commands:")[2]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["ssh", "issue", "--help"], ["--version"], ["ca", "create"]]
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys; from dpki.cli.app import run; status = run(sys.argv[1:]);"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr); sys.exit(0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"


ADMIN_ONLY = ("eth_account", "ipfshttpclient", "pkcs11", "solcx", "web3")
FOR_DEVICES = (
    "dpki.agent.once",
    "dpki.agent.status",
    "dpki.cli.device_setup",
    "dpki.issuance.release",
    "dpki.verification.check",
    "dpki.verification.known_hosts",
)
LOOKING_ONLY = ("dpki.cli.issuing", "dpki.cli.session", "dpki.cli.ssh_work", "dpki.cli.ca_work")


@pytest.mark.parametrize("module", [*FOR_DEVICES, *LOOKING_ONLY])
def test_a_device_and_whoever_only_looks_need_nothing_of_an_admin_s(module: str) -> None:
    program = f"import sys, {module}; print([m for m in {ADMIN_ONLY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"dpki {__version__}\n"


def test_nouns_without_a_verb_show_help_and_are_a_usage_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments in ([], ["ca"], ["ssh"]):
        assert run(arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "Commands:" in captured.err
