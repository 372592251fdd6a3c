"""`dpki audit key`, `publish` and `confirm`, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.audit.index import Index
from dpki.audit.run import Standing, audit, standing
from dpki.chain.connect import Connection, connect_agreed
from dpki.chain.rpc import Reader, fetch_block
from dpki.cli.audit_work import default_index
from dpki.cli.options import argument
from dpki.cli.output import Output
from dpki.cli.session import now, secret
from dpki.config.durations import parse_duration
from dpki.config.urls import verify_urls
from dpki.config.witnesses import Witness, parse_named
from dpki.errors import ConfigError, KeyNotFound, UsageError
from dpki.files import load_bounded, make_private_directory, state_folder
from dpki.locks import Turn, hold
from dpki.model import DomainId, Hash32
from dpki.note import VerifierKey
from dpki.signer.base import KeyType, Signer
from dpki.signer.file import create_key_file, open_file_signer
from dpki.signer.pin import PinSource
from dpki.signer.uri import FileUri, KeyUri, parse_key_uri
from dpki.verification.checkpoint import Checkpoint
from dpki.verification.witnesses import (
    Answer,
    Confirmation,
    Seen,
    compare_with_each_other,
    form_opinion,
)
from dpki.witness.archive import Archive, describe
from dpki.witness.gather import Said, gather
from dpki.witness.publish import Publication, blocks_to_sign

LIST_LIMIT = 64 * 1024


def make_key(output: Output, key: str, name: str, passphrase: str) -> None:
    """Make a witness's key, or find it, and print its public half."""
    uri, source = argument(parse_key_uri, key), secret(passphrase, output)
    argument(lambda typed: VerifierKey(typed, _ANY_KEY), name)
    with output.working("making the key"):
        try:
            public = _public_key(uri, name, source)
        except KeyNotFound:
            _generate(uri, source)
            output.notice(f"made {uri}: whoever has it can speak as {name}, so keep it safe")
            public = _public_key(uri, name, source)
    output.say("give this to those who are to rely on the witness:")
    output.result({"key": str(public), "name": name, "uri": str(uri)}, public)


def _public_key(uri: KeyUri, name: str, source: PinSource) -> VerifierKey:
    with _open(uri, source) as signer:
        return VerifierKey(name, Hash32(_private_key(signer).public_key().public_bytes_raw()))


def _generate(uri: KeyUri, source: PinSource) -> None:
    if isinstance(uri, FileUri):
        create_key_file(uri, KeyType.ED25519, source)
    else:
        from dpki.signer.pkcs11 import generate_key

        generate_key(uri, KeyType.ED25519, source)


def _open(uri: KeyUri, source: PinSource) -> AbstractContextManager[Signer]:
    if isinstance(uri, FileUri):
        return open_file_signer(uri, source)
    from dpki.signer.pkcs11 import open_signer

    return open_signer(uri, source)


def _private_key(signer: Signer) -> Ed25519PrivateKey:
    key = signer.private_key
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(
            f"{signer.uri} is a {signer.key_type.value} key, and a witness's is an Ed25519 key",
            hint="make one with: dpki audit key",
        )
    return key


_ANY_KEY = Hash32(Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw())
"""Stands in where a name is to be checked before there is a key."""


def publish_all(
    output: Output,
    domain: str,
    rpc: Sequence[str],
    *,
    quorum: int | None,
    key: str,
    name: str,
    passphrase: str,
    folder: Path,
    every: int,
    index: Path | None,
    dry_run: bool,
) -> None:
    """Audit, sign, publish.

    Raises:
        HistoryContradicted: The audit found a contradiction; nothing was signed.
        WouldContradict: What was signed once, and what was seen now, differ.
    """
    domain_id, urls = argument(DomainId.parse, domain), verify_urls(rpc)
    uri, source = argument(parse_key_uri, key), secret(passphrase, output)
    with (
        _open(uri, source) as signer,
        connect_agreed(urls, domain_id, quorum) as connection,
        _opened(index or _own_index(domain_id), domain_id, output) as opened,
    ):
        publication = Publication(folder, name, _private_key(signer))
        reader = connection.reader
        final = fetch_block(reader, "finalized")
        latest = publication.newest(domain_id)
        first = connection.domain.block.number - 1
        after = first if latest is None else latest.number
        blocks = blocks_to_sign(after, 0 if final is None else final.number, every)
        seen = opened.seen()
        if blocks and seen is not None and seen.block.number > blocks[-1]:
            raise ConfigError(
                f"the audit's index stands at block {seen.block.number} already, and checkpoints"
                f" are due for blocks up to {blocks[-1]}",
                hint="give the witness an index of its own: --index FILE",
            )
        stood: list[Standing] = []
        if blocks:
            with output.counting("replaying blocks", "events") as count:
                report = audit(
                    reader,
                    connection.domain,
                    opened,
                    to=blocks[-1],
                    stops=[n for n in blocks[:-1] if seen is None or n >= seen.block.number],
                    report=lambda at: count(at.block, at.last, at.words or at.events),
                )
            stood = [*report.stops, Standing(report.block, report.digest)]
        checkpoints = [
            Checkpoint(domain_id, one.block.number, one.block.hash, one.digest) for one in stood
        ]
        for checkpoint in checkpoints:
            if dry_run:
                output.say(f"would sign block {checkpoint.number}, state {checkpoint.state_digest}")
            else:
                path = publication.publish(checkpoint)
                output.say(f"signed block {checkpoint.number}: {path}")
        newest = checkpoints[-1] if checkpoints and not dry_run else latest
        if not checkpoints and latest is None:
            output.say(f"no block is due: the first is the final one that {every} divides")
        output.result(
            {
                "witness": str(publication.public_key),
                "would_sign" if dry_run else "signed": [one.number for one in checkpoints],
                "newest": None if newest is None else newest.number,
            },
            None if newest is None else newest.number,
        )


