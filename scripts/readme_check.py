"""Whether README.md, docs/operations.md and docs/runbook-compromise.md are true.

Every `dpki …` command in them exists, with those options.

Commands are taken from the shell blocks and from `code`, and held against the real command line;
help that is shown must be the real one; every file and script that it names must be there.
tests/e2e/test_readme.py runs the commands.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dpki.cli.tree import grow
from dpki.council.actions import vocabulary

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENTS = (
    REPOSITORY / "README.md",
    REPOSITORY / "docs" / "operations.md",
    REPOSITORY / "docs" / "runbook-compromise.md",
)
HELP_FLAGS = re.DOTALL | re.MULTILINE


def shell_lines(text: str) -> Iterator[str]:
    """Yield the lines of all shell blocks, continued ones joined, here-documents left out."""
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        joined = re.sub(r"\\\n\s*", " ", block)
        yield from re.sub(r"<<(\w+)\n.*?^\1$", "", joined, flags=re.DOTALL | re.MULTILINE).split(
            "\n"
        )


def dpki_commands(text: str) -> Iterator[list[str]]:
    """Yield the words after `dpki` of every command that the text gives."""
    for line in shell_lines(text):
        # Where what it says goes to is the shell's business.
        line = re.sub(r"[0-9]?>+ *&?[\w.]+", "", line)
        words = shlex.split(re.sub(r"\$\(dpki ([^)]*)\)", r" ; dpki \1 ; ", line), comments=True)
        for command in split_at(words, {";", "&&", "|", "&"}):
            if command and command[0].rpartition("=")[2] == "dpki":
                yield command[1:]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`(dpki [^`]+)`", prose):
        yield shlex.split(code)[1:]


def split_at(words: list[str], separators: set[str]) -> Iterator[list[str]]:
    """Split a list of words at separators."""
    part: list[str] = []
    for word in words:
        if word.rstrip(";") in separators or word == ";":
            yield part
            part = []
        else:
            part.append(word.rstrip(";"))
    yield part


COMMANDS: Any = grow()


def complaint(words: list[str]) -> str | None:
    """Return what is wrong with a command; None when it exists with those options."""
    command = COMMANDS
    given = list(words)
    while hasattr(command, "commands"):
        if not given or given[0].startswith("-"):
            break
        name = given.pop(0)
        if name not in command.commands:
            return f"there is no command {name!r}"
        command = command.commands[name]
    options = {
        flag: param for param in command.params for flag in (*param.opts, *param.secondary_opts)
    }
    positions, seen = 0, set()
    while given:
        word = given.pop(0)
        if not word.startswith("--"):
            positions += 1
            continue
        flag, _, value = word.partition("=")
        if flag == "--help":
            continue
        if flag not in options:
            return f"it has no option {flag}"
        param = options[flag]
        seen.add(param.name)
        if param.is_flag:
            continue
        if not value:
            if not given:
                return f"{flag} lacks its value"
            value = given.pop(0)
        choices = (param.metavar or "").split("|")
        is_closed = len(choices) > 1 and all(re.fullmatch("[a-z-]+", c) for c in choices)
        if is_closed and value not in choices:
            return f"{flag} can't be {value!r}"
    lacking = [p.opts[0] for p in command.params if p.required and p.name not in seen]
    lacking = [name for name in lacking if name.startswith("--")]
    if lacking and seen:
        return f"it lacks {lacking[0]}"
    most = sum(999 if p.nargs < 0 else p.nargs for p in command.params if is_argument(p))
    if positions > most:
        return f"it takes at most {most} arguments"
    return None


def unknown_action(words: list[str]) -> str | None:
    """Return what no council's round can hold, of what `dpki council propose` is given here."""
    known = {tuple(saying.split()[:2]) for saying in vocabulary().split("; ")}
    if words[:2] != ["council", "propose"]:
        return None
    actions = [word for word in words[2:] if " " in word]
    strange = [action for action in actions if tuple(action.split()[:2]) not in known]
    return f"no action reads {strange[0]!r}" if strange else None


def is_argument(param: Any) -> bool:
    """Whether a parameter is given by its place."""
    return getattr(param, "param_type_name", "") == "argument"


def untrue_help(text: str) -> list[str]:
    """Return the commands whose help is shown otherwise than it is."""
    untrue = []
    for command, shown in re.findall(r"^```text\n\$ (dpki[^\n]*)\n(.*?)^```", text, HELP_FLAGS):
        words = [str(Path(sys.executable).parent / "dpki"), *shlex.split(command)[1:]]
        done = subprocess.run(words, env={"COLUMNS": "80"}, capture_output=True, text=True)
        if done.stdout.strip() != shown.strip():
            untrue.append(command)
    return untrue


def missing_files(text: str, folder: Path) -> list[str]:
    """Return the files and scripts that the text names and that are not there."""
    links = {name: folder / name for name in re.findall(r"\]\(([^)#:]+)\)", text)}
    scripts = {name: REPOSITORY / name for name in re.findall(r"\bscripts/\w+\b", text)}
    return sorted(name for name, path in (links | scripts).items() if not path.exists())


def main() -> int:
    """Check, and tell."""
    complaints, count = [], 0
    for document in DOCUMENTS:
        text = document.read_text()
        wrong = [f"{name} does not exist" for name in missing_files(text, document.parent)]
        wrong += [f"`{name}` shows something else" for name in untrue_help(text)]
        for words in dpki_commands(text):
            count += 1
            fault = complaint(words) or unknown_action(words)
            if fault is not None:
                wrong.append(f"`{shlex.join(['dpki', *words])}`: {fault}")
        complaints += [f"{document.name}: {sentence}" for sentence in wrong]
    for sentence in complaints:
        print(sentence, file=sys.stderr)
    print(f"{count} commands of the documents checked", file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
