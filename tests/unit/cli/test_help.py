"""Every command explains itself, quickly, and shows an example."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from dpki import __version__
from dpki.cli.app import run
from dpki.cli.tree import COMMANDS as SINGLE
from dpki.cli.tree import GROUPS as NOUNS
from dpki.cli.tree import grow

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


def commands(word: str | None = None) -> Iterator[tuple[tuple[str, ...], Any]]:
    def walk(path: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
        for name, child in getattr(command, "commands", {}).items():
            yield from walk((*path, name), child)
        if not hasattr(command, "commands"):
            yield path, command

    yield from walk((), grow(word))


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


GROUPS = sorted({path[:-1] for path in COMMANDS})


@pytest.mark.parametrize("path", GROUPS, ids=" ".join)
def test_no_summary_is_cut_off(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path, "--help"]) == 0
    listed = capsys.readouterr().out.split("Commands:")[1]
    assert "..." not in listed


def test_the_commands_are_the_ones_that_are_documented() -> None:
    assert {" ".join(path) for path in COMMANDS} == {
        "init",
        "deploy",
        "verify",
        "doctor",
        "audit run",
        "watch",
        "audit key",
        "audit publish",
        "audit confirm",
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
        "ca watch",
        "watchdog keys",
        "watchdog run",
        "watchdog list",
        "watchdog confirm",
        "watchdog object",
        "watchdog relay",
        "watchdog request",
        "ca request",
        "ca register",
        "ca name",
        "ca list",
        "ca show",
        "ca profile show",
        "ca profile lint",
        "ca rotate",
        "ca close",
        "ca suspend",
        "ca lift",
        "ca retire",
        "ca operator",
        "ca revoker",
        "ca lifetime",
        "domain show",
        "domain governor",
        "domain guardian",
        "domain registrar",
        "council init",
        "council propose",
        "council list",
        "council show",
        "council sign",
        "council approve",
        "council reject",
        "council withdraw",
        "council execute",
        "council settle",
        "council members",
        "council weights",
        "council simulate",
        "timelock list",
        "timelock execute",
        "timelock cancel",
        "device init",
        "device request",
        "device ask",
        "device join",
        "device rekey",
        "device topup",
        "device enroll",
        "device update",
        "device list",
        "device collect",
        "device collect-key",
        "device label",
        "device ring",
        "device rename",
        "device token",
        "device tokens",
        "device watch",
        "device retire",
        "device replace",
        "ssh issue",
        "ssh grant",
        "ssh rotate",
        "ssh revoke",
        "ssh list",
        "ssh resume",
        "ssh anchor",
        "ssh withdraw",
        "ssh known-hosts",
        "wallet show",
        "wallet create",
        "wallet use",
        "wallet pending",
        "wallet unstick",
        "agent once",
        "agent run",
        "agent status",
        "agent rollback-files",
        "agent install",
        "agent uninstall",
    }


@pytest.mark.parametrize("word", [*NOUNS, *SINGLE])
def test_what_is_grown_of_one_word_is_what_the_whole_tree_has_there(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    grown = {path for path, _ in commands(word) if path[0] == word}
    assert grown == {path for path in COMMANDS if path[0] == word}
    for path in grown:
        assert run([*path, "--help"]) == 0
        lines = capsys.readouterr().out
        grow()([*path, "--help"], prog_name="dpki", standalone_mode=False)
        assert capsys.readouterr().out == lines


def test_what_is_said_of_all_is_what_the_whole_tree_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments in (["--help"], ["--version"], []):
        status = run(arguments)
        said = capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dpki.cli.app.grow", lambda word: grow())
            assert run(arguments) == status
        assert capsys.readouterr() == said
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from dpki.cli.app import run; run(['--help']);print(*sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {f"dpki.cli.{noun}" for noun in NOUNS} & set(done.stdout.split())


def test_a_word_loads_only_what_is_its_own() -> None:
    program = (
        "import sys; from dpki.cli.app import run; run(['ssh', '--help']); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "dpki.cli.ssh" in done.stdout.split()
    assert "dpki.cli.council" not in done.stdout.split()


def test_no_secret_can_be_given_itself() -> None:
    for path, command in COMMANDS.items():
        for param in command.params:
            if param.name in ("pin", "passphrase", "broker_password") or (
                path[0] == "device" and param.name == "token"
            ):
                assert param.metavar == "SPEC", path
            else:
                assert not {"secret", "password", "private"} & set(param.name.split("_")), path


# Those ask for a passphrase of another kind, or spend nothing.
NO_EXPENSE = {
    ("agent", "install"),
    ("agent", "rollback-files"),
    ("agent", "uninstall"),
    ("bundle", "gc"),
    ("device", "label"),
    ("device", "ring"),
}
NO_REHEARSAL = {
    ("init",),
    ("backup",),
    ("restore",),
    ("wallet", "show"),
    ("watchdog", "keys"),
    ("audit", "key"),
}


def test_whatever_spends_can_be_rehearsed() -> None:
    spends = {
        path
        for path, command in COMMANDS.items()
        if "passphrase" in {param.name for param in command.params}
    }
    rehearsable = {
        path
        for path, command in COMMANDS.items()
        if "dry_run" in {param.name for param in command.params}
    }
    assert spends - rehearsable == NO_REHEARSAL
    assert rehearsable - spends == NO_EXPENSE


def test_whatever_sends_has_the_same_options() -> None:
    senders = 0
    for path, command in COMMANDS.items():
        names = {param.name for param in command.params}
        if names & {"max_fee", "gas_limit"}:
            assert names >= {"max_fee", "gas_limit", "dry_run", "yes", "json", "passphrase"}, path
            senders += 1
    assert senders > 10


def test_what_can_not_be_undone_asks_or_can_be_rehearsed() -> None:
    for path, command in COMMANDS.items():
        names = {param.name for param in command.params}
        if re.search(r"\bfor ever\b", command.help or ""):
            assert names & {"dry_run", "yes"}, path


# They read or write a file or two, and nothing else.
INSTANT = (
    ("explain",),
    ("agent", "status"),
    ("ca", "profile", "show"),
    ("ca", "profile", "lint"),
    ("device", "collect-key"),
    ("device", "label"),
    ("device", "rename"),
    ("device", "token"),
    ("device", "tokens"),
    ("devnet", "status"),
)


source_of = cache(inspect.getsource)


@pytest.mark.parametrize("path", [path for path in COMMANDS if path not in INSTANT], ids=" ".join)
def test_every_command_that_may_wait_shows_that_it_does(path: tuple[str, ...]) -> None:
    callback = inspect.unwrap(COMMANDS[path].callback)
    module = sys.modules[callback.__module__]
    seen, waiting = set(), [callback]
    while waiting:
        function = waiting.pop()
        source = source_of(function)
        if re.search(r"output\.(working|steps|counting)\(", source):
            return
        seen.add(function)
        scope = dict(vars(sys.modules[function.__module__]))
        for found in re.finditer(r"from (dpki\.cli\.\w+) import ([\w, ]+)", source):
            scope |= vars(importlib.import_module(found[1]))
        called = [scope.get(name) for name in re.findall(r"\b(\w+)\(", source)]
        waiting += [
            f
            for f in called
            if inspect.isfunction(f) and f not in seen and "dpki.cli" in f.__module__
        ]
    pytest.fail(f"{path} may take more than a second, and shows nothing meanwhile: {module}")


class TestCompletion:
    def complete(self, *words: str, shell: str = "bash") -> list[str]:
        """Ask the program as a shell does when somebody presses tab after the last word."""
        line = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
        if shell != "bash":
            line = {
                "_TYPER_COMPLETE_ARGS": " ".join(words),
                "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            }
        done = subprocess.run(
            [str(Path(sys.executable).parent / "dpki")],
            env={"_DPKI_COMPLETE": f"complete_{shell}", "PATH": "/usr/bin:/bin", **line},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split()

    def test_commands(self) -> None:
        assert set(self.complete("dpki", "")) == {path[0] for path in COMMANDS}
        below = {path[1] for path in COMMANDS if path[0] == "ssh"}
        assert set(self.complete("dpki", "ssh", "")) == below

    def test_options(self) -> None:
        assert set(self.complete("dpki", "ssh", "issue", "--ke")) == {"--key", "--keygen"}

    def test_names_of_errors(self) -> None:
        assert self.complete("dpki", "explain", "Endp") == ["EndpointUnavailable"]

    @pytest.mark.parametrize("shell", ["zsh", "fish"])
    def test_other_shells(self, shell: str) -> None:
        assert any("doctor" in word for word in self.complete("dpki", "doc", shell=shell))

    def test_bash_runs_what_is_installed(self, tmp_path: Path) -> None:
        program = Path(sys.executable).parent / "dpki"
        script = tmp_path / "completion"
        with script.open("w") as file:
            subprocess.run(
                [program, "--show-completion", "bash"],
                env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", "PATH": "/usr/bin:/bin"},
                stdout=file,
                check=True,
            )
        ask = 'COMP_WORDS=(dpki dev); COMP_CWORD=1; _dpki_completion dpki; echo "${COMPREPLY[@]}"'
        done = subprocess.run(
            ["bash", "-c", f"source {script}; {ask}"],
            env={"PATH": f"{program.parent}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == ["devnet", "device"]


def test_first_lines_are_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["--help"],
        *(
            [noun, "--help"]
            for noun in ("ca", "council", "domain", "timelock", "device", "ssh", "devnet")
        ),
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


def test_a_device_and_whoever_only_looks_need_nothing_of_an_admin_s() -> None:
    modules = ", ".join((*FOR_DEVICES, *LOOKING_ONLY))
    program = f"import sys, {modules}; print([m for m in {ADMIN_ONLY!r} if m in sys.modules])"
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
