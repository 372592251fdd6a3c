"""What `dpki verify` does: ask the chain, make a proof bundle, or check one without a network."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dpki.cli.options import argument
from dpki.cli.output import Output
from dpki.config.urls import verify_urls
from dpki.errors import CouldNotCheck, UsageError
from dpki.files import PUBLIC, load_bounded, state_folder, write_atomic
from dpki.model import Block, DomainId, Hash32
from dpki.verification.check import verify_certificate
from dpki.verification.proof import proof_file
from dpki.verification.proof_bundle import SIZE_LIMIT, is_proof_bundle, parse_proof_bundle
from dpki.verification.verdict import Finding, Verdict

if TYPE_CHECKING:
    from dpki.chain.connect import Connection
    from dpki.verification.offline import OfflineFinding, TrustedBlock

CERTIFICATE_LIMIT = 64 * 1024


@dataclass(frozen=True)
class Request:
    """What somebody typed; see the command's help."""

    file: Path
    domain: str | None
    rpc: tuple[str, ...]
    quorum: int | None
    proof: Path | None
    export: Path | None
    checkpoint: str | None
    witness: tuple[str, ...]
    witnesses: int | None
    at: str | None

    def refuse(self, what: str, *names: str) -> None:
        """Refuse options that say nothing here.

        Raises:
            UsageError: One of them was given.
        """
        for name in names:
            if getattr(self, name) not in (None, ()):
                raise UsageError(f"{what} takes no --{name}", hint="leave it out")


def run(request: Request, output: Output) -> Finding:
    """Do what was asked, tell it, and return the finding that the exit status comes from."""
    data = load_bounded(request.file, limit=SIZE_LIMIT)
    if is_proof_bundle(data):
        return _offline(request, data, output)
    if len(data) > CERTIFICATE_LIMIT:
        raise UsageError(f"{request.file} is too large for a certificate")
    if request.export is not None:
        return _export(request, data, request.export, output)
    request.refuse("a certificate that is not exported", "checkpoint", "at")
    if request.witness:
        request.refuse("a question to witnesses", "quorum")
    else:
        request.refuse("a certificate without --witness", "witnesses")
    with output.working("asking the chain"):
        finding = verify_certificate(
            data,
            domain_id=_domain(request),
            rpc=_rpc(request),
            quorum=request.quorum,
            proof=_proof(request),
            connect=_by_witnesses(request) if request.witness else None,
        )
    output.say(finding.reason)
    _say_evidence(finding, output)
    output.result(finding.to_json(), finding.verdict.value)
    return finding


def _by_witnesses(request: Request) -> Callable[[], AbstractContextManager[Connection]]:
    """Return the way to the chain at a block that witnesses signed, which they are asked for."""
    from dpki.config.witnesses import Witnesses, parse_named
    from dpki.witness.archive import Archive
    from dpki.witness.connect import connect_signed
    from dpki.witness.gather import gather

    named = argument(parse_named, request.witness)
    needed = len(named) if request.witnesses is None else request.witnesses
    if needed > len(named):
        raise UsageError(f"{needed} witnesses must have signed, and {len(named)} are named")
    witnesses, domain, rpc = Witnesses(named, needed), _domain(request), _rpc(request)

    def connect() -> AbstractContextManager[Connection]:
        said = gather(named, domain, Archive(state_folder("witnesses")), needed=needed)
        checkpoint = said.required(witnesses)
        return connect_signed(rpc, checkpoint, witnesses.signed(checkpoint.number))

    return connect


def _offline(request: Request, data: bytes, output: Output) -> Finding:
    from dpki.verification.offline import check_proof_bundle

    request.refuse("a proof bundle", "rpc", "quorum", "proof", "export")
    trusted, at = _trusted(request), _at(request)
    if trusted is None:
        raise UsageError(
            "a proof bundle proves what a block's state was, and not that the block is the chain's",
            hint="give what you trust with --checkpoint: the block's hash, or a checkpoint with the"
            " --witness keys that you know",
        )
    try:
        found = check_proof_bundle(
            parse_proof_bundle(data), trusted, domain_id=_given_domain(request), at=at
        )
    except CouldNotCheck as error:
        output.say(error.message)
        output.say(f"  next: {error.hint}")
        finding = Finding(Verdict.COULD_NOT_CHECK, error.message)
        output.result(finding.to_json(), finding.verdict.value)
        return finding
    _verify_time(request, found)
    _say_offline(found, output)
    output.result(found.to_json(), found.finding.verdict.value)
    return found.finding


