"""What documents have from the code: docs/errors.md, docs/council.md's examples, the manual page.

Without arguments they are written; `--check` fails where one is not what the code says.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dpki.cli import council_simulate
from dpki.cli.tree import grow
from dpki.explanations import Explanation, explanations

REPOSITORY = Path(__file__).resolve().parent.parent

STATUSES = {
    1: "Failed",
    2: "Usage or configuration",
    3: "Checked and false",
    4: "Not allowed",
    5: "Could not check",
    130: "Interrupted",
}

# --- docs/errors.md ------------------------------------------------------------------------------


def errors_page() -> str:
    """Return docs/errors.md."""
    lines = [
        "# Errors",
        "",
        "Every error that dpki raises and every refusal of its contracts: why, and what to do.",
        "`dpki explain NAME` says the same, and with `--json` a failing command gives the name as",
        "`error.type`. Made of `dpki/errors.toml` by `scripts/documents.py`; do not edit.",
        "",
        "## What dpki raises",
        "",
        "The exit status tells a no (3) from a could-not-check (5), always.",
        "",
    ]
    raised = [e for e in explanations().values() if not e.is_revert]
    for status, title in STATUSES.items():
        lines += [f"### {title} (exit status {status})", ""]
        for explanation in raised:
            if explanation.exit_status == status:
                lines += entry(explanation)
    lines += [
        "## What contracts refuse",
        "",
        "Raised as `TransactionReverted` (exit status 1), and as `TransactionForbidden` (4) where",
        "the caller lacks the role. Nothing changed on chain.",
        "",
        "| error | why | what to do |",
        "|---|---|---|",
    ]
    for explanation in explanations().values():
        if explanation.is_revert:
            lines.append(f"| `{explanation.name}` | {explanation.why} | {explanation.next} |")
    return "\n".join(lines) + "\n"


def entry(explanation: Explanation) -> list[str]:
    """Return one error's paragraphs."""
    return [
        f"#### {explanation.name}",
        "",
        explanation.why,
        "",
        f"**What to do.** {explanation.next}",
        "",
    ]


# --- docs/council.md -----------------------------------------------------------------------------


def council_page() -> str:
    """Return docs/council.md with what its examples really print."""
    text = (REPOSITORY / "docs" / "council.md").read_text()
    example = r"^```console\n\$ dpki council (simulate .*)\n(?:(?!```).*\n)*```$"
    return re.sub(example, _simulated, text, flags=re.MULTILINE)


def _simulated(example: re.Match[str]) -> str:
    alone = typer.Typer()
    alone.callback()(lambda: None)
    council_simulate.register(alone)
    os.environ["COLUMNS"] = "80"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        alone(shlex.split(example[1]), standalone_mode=False)
    return f"```console\n$ dpki council {example[1]}\n{printed.getvalue()}```"


# --- the manual page -----------------------------------------------------------------------------


def manual() -> str:
    """Return the manual page, in the macros of man(7)."""
    root: Any = grow()
    lines = [
        '.\\" Made of the command line by scripts/documents.py; do not edit.',
        ".TH DPKI 1",
        ".SH NAME",
        "dpki \\- SSH certificates from a CA in an HSM, anchored on a chain, delivered over IPFS",
        ".SH SYNOPSIS",
        ".B dpki",
        ".I COMMAND",
        "[\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]",
        ".SH DESCRIPTION",
        roff(
            "Data goes to standard output: the one datum that a script wants, or one JSON document"
            " with --json. Words for people go to standard error. Secrets are never given"
            " themselves, but as where they come from: env:NAME, file:PATH, command:… or prompt."
        ),
        ".SH COMMANDS",
    ]
    for path, command in commands(root, ("dpki",)):
        lines += command_section(path, command)
    lines += [".SH EXIT STATUS", ".TP", ".B 0", "Done, or checked and true."]
    for status, title in STATUSES.items():
        lines += [".TP", f".B {status}", f"{title}."]
    lines += [
        ".SH ENVIRONMENT",
        *option("DPKI_HOME", "The admin's folder, unless --home names one."),
        *option("DPKI_DEBUG", "Show the traceback of an error."),
        *option("DPKI_PKCS11_MODULE", "The PKCS#11 module, unless the configuration names one."),
        ".SH FILES",
        *option("~/.config/dpki/", "The admin's folder: configuration, wallet, journal."),
        *option("/etc/dpki/", "A device's folder, by custom: configuration, keys, state."),
        ".SH SEE ALSO",
        ".BR ssh (1),",
        ".BR sshd_config (5)",
    ]
    return "\n".join(lines) + "\n"


def commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command with the words that call it."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from commands(child, (*path, name))


def command_section(path: tuple[str, ...], command: Any) -> list[str]:
    """Return what the manual says of one command."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    names = "".join(f" \\fI{roff(metavar(p))}\\fR" for p in arguments)
    lines = [f".SS {' '.join(path)}{names}"]
    for paragraph in re.split(r"\n\s*\n", (command.help or "").strip()):
        lines += [roff(" ".join(paragraph.split())), ".PP"]
    for param in arguments:
        lines += option(metavar(param), param.help)
    for param in options:
        value = "" if getattr(param, "is_flag", False) else f" {metavar(param)}"
        lines += option(f"{', '.join(param.opts)}{value}", param.help)
    examples = (command.epilog or "").partition("Example:\n")[2]
    return [*lines, ".PP", "Example:", ".PP", ".nf", ".RS", roff(examples), ".RE", ".fi"]


def metavar(param: Any) -> str:
    """Return what stands for a parameter's value."""
    return str(param.metavar or param.name.upper())


def option(name: str, meaning: str) -> list[str]:
    """Return one entry of a list."""
    return [".TP", f"\\fB{roff(name)}\\fR", roff(meaning)]


def roff(text: str) -> str:
    """Return text in which nothing is a command of roff's."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    return re.sub(r"^([.'])", r"\\&\1", escaped, flags=re.MULTILINE)


def main() -> int:
    """Write the documents, or hold them against the code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where one is old")
    check = parser.parse_args().check
    stale = []
    for name, text in (
        ("docs/errors.md", errors_page()),
        ("docs/council.md", council_page()),
        ("docs/install/share/man/man1/dpki.1", manual()),
    ):
        path = REPOSITORY / name
        if check and (not path.is_file() or path.read_text() != text):
            stale.append(name)
        elif not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    for name in stale:
        print(f"{name} is not what the code says; write it: scripts/documents", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
