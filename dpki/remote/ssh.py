"""Commands on other hosts, through the system's own `ssh` with the admin's own configuration.

Nobody is asked anything, and no unknown host key is ever accepted: what comes over the connection
is taken for the host's word. What a command needs goes through its standard input; nothing secret
is ever sent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from dpki.errors import HostFailed, UsageError
from dpki.strict_ssh import REFUSED, ssh_command, talking

ANSWER_LIMIT = 256 << 10
"""Bytes that a host may answer with: a request has far fewer."""

_DESTINATION = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,63}@)?[A-Za-z0-9_][A-Za-z0-9._:-]{0,252}"
)
_OPTION = re.compile(r"[A-Za-z]{2,40}=[^\n\r]{1,400}")


@dataclass(frozen=True)
class Connection:
    """How hosts are reached.

    Attributes:
        config: The file for `ssh -F`; empty for the admin's own.
        options: For `ssh -o`, after those that can't be weakened.
    """

    config: str = ""
    options: tuple[str, ...] = ()

    def verify(self) -> None:
        """Refuse what `ssh` would not take as one option.

        Raises:
            UsageError: One reads otherwise.
        """
        for option in self.options:
            if not _OPTION.fullmatch(option):
                raise UsageError(
                    f"{option[:80]!r} is no option of ssh",
                    hint="write NAME=VALUE, as in ssh_config(5): --ssh-option Port=2222",
                )

    def command(self, host: str, words: str) -> list[str]:
        """Return the words that run a command line there."""
        return [*ssh_command(self.config, self.options), "--", host, words]


def verify_destination(text: str) -> str:
    """Return `user@host` or `host` as it is; nothing that ssh or a shell could take otherwise.

    Raises:
        UsageError: It reads otherwise.
    """
    if not _DESTINATION.fullmatch(text):
        raise UsageError(
            f"{text[:80]!r} is no host", hint="write USER@HOST; a port goes into ~/.ssh/config"
        )
    return text


@dataclass(frozen=True)
class RemoteHost:
    """One host.

    Attributes:
        destination: As `ssh` takes it.
        prefix: What a command line is run through there to be root; empty where it needs nothing.
    """

    destination: str
    connection: Connection
    prefix: str = ""

    def run(
        self,
        script: str,
        words: Sequence[str] = (),
        *,
        given: bytes = b"",
        deadline: timedelta,
    ) -> bytes:
        """Run a POSIX shell script there, and return what it printed.

        Args:
            script: Its text; what it needs to know are its arguments, `$1` and so on.
            given: Its standard input.

        Raises:
            HostFailed: The host was not reached, or is not the one that is known, the script
                failed, or took too long; the message has the last thing that it said.
        """
        line = " ".join(_quoted(word) for word in ("sh", "-c", script, "dpki", *words))
        command = self.connection.command(self.destination, self.prefix + line)
        answer = b""
        try:
            with talking(command, given, deadline) as talk:
                for piece in talk:
                    answer += piece
                    if len(answer) > ANSWER_LIMIT:
                        raise HostFailed(f"{self.destination} answered with too much")
        except TimeoutError:
            raise HostFailed(
                f"{self.destination} did not answer within {deadline.total_seconds():.0f} s",
                hint="look at the host, then run the command again: it goes on with what is left",
            ) from None
        except OSError as error:
            raise HostFailed(f"ssh can't be run: {error.strerror}", hint="install it") from error
        if talk.status == REFUSED:
            raise HostFailed(
                f"{self.destination} was not reached: {_last_line(talk.words)}",
                hint=f"try: ssh {self.destination} true; an unknown host key is never accepted:"
                " compare it, and put it into known_hosts yourself",
            )
        if talk.status != 0:
            raise HostFailed(f"{self.destination}: {_last_line(talk.words)}")
        return answer


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\"'\"'") + "'"


def _last_line(said: bytes) -> str:
    """Return the last thing that was said, without what a terminal would obey."""
    lines = [line for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    last = (
        errors[-1].removeprefix("error: ") if errors else lines[-1] if lines else "it said nothing"
    )
    return "".join(c for c in last.strip() if c.isprintable())[:300]