def _export(request: Request, data: bytes, out: Path, output: Output) -> Finding:
    from dpki.verification.export import export_proof

    domain_id, rpc, shown = _domain(request), _rpc(request), _proof(request)
    trusted, at = _trusted(request), _at(request)
    with output.working("asking the chain"):
        made = export_proof(
            data,
            domain_id=domain_id,
            rpc=rpc,
            quorum=request.quorum,
            proof=shown,
            trusted=trusted,
            at=at,
        )
    _verify_time(request, made.found)
    write_atomic(out, made.bundle, mode=PUBLIC)
    finding, block = made.found.finding, made.block
    _say_offline(made.found, output)
    output.say(
        f"wrote {out} ({len(made.bundle):,} bytes); keep the hash of block {block.number}, or have"
        f" witnesses sign it: {block.hash}"
    )
    exported = {"file": str(out), "bytes": len(made.bundle)}
    output.result({**made.found.to_json(), "exported": exported}, finding.verdict.value)
    return finding


def _verify_time(request: Request, found: OfflineFinding) -> None:
    """Refuse to answer for a time of which the block says nothing.

    Raises:
        UsageError: It was asked for.
    """
    asked = None if request.at is None else _at(request)
    if asked is not None and asked < found.judged_at:
        raise UsageError(
            f"the proof is of {_written(found.judged_at)}, and says nothing about"
            f" {_written(asked)}",
            hint="ask for that time or a later one, or for --at block",
        )


def _say_offline(found: OfflineFinding, output: Output) -> None:
    """Tell a verdict that is of one block, and for when."""
    finding, block = found.finding, found.at_block.block
    assert block is not None
    output.say(finding.reason)
    if found.at_block.verdict is not finding.verdict:
        output.say(f"at the time of the block it was {found.at_block.verdict.value}")
    output.say(_limits(block, found.judged_at))
    _say_evidence(finding, output)


def _limits(block: Block, judged_at: datetime) -> str:
    at = f"at block {block.number} of {_written(block.time)}"
    if judged_at == block.time:
        return f"this is the verdict {at}"
    return (
        f"this is the verdict for {_written(judged_at)}, from what was known {at}: what came later,"
        " a revocation too, is not in the proof"
    )


def _say_evidence(finding: Finding, output: Output) -> None:
    if finding.evidence is not None:
        output.say(str(finding.evidence))
        for endpoint in finding.evidence.aside:
            output.say(f"set aside: {endpoint}")


def _given_domain(request: Request) -> DomainId | None:
    return None if request.domain is None else argument(DomainId.parse, request.domain)


def _domain(request: Request) -> DomainId:
    domain = _given_domain(request)
    if domain is None:
        raise UsageError("which trust domain is meant?", hint="name it with --domain ID")
    return domain


def _rpc(request: Request) -> tuple[str, ...]:
    if not request.rpc:
        raise UsageError("no RPC endpoint was named", hint="name one with --rpc URL")
    return tuple(verify_urls(request.rpc))


def _proof(request: Request) -> bytes | None:
    """Return the …-cert.proof file that was named, or the one that lies beside the certificate."""
    path, beside = request.proof, proof_file(request.file)
    if path is None and beside != request.file and beside.is_file():
        path = beside
    return None if path is None else load_bounded(path, limit=CERTIFICATE_LIMIT)


def _trusted(request: Request) -> TrustedBlock | None:
    """Return the block that --checkpoint vouches for."""
    from dpki.note import SIZE_LIMIT as NOTE_LIMIT
    from dpki.note import VerifierKey
    from dpki.verification.offline import TrustedBlock

    keys = [argument(VerifierKey.parse, text) for text in request.witness]
    if request.checkpoint is None:
        request.refuse("a check without --checkpoint", "witness", "witnesses")
        return None
    if re.fullmatch("0x[0-9a-fA-F]{64}", request.checkpoint):
        request.refuse("a block's hash", "witness", "witnesses")
        return TrustedBlock(Hash32.parse(request.checkpoint))
    if not keys:
        raise UsageError(
            "a checkpoint is worth what its witnesses are, and none was named",
            hint="name those that you trust with --witness VKEY, or give the block's hash itself:"
            " --checkpoint 0x…",
        )
    note = load_bounded(Path(request.checkpoint), limit=NOTE_LIMIT)
    return TrustedBlock.of_checkpoint(note, keys, request.witnesses or len(keys))


def _at(request: Request) -> datetime | None:
    """Return the time to judge for; None for the block's."""
    if request.at is None:
        return datetime.now(UTC)
    if request.at == "block":
        return None
    try:
        time = datetime.fromisoformat(request.at)
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise UsageError(
        f"--at {request.at[:80]!r} is neither `block` nor a time with its zone",
        hint="such as 2027-01-31T12:00:00Z",
    )


def _written(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(sep=" ", timespec="seconds")
