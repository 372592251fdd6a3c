"""A vote signed where there is no network: only a round's file and a key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dpki.cli.output import Output
from dpki.cli.session import now, secret, unlock_wallet
from dpki.council.history import Choice
from dpki.council.votes import ROUND_LIMIT, encode_vote, parse_round, sign_vote
from dpki.council.words import describe_calls, is_understood
from dpki.errors import CheckedFalse, ConfigError, Expired, UsageError, WrongDomain
from dpki.files import create_atomic, load_bounded

if TYPE_CHECKING:
    from dpki.council.votes import RoundFile
    from dpki.transactions.wallet import Wallet

CHOICES = {"approve": Choice.APPROVE, "reject": Choice.REJECT, "withdraw": Choice.NONE}


def sign_offline(
    output: Output,
    home: Path | None,
    file: Path,
    word: str,
    *,
    nonce: int,
    valid: str | None,
    keystore: Path | None,
    out: Path | None,
    passphrase: str | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Sign a vote on what a file holds, after showing it."""
    from dpki.config.durations import parse_duration

    about = parse_round(load_bounded(file, limit=ROUND_LIMIT))
    target = out or file.with_suffix(f".{word}.vote")
    if target.exists() and not dry_run:
        raise UsageError(f"{target} exists already", hint="name another file with --out")
    document = show_file(output, about, word)
    deadline = about.proposal.deadline
    if deadline <= now():
        raise Expired(f"the round ended {deadline:%Y-%m-%d %H:%M:%S} UTC; nothing was signed")
    if valid is not None:
        deadline = min(deadline, now() + parse_duration(valid))
    if not is_understood(about.proposal.calls):
        raise CheckedFalse(
            "the round holds a call that this version of dpki does not understand; not signed",
            hint="nobody should vote on what they can't read; upgrade dpki, or vote against it",
        )
    if dry_run:
        output.say("nothing was signed")
        output.result(document | {"dry_run": True}, about.proposal.id)
        return
    if not yes and sys.stdin.isatty() and not typer.confirm(f"{word} it?", err=True):
        raise UsageError("not confirmed: nothing was signed")
    wallet = _open_wallet(output, home, about, keystore, passphrase)
    vote = sign_vote(wallet, about, CHOICES[word], nonce=nonce, deadline=deadline)
    create_atomic(target, encode_vote(vote))
    output.say(f"signed by {vote.voter}; anybody may bring it with --relay {target}")
    signed = {"file": str(target), "voter": str(vote.voter), "nonce": nonce}
    output.result(document | signed, target)


def show_file(output: Output, about: RoundFile, word: str) -> dict[str, object]:
    """Tell what a round's file holds, and return it as plain data."""
    proposal, effects = about.proposal, describe_calls(about.proposal.calls)
    output.say(f"{word} round {proposal.id}")
    output.say(f"of the council {about.council} of {about.domain}, which")
    for effect in effects:
        output.say(f"  {effect}")
    output.say(f"until {proposal.deadline:%Y-%m-%d %H:%M:%S} UTC")
    return {
        "round": str(proposal.id),
        "domain": str(about.domain),
        "council": str(about.council),
        "choice": word,
        "effects": list(effects),
        "ends_at": proposal.deadline.isoformat(),
    }


def _open_wallet(
    output: Output,
    home: Path | None,
    about: RoundFile,
    keystore: Path | None,
    passphrase: str | None,
) -> Wallet:
    """Open the key to sign with.

    Raises:
        WrongDomain: The home is another trust domain's: so may be what one thinks to vote on.
    """
    from dpki.config.admin import find_home, load_admin_config
    from dpki.transactions.wallet import load_wallet

    if keystore is not None:
        source = secret(passphrase or "prompt", output)
        with output.working("opening the wallet"):
            return load_wallet(keystore, source)
    place = find_home(home)
    try:
        config = load_admin_config(place)
    except ConfigError as error:
        raise ConfigError(
            f"no key to sign with: {error.message}", hint="name one with --keystore FILE"
        ) from error
    if config.domain not in (None, about.domain):
        raise WrongDomain(
            f"the round is about the trust domain {about.domain}, and this home about"
            f" {config.domain}; nothing was signed",
            hint="find out where the file came from; --keystore signs without a home",
        )
    return unlock_wallet(place, config, passphrase, output)