def confirm_all(
    output: Output,
    domain: str,
    rpc: Sequence[str],
    *,
    named: Sequence[str],
    listed: Path | None,
    needed: int | None,
    quorum: int | None,
    maximum_age: str,
    index: Path | None,
    archive: Path | None,
) -> None:
    """Ask witnesses, and tell what came of it.

    Raises:
        Exit: With the status that says what.
    """
    domain_id, urls = argument(DomainId.parse, domain), verify_urls(rpc)
    witnesses = argument(parse_named, [*named, *_listed(listed)])
    if not witnesses:
        raise UsageError("no witness is named", hint="name one with --witness KEY=URL")
    enough = len(witnesses) if needed is None else needed
    if enough > len(witnesses):
        raise UsageError(f"{enough} witnesses must agree, and {len(witnesses)} are named")
    age = argument(parse_duration, maximum_age)
    kept = Archive(archive or state_folder("witnesses"))
    with connect_agreed(urls, domain_id, quorum) as connection, output.working("asking witnesses"):
        ours = _standing(connection, domain_id, index or default_index(domain_id), output)
        blocks = [] if ours is None else [ours.block.number]
        said = gather(witnesses, domain_id, kept, needed=enough, blocks=blocks)
        seen = _look(connection.reader, said, ours, age)
        confirmation = _judge(witnesses, said, seen, enough)
    for opinion in confirmation.opinions:
        reason = f": {opinion.reason}" if opinion.reason else ""
        output.say(f"{opinion.key.name} {_WORDS[opinion.answer]}{reason}")
        if opinion.answer is Answer.DISAGREES and opinion.statement is not None:
            output.say(opinion.statement.note.decode())
    for proof in confirmation.equivocations:
        output.say(describe(proof))
    output.say(str(connection.evidence()))
    output.result(confirmation.to_json(), confirmation.outcome.value)
    raise typer.Exit(confirmation.exit_status)


def _standing(
    connection: Connection, domain: DomainId, path: Path, output: Output
) -> Standing | None:
    """Return what the last audit on this machine came to; None where there was none."""
    if not path.exists():
        return None
    with _opened(path, domain, output) as opened:
        return standing(connection.reader, connection.domain, opened)


def _look(reader: Reader, said: Said, ours: Standing | None, age: timedelta) -> Seen:
    """Return what we see of the blocks that somebody spoke of."""
    hashes: dict[int, Hash32] = {}
    fresh: list[int] = []
    moment = now()
    for number in sorted({statement.checkpoint.number for statement in said.statements}):
        block = fetch_block(reader, number)
        if block is not None:
            hashes[number] = block.hash
            fresh += [number] if moment - block.time <= age else []
    states = {} if ours is None else {ours.block.number: ours.digest}
    return Seen(hashes, states, min(fresh, default=max(hashes, default=0) + 1))


def _judge(witnesses: Sequence[Witness], said: Said, seen: Seen, needed: int) -> Confirmation:
    opinions = [
        form_opinion(
            witness.key,
            [s for s in said.statements if s.key == witness.key],
            seen,
            misbehaved=witness.key in said.misbehaved,
            silence=said.silences.get(witness.key, ""),
        )
        for witness in witnesses
    ]
    return Confirmation(compare_with_each_other(opinions), needed, said.equivocations)


def _listed(path: Path | None) -> list[str]:
    if path is None:
        return []
    lines = load_bounded(path, limit=LIST_LIMIT).decode(errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _own_index(domain: DomainId) -> Path:
    """Return where a witness's index is: it must not be ahead of what is to be signed."""
    path = default_index(domain)
    return path.with_name(f"{path.stem}-witness.sqlite")


@contextmanager
def _opened(path: Path, domain: DomainId, output: Output) -> Iterator[Index]:
    make_private_directory(path.parent)
    turn = Turn("dpki audit", output.notice)
    with hold(path.with_suffix(".lock"), turn), Index(path, domain) as opened:
        yield opened


_WORDS = {
    Answer.AGREES: "agrees",
    Answer.DISAGREES: "DISAGREES",
    Answer.MISBEHAVED: "MISBEHAVED",
    Answer.STALE: "is stale",
    Answer.SILENT: "is silent",
}
