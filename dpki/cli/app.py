"""The `dpki` command: one place where errors become words and exit statuses."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from dpki.cli.ending import AT_END
from dpki.cli.output import Output
from dpki.cli.tree import grow
from dpki.errors import DpkiError

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 and the signal's number, as shells have it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit status."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status; nothing escapes but bugs in here.

    0 done; 1 failed; 2 usage or configuration; 3 checked and false; 4 not allowed; 5 could not
    check; 130 interrupted.
    """
    output = Output(json="--json" in arguments)
    try:
        is_completing = "_DPKI_COMPLETE" in os.environ
        command = grow(None if is_completing else arguments[0] if arguments else "")
        status = command(list(arguments), prog_name="dpki", standalone_mode=False)
    except DpkiError as error:
        _trace()
        output.error(error)
        return error.exit_status
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except typer.TyperException as error:
        return _usage(output, error)
    except BrokenPipeError:
        # Whoever read our stdout has seen enough; Python's own flush at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        _trace()
        message = f"the system refused: {error}"
        output.failure("Unexpected", message, "set DPKI_DEBUG=1 to see where", 1)
        return 1
    except Exception as error:  # noqa: BLE001 - the last net: one line instead of a traceback
        _trace()
        message = f"dpki failed unexpectedly: {type(error).__name__}"
        output.failure("Unexpected", message, "set DPKI_DEBUG=1 for the traceback", 1)
        return 1
    finally:
        AT_END.close()
    if status == INTERRUPTED:
        output.failure("Interrupted", "interrupted", LEFT.get(_command(arguments), ""), INTERRUPTED)
    return status if isinstance(status, int) else 0


LEFT = {
    "ssh issue": "what was signed is in the journal; go on with it: dpki ssh resume",
    "ssh grant": "see what was granted with: dpki ssh list; end it with: dpki ssh revoke",
    "ssh rotate": "what was signed is in the journal; go on with it: dpki ssh resume",
    "ssh resume": "run it again",
    "ssh anchor": "run it again; what is on chain already is found",
    "ssh withdraw": "see what waits with: dpki ssh list",
    "ca request": "run it again; it goes on with the key in the token",
    "ca register": "see what the chain says with: dpki ca list",
    "ssh revoke": "run it again; what is revoked stays revoked",
    "ca create": "run it again; it goes on with the key in the token",
    "ca rotate": "run it again; it goes on with the key in the token",
    "ca close": "see what the chain says with: dpki ca show",
    "ca suspend": "see what the chain says with: dpki ca show",
    "ca lift": "see what the chain says with: dpki ca show",
    "ca retire": "see what the chain says with: dpki ca show",
    "ca operator": "run it again; it goes on where things stand",
    "ca revoker": "run it again; it goes on where things stand",
    "ca lifetime": "run it again; it goes on where things stand",
    "domain": "see what the chain says with: dpki domain show",
    "council init": "run it again; it goes on where it stopped",
    "council propose": "run it again; it goes on with the round that is open",
    "council": "see where the round stands with: dpki council list",
    "timelock": "see what the chain says with: dpki timelock list --all",
    "device enroll": "run it again; a device that is enrolled is found",
    "device update": "run it again",
    "wallet unstick": "see what still waits with: dpki wallet pending",
    "deploy": "a domain may have been deployed all the same; running it again deploys another",
    "devnet up": "see what is left with: dpki devnet status",
    "bundle retry": "run it again; what was put is there",
    "bundle repin": "run it again; what was put is there",
    "bundle gc": "run it again; what was removed is gone",
    "backup": "run it again; the file is there complete, or not at all",
    "restore": "run it again; the home is there complete, or not at all",
    "watchdog run": "run it again; what was said on chain stays said",
    "watchdog confirm": "run it again",
    "watchdog object": "run it again",
    "watchdog relay": "run it again; what counted is skipped",
    "watchdog request": "run it again; what was shown is found",
    "watch": "run it again; it goes on where it stood",
    "audit run": "run it again; it goes on where it stood",
    "audit publish": "run it again; what was signed is there complete, or not at all",
    "agent once": "run it again; every file is the old one or the new one",
}
"""What an interrupted command may have left, and what to do then."""


def _command(arguments: Sequence[str]) -> str:
    words = [argument for argument in arguments if not argument.startswith("-")]
    return next((name for name in LEFT if words[: len(name.split())] == name.split()), "")


def _usage(output: Output, error: typer.TyperException) -> int:
    """Tell how a command is used; typer's own display is for people only."""
    context = getattr(error, "ctx", None)
    path = "dpki" if context is None else context.command_path
    if type(error).__name__ == "NoArgsIsHelpError":
        output.say(error.format_message())
        return error.exit_code
    output.failure("UsageError", error.format_message(), f"{path} --help", error.exit_code)
    return error.exit_code


def _trace() -> None:
    if os.environ.get("DPKI_DEBUG"):
        import traceback

        traceback.print_exc()
