"""`dpki watch`, step by step."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from dpki.audit.alerts import Expected, anything
from dpki.audit.delivery import Command, Postman, Way, Webhook
from dpki.audit.sentry import Memory, Sentry
from dpki.chain.connect import connect_agreed
from dpki.cli.options import argument
from dpki.cli.output import Output
from dpki.cli.session import secret
from dpki.config.admin import Home
from dpki.config.urls import verify_url, verify_urls
from dpki.errors import CouldNotCheck, DpkiError, UsageError
from dpki.files import make_private_directory, state_folder
from dpki.issuance.database import Database
from dpki.issuance.index import Index
from dpki.issuance.journal import Journal
from dpki.locks import Turn, hold
from dpki.model import AuthorityId, DomainId, Hash32


@dataclass(frozen=True)
class Wishes:
    """What somebody asked for; see the command's options."""

    domain: str
    rpc: tuple[str, ...]
    quorum: int | None = None
    once: bool = False
    interval: timedelta = timedelta(seconds=30)
    command: str | None = None
    webhook: str | None = None
    journal: Path | None = None
    quiet: tuple[str, ...] = ()
    confirmations: int = 1
    start: int | None = None
    state: Path | None = None


@dataclass(frozen=True)
class Lines:
    """Standard output: a line for each alert."""

    output: Output
    name: str = "stdout"

    def send(self, document: Mapping[str, object]) -> None:
        """Print the alert."""
        self.output.line(document, f"{document['kind']}: {document['text']}")


def watch_domain(
    output: Output, wishes: Wishes, *, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Look for alerts, for ever or once; endpoints that are away are waited for.

    Raises:
        CouldNotCheck: With `once`: the endpoints did not answer.
        DpkiError: With `once`: an alert could not be delivered; it is kept.
    """
    domain_id, urls = argument(DomainId.parse, wishes.domain), verify_urls(wishes.rpc)
    ways = find_ways(output, wishes)
    path = wishes.state or default_state(domain_id)
    make_private_directory(path.parent)
    with (
        hold(path.with_suffix(".lock"), Turn("dpki watch", output.notice)),
        Memory(path, domain_id) as memory,
        find_expected(domain_id, wishes) as expected,
    ):
        postman = Postman(memory, ways)
        while True:
            failure = None
            try:
                with (
                    output.working("looking at what happened"),
                    connect_agreed(urls, domain_id, wishes.quorum) as connection,
                ):
                    Sentry(
                        connection.reader,
                        connection.domain,
                        memory,
                        [way.name for way in ways],
                        expected,
                        wishes.confirmations,
                    ).look(wishes.start)
            except CouldNotCheck as error:
                failure = error
            failed = postman.deliver()
            if wishes.once:
                if failure is not None:
                    raise failure
                if failed:
                    raise DpkiError(
                        f"alerts could not be delivered: {'; '.join(failed)}",
                        hint="they are kept, and go with the next run",
                    )
                return
            for words in [*failed, *([failure.message] if failure is not None else [])]:
                output.say(f"warning: {words}; it will be tried again")
            with output.working(f"next look in {wishes.interval.total_seconds():g} s"):
                sleep(wishes.interval.total_seconds())


def find_ways(output: Output, wishes: Wishes) -> tuple[Way, ...]:
    """Return where alerts go.

    Raises:
        UsageError: A command or URL is none.
    """
    ways: list[Way] = [Lines(output)]
    if wishes.command is not None:
        try:
            words = shlex.split(wishes.command)
        except ValueError as error:
            raise UsageError("the command of --exec is not quoted well") from error
        if not words:
            raise UsageError("the command of --exec is empty")
        ways.append(Command(tuple(words)))
    if wishes.webhook is not None:
        url = wishes.webhook
        if not url.startswith(("http:", "https:")):
            url = secret(url, output)("the webhook's URL")
            try:
                verify_url(url)
            except UsageError as error:
                raise UsageError("what --webhook names holds no http or https URL") from error
        ways.append(Webhook(verify_url(url)))
    return tuple(ways)


@contextmanager
def find_expected(domain: DomainId, wishes: Wishes) -> Iterator[Expected]:
    """Give what says which issues are expected.

    Raises:
        UsageError: There is no such home, or no such CA.
    """
    quiet = frozenset(argument(AuthorityId.parse, text) for text in wishes.quiet)
    with ExitStack() as stack:
        known: Expected = anything
        if wishes.journal is not None:
            home = Home(wishes.journal.expanduser().absolute())
            if not home.journal.exists():
                raise UsageError(f"there is no journal in {home.directory}")
            database = stack.enter_context(Database(home.journal, domain))
            known = _journaled(Journal(database), Index(database))

        def expected(ca: AuthorityId, serial: int, hash: Hash32) -> bool:
            return ca not in quiet and known(ca, serial, hash)

        yield expected


def default_state(domain: DomainId) -> Path:
    """Return where the watch of a domain keeps where it stood."""
    name = f"{domain.chain_id}-{str(domain.address).lower()}-{domain.block_hash.hex()[:16]}"
    return state_folder("watches") / f"{name}.sqlite"


def _journaled(journal: Journal, index: Index) -> Expected:
    """Expect what the journal knows, of CAs that the home has a name for."""

    def expected(ca: AuthorityId, serial: int, hash: Hash32) -> bool:
        return ca not in index.authorities().values() or journal.knows(ca, serial, hash)

    return expected
