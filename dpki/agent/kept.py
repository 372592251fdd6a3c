"""What was last seen of a trust domain, kept for when it is out of reach.

A device may start where a chain can't be read, or have several domains of which one can't. What is
installed of that one must stay, and what the operator changes in device.toml must count all the
same: so what is kept is not what was decided, but what it was decided from. One file in the
domain's folder, replaced whole (docs/formats.md). No private key is in it: those lie where the
device's keys do, or where sshd reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dpki.agent.observation import Observation, Unconfirmed, WatchedBatch
from dpki.agent.state import encode_bitmap, parse_bitmap
from dpki.bundle.codec import dumps, fields_of, loads_strict, verify_version
from dpki.chain.authority import Authority
from dpki.chain.domain import Domain, registries_of
from dpki.chain.layout import Watch
from dpki.chain.quorum import Evidence
from dpki.chain.snapshot import DeviceRecord, Snapshot
from dpki.errors import MalformedInput
from dpki.files import load_bounded, write_atomic
from dpki.model import (
    Address,
    AuthorityId,
    AuthorityKind,
    AuthorityState,
    Block,
    DeviceState,
    DomainId,
    Hash32,
    from_timestamp,
    to_timestamp,
)

FILE_NAME = "seen.cbor"
_VERSION = 1
_WHAT = "record of what was seen"
_LIMIT = 64 * 1024 * 1024

_BLOCK = {"number": int, "hash": bytes, "time": int}
_AUTHORITY = {
    "id": bytes,
    "kind": int,
    "key": bytes,
    "issuer": bytes,
    "parent": bytes,
    "registered": int,
    "operator": bytes,
    "next": int,
    "count": int,
    "seconds": int,
    "state": int,
    "below": int,
    "revoked": bytes,
    "watch": list,
}
_DEVICE = {"device": bytes, "document": bytes, "state": int, "nonce": int}
_UNCONFIRMED = {"ca": bytes, "first": int, "count": int, "block": int, "reason": str}


@dataclass(frozen=True)
class Kept:
    """What was last seen, but for certificates, which are in the agent's database.

    Attributes:
        host: Blob of the host certificate that was good; None for none.
        client: Blob of the SSH client's certificate likewise.
        at: When it was seen, by the device's clock.
    """

    snapshot: Snapshot
    finalized: Block
    unconfirmed: tuple[Unconfirmed, ...]
    waiting: tuple[str, ...]
    host: bytes | None
    evidence: Evidence
    at: datetime
    client: bytes | None = None

    @classmethod
    def of(cls, seen: Observation, evidence: Evidence, at: datetime) -> Kept:
        """Return what is kept of an observation."""
        return cls(
            seen.snapshot,
            seen.finalized,
            seen.unconfirmed,
            seen.waiting,
            None if seen.host is None else seen.host.certificate.blob,
            evidence,
            at,
            None if seen.client is None else seen.client.certificate.blob,
        )


def save_kept(directory: Path, kept: Kept) -> None:
    """Replace what was kept in the domain's folder.

    Raises:
        DpkiError: It could not be written.
    """
    write_atomic(directory / FILE_NAME, encode_kept(kept))


def load_kept(directory: Path, domain: DomainId) -> Kept | None:
    """Return what was kept of this domain; None where there is nothing.

    Raises:
        DpkiError: The file can't be read, or is damaged.
    """
    path = directory / FILE_NAME
    if not path.exists():
        return None
    kept = parse_kept(load_bounded(path, limit=_LIMIT))
    # The folder may have been another domain's before device.toml was changed.
    return kept if kept.snapshot.domain.id == domain else None


def encode_kept(kept: Kept) -> bytes:
    """Return it as it lies on the disk."""
    snapshot = kept.snapshot
    # The first that was asked for is the device itself; the others hold certificates.
    device, *holders = snapshot.devices.values()
    return dumps(
        {
            "v": _VERSION,
            "domain": str(snapshot.domain.id),
            "deployed": _block(snapshot.domain.block),
            "block": _block(snapshot.block),
            "finalized": _block(kept.finalized),
            "authorities": [_authority(one) for one in snapshot.authorities.values()],
            **_device(device),
            "holders": [_device(one) for one in holders],
            "unconfirmed": [_unconfirmed(one) for one in kept.unconfirmed],
            "waiting": list(kept.waiting),
            "host": kept.host or b"",
            "client": kept.client or b"",
            "endpoints": kept.evidence.endpoints,
            "quorum": kept.evidence.quorum,
            "proven": int(kept.evidence.proven),
            "signed": kept.evidence.signed,
            "at": to_timestamp(kept.at),
        }
    )


def parse_kept(data: bytes) -> Kept:
    """Parse the file.

    Raises:
        MalformedInput: It is damaged.
    """
    value = loads_strict(data, _LIMIT)
    verify_version(value, _WHAT, _VERSION)
    fields = fields_of(
        value,
        _WHAT,
        required={
            "v": int,
            "domain": str,
            "deployed": dict,
            "block": dict,
            "finalized": dict,
            "authorities": list,
            "device": bytes,
            "document": bytes,
            "state": int,
            "nonce": int,
            "unconfirmed": list,
            "waiting": list,
            "host": bytes,
            "endpoints": int,
            "quorum": int,
            "proven": int,
            "signed": str,
            "at": int,
        },
        # A file of before there were any knows of none: their certificates wait for the chain.
        optional={"holders": list, "client": bytes},
    )
    try:
        return _kept(fields)
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise MalformedInput(f"the {_WHAT} holds what can't be: {error}") from error


def _kept(fields: dict[str, Any]) -> Kept:
    id = DomainId.parse(fields["domain"])
    own = {name: fields[name] for name in _DEVICE}
    devices = [_parse_device(one) for one in (own, *fields.get("holders", []))]
    authorities = [_parse_authority(one) for one in fields["authorities"]]
    if not all(type(one) is str for one in fields["waiting"]):
        raise TypeError("a sentence is no text")
    return Kept(
        Snapshot(
            Domain(id, *registries_of(id.address), _parse_block(fields["deployed"])),
            _parse_block(fields["block"]),
            MappingProxyType({one.id: one for one in authorities}),
            MappingProxyType({one.address: one for one in devices}),
            MappingProxyType({}),
        ),
        _parse_block(fields["finalized"]),
        tuple(_parse_unconfirmed(one) for one in fields["unconfirmed"]),
        tuple(fields["waiting"]),
        fields["host"] or None,
        Evidence(
            fields["endpoints"],
            fields["quorum"],
            bool(fields["proven"]),
            signed=fields["signed"],
        ),
        from_timestamp(fields["at"]),
        fields.get("client") or None,
    )


def _block(block: Block) -> dict[str, object]:
    return {"number": block.number, "hash": bytes(block.hash), "time": to_timestamp(block.time)}


def _parse_block(value: object) -> Block:
    fields = fields_of(value, _WHAT, required=_BLOCK, optional={})
    return Block(fields["number"], Hash32(fields["hash"]), from_timestamp(fields["time"]))


def _authority(authority: Authority) -> dict[str, object]:
    watch = authority.watch
    return {
        "id": bytes(authority.id),
        "kind": int(authority.kind),
        "key": authority.public_key,
        "issuer": bytes(authority.issuer_key),
        "parent": b"" if authority.parent is None else bytes(authority.parent),
        "registered": to_timestamp(authority.registered_at),
        "operator": bytes(authority.operator),
        "next": authority.next_serial,
        "count": authority.revoked_count,
        "seconds": int(authority.maximum_lifetime.total_seconds()),
        "state": int(authority.state),
        "below": authority.revoked_below,
        "revoked": encode_bitmap(authority.revoked),
        "watch": []
        if watch is None
        else [watch.version, watch.first_serial, watch.threshold, watch.total],
    }


def _parse_authority(value: object) -> Authority:
    fields = fields_of(value, _WHAT, required=_AUTHORITY, optional={})
    watch = fields["watch"]
    if not all(type(number) is int for number in watch):
        raise TypeError("a watch holds no numbers")
    return Authority(
        id=AuthorityId(fields["id"]),
        kind=AuthorityKind(fields["kind"]),
        public_key=fields["key"],
        issuer_key=Hash32(fields["issuer"]),
        parent=AuthorityId(fields["parent"]) if fields["parent"] else None,
        registered_at=from_timestamp(fields["registered"]),
        operator=Address(fields["operator"]),
        next_serial=fields["next"],
        revoked_count=fields["count"],
        maximum_lifetime=timedelta(seconds=fields["seconds"]),
        state=AuthorityState(fields["state"]),
        revoked_below=fields["below"],
        revoked=parse_bitmap(fields["revoked"]),
        watch=Watch(*watch) if watch else None,
    )


def _device(device: DeviceRecord) -> dict[str, object]:
    return {
        "device": bytes(device.address),
        "document": bytes(device.key_document),
        "state": int(device.state),
        "nonce": device.nonce,
    }


def _parse_device(value: object) -> DeviceRecord:
    fields = fields_of(value, _WHAT, required=_DEVICE, optional={})
    return DeviceRecord(
        Address(fields["device"]),
        Hash32(fields["document"]),
        DeviceState(fields["state"]),
        fields["nonce"],
    )


def _unconfirmed(one: Unconfirmed) -> dict[str, object]:
    batch = one.batch
    return {
        "ca": bytes(batch.authority),
        "first": batch.first_serial,
        "count": batch.count,
        "block": batch.block,
        "reason": one.reason,
    }


def _parse_unconfirmed(value: object) -> Unconfirmed:
    fields = fields_of(value, _WHAT, required=_UNCONFIRMED, optional={})
    batch = WatchedBatch(
        AuthorityId(fields["ca"]), fields["first"], fields["count"], fields["block"]
    )
    return Unconfirmed(batch, fields["reason"])
