"""`dpki backup` and `dpki restore`: an admin's home in one encrypted file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpki.cli.options import HomeOption, JsonOption, example
from dpki.cli.output import Output
from dpki.errors import UsageError

BackupPassphrase = Annotated[
    str,
    typer.Option(
        "--passphrase",
        metavar="SPEC",
        help="The backup's own passphrase: env:NAME, file:PATH, command:…, prompt.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("backup", epilog=example("dpki backup /media/stick/dpki-2026-11.backup"))(backup)
    app.command(
        "restore", epilog=example("dpki restore /media/stick/dpki-2026-11.backup --home ./home")
    )(restore)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")],
    passphrase: BackupPassphrase = "prompt",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Back up journal, wallet, issuers' keys and configuration. Prints the file.

    Encrypted with a passphrase of its own. CAs' keys in the token are not in it.
    """
    from dpki.cli.session import secret
    from dpki.config.admin import find_home
    from dpki.issuance.backup import back_up, outside

    output = Output(json=json)
    source = secret(passphrase, output)

    def asked(what: str) -> str:
        answer = source(what)
        if passphrase == "prompt" and source(f"{what}, again") != answer:
            raise UsageError("the two passphrases differ", hint="run the command again")
        return answer

    file = file.absolute()
    with output.working("encrypting the backup"):
        names = back_up(find_home(home), file, asked)
        elsewhere = outside(find_home(home))
    output.say(f"backed up {len(names)} files; keep the token's own backup beside it")
    for key in elsewhere:
        output.say(f"warning: the CA's key {key} is outside the home, and not in the backup")
    output.result(
        {"backup": str(file), "files": list(names), "outside": list(elsewhere)}, str(file)
    )


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")],
    passphrase: BackupPassphrase = "prompt",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Make a home from a backup; one that is in use is never touched. Prints the home.

    A backup of any age is safe: the chain says which serials are free.
    """
    from dpki.cli.session import secret
    from dpki.config.admin import find_home
    from dpki.issuance.backup import restore as restore_home

    output = Output(json=json)
    target = find_home(home)
    with output.working("opening the backup"):
        names = restore_home(target, file.absolute(), secret(passphrase, output))
    output.say(f"restored {len(names)} files; finish what it was about with: dpki ssh resume")
    output.result({"home": str(target.directory), "files": list(names)}, str(target.directory))
