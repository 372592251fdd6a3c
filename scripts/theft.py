"""What the thieves of the story do, with dpki as a library: all that their loot allows.

A process of its own, so that the PKCS#11 module that it loads is nobody else's. Prints one JSON
document.

    theft.py inspect HOME LABEL…          an honest look: what does the token say of these keys?
    theft.py wallet HOME REQUEST DIR      all of the administrator's but the HSM; certificates in
    DIR theft.py signature HOME KEY SERIAL    a signature of the real user CA, no wallet; SERIAL:
    next or N
    theft.py both HOME FILE CA KEY            a copied CA key and the wallet: certify KEY, and
    anchor that as CA's
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dpki.bundle.locator import IssuerKey
from dpki.certificates.key_id import key_id
from dpki.certificates.keys import (
    authority_id,
    parse_public_key,
    parse_ssh_public_key,
    public_key_line,
    spki_of,
    ssh_blob,
)
from dpki.certificates.profile import Profile, Subject
from dpki.certificates.signature import AuthorityPrivateKey
from dpki.certificates.ssh import (
    SshCertificate,
    build_ssh_certificate,
    parse_ssh_certificate,
    ssh_line,
)
from dpki.chain.connect import connect
from dpki.chain.snapshot import Authority, Snapshot, fetch_snapshot
from dpki.config.admin import AdminConfig, Home, load_admin_config
from dpki.devices.document import parse_key_document
from dpki.devices.enrollment import parse_request
from dpki.errors import DpkiError
from dpki.issuance.plan import Recipient
from dpki.issuance.sealing import Signed, seal_batch
from dpki.model import AuthorityId, AuthorityKind
from dpki.store.base import BlockStore

LIFETIME = timedelta(hours=8)
HOST = "gate-1.example"


def inspect(home: Home, labels: Sequence[str]) -> dict[str, dict[str, object]]:
    """Ask the token itself, with the right PIN but not by dpki's signer: can the keys leave?"""
    import pkcs11
    from pkcs11 import Attribute, Mechanism, ObjectClass
    from pkcs11.types import SignMixin

    from dpki.signer.pin import pin_source

    config = unlock_token(home)
    token = pkcs11.lib(str(config.token.module)).get_token(token_label=config.token.label)
    found: dict[str, dict[str, object]] = {}
    with token.open(user_pin=pin_source(config.token.pin)("the token")) as session:
        for label in labels:
            (key,) = session.get_objects(
                {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.LABEL: label}
            )
            assert isinstance(key, SignMixin)
            mechanism = (
                Mechanism.EDDSA
                if key[Attribute.KEY_TYPE] == pkcs11.KeyType.EC_EDWARDS
                else Mechanism.ECDSA
            )
            try:
                read = f"{len(key[Attribute.VALUE])} bytes"
            except pkcs11.PKCS11Error:  # AttributeSensitive, where the module says why
                read = "refused"
            found[label] = {
                "extractable": key[Attribute.EXTRACTABLE],
                "never_extractable": key[Attribute.NEVER_EXTRACTABLE],
                "sensitive": key[Attribute.SENSITIVE],
                "local": key[Attribute.LOCAL],
                "signs": len(key.sign(bytes(32), mechanism=mechanism)) == 64,
                "read": read,
            }
    return found


def steal_wallet(home: Home, request: Path, directory: Path) -> dict[str, object]:
    """Anchor certificates of one's own making, and send the device its bundles.

    For each CA two: one that names the thief's own CA key, and one that names the real CA's key
    over a signature that is not its own.
    """
    from dpki.signer.pin import pin_source
    from dpki.store.directory import DirectoryStore
    from dpki.store.kubo import KuboStore
    from dpki.transactions.wallet import load_wallet
    from dpki.transactions.writer import DomainWriter

    config = load_admin_config(home)
    wallet = load_wallet(home.keystore, pin_source(config.passphrase))
    victim = parse_request(request.read_bytes())
    recipient = Recipient(victim.device, parse_key_document(victim.document).sealing)
    stores: list[BlockStore] = [
        *map(KuboStore, config.store.ipfs),
        *map(DirectoryStore, config.store.directories),
    ]
    made: dict[str, str] = {}
    with connect(config.chain.rpc, config.require_domain()) as (reader, domain):
        snapshot = fetch_snapshot(reader, domain)
        writer = DomainWriter(reader, domain, wallet)
        for kind, name in ((AuthorityKind.SSH_USER, "user"), (AuthorityKind.SSH_HOST, "host")):
            authority = find_authority(snapshot, kind)
            is_host = kind is AuthorityKind.SSH_HOST
            batch = []
            for offset, suffix in enumerate(("", "-forged")):
                key = Ed25519PrivateKey.generate()
                path = directory / f"{name}{suffix}"
                serial = authority.next_serial + offset
                certificate = certify(own_key_like(authority), snapshot, authority, serial, key)
                if suffix:
                    certificate = name_real_authority(certificate, authority)
                write_pair(path, key, certificate)
                made[path.name] = f"{path}-cert.pub"
                private = path.read_bytes() if is_host else None
                batch.append(Signed(certificate, recipient if is_host else None, private))
            issuer = IssuerKey.load(home.issuer_key(f"{name}-ca").read_bytes())
            sealed = seal_batch(domain, authority.id, issuer, batch, lambda _: None)
            for store in stores:
                for each in sealed:
                    if each.bundle is not None:
                        store.put(each.bundle)
            writer.issue(authority.id, authority.next_serial, [each.entry for each in sealed])
    return {"certificates": made}


def steal_signature(home: Home, key: Path, serial: str) -> dict[str, object]:
    """Have the HSM sign a certificate for the key, and anchor nothing."""
    from dpki.signer.pin import pin_source
    from dpki.signer.pkcs11 import open_signer
    from dpki.signer.uri import Pkcs11Uri

    config = unlock_token(home)
    uri = Pkcs11Uri.parse(f"pkcs11:token={config.token.label};object=user-ca")
    with connect(config.chain.rpc, config.require_domain()) as (reader, domain):
        snapshot = fetch_snapshot(reader, domain)
    authority = find_authority(snapshot, AuthorityKind.SSH_USER)
    number = authority.next_serial if serial == "next" else int(serial)
    public = parse_ssh_public_key(Path(f"{key}.pub").read_bytes()).blob
    with open_signer(uri, pin_source(config.token.pin), config.token.module) as signer:
        certificate = certify(signer.private_key, snapshot, authority, number, public)
    Path(f"{key}-cert.pub").write_text(ssh_line(certificate, "stolen") + "\n")
    return {"serial": number, "signed_by": str(authority_id(certificate.authority_spki))}


def steal_both(home: Home, file: Path, ca: str, key: Path) -> dict[str, object]:
    """Sign with a copy of a CA's key, and anchor with the administrator's wallet if that goes."""
    from dpki.signer.file import open_file_signer
    from dpki.signer.pin import pin_source
    from dpki.signer.uri import FileUri
    from dpki.transactions.wallet import load_wallet
    from dpki.transactions.writer import DomainWriter

    config = load_admin_config(home)
    wallet = load_wallet(home.keystore, pin_source(config.passphrase))
    public = parse_ssh_public_key(Path(f"{key}.pub").read_bytes()).blob
    with (
        open_file_signer(FileUri(str(file)), pin_source(config.token.pin)) as signer,
        connect(config.chain.rpc, config.require_domain()) as (reader, domain),
    ):
        snapshot = fetch_snapshot(reader, domain)
        authority = snapshot.authorities[AuthorityId.parse(ca)]
        serial = authority.next_serial
        certificate = certify(signer.private_key, snapshot, authority, serial, public)
        Path(f"{key}-cert.pub").write_text(ssh_line(certificate, "mallory") + "\n")
        found: dict[str, object] = {"serial": serial, "anchored": True, "why": ""}
        batch = [Signed(certificate, None, None)]
        entries = seal_batch(domain, authority.id, IssuerKey.generate(), batch, lambda _: None)
        try:
            writer = DomainWriter(reader, domain, wallet)
            writer.issue(authority.id, serial, [each.entry for each in entries])
        except DpkiError as error:
            found |= {"anchored": False, "why": f"{type(error).__name__}: {error.message}"}
    return found


def certify(
    signer: AuthorityPrivateKey,
    snapshot: Snapshot,
    authority: Authority,
    serial: int,
    holder: Ed25519PrivateKey | bytes,
) -> SshCertificate:
    """Sign a certificate as dpki would, in everything but perhaps the CA key."""
    now = datetime.now(UTC).replace(microsecond=0)
    is_host = authority.kind is AuthorityKind.SSH_HOST
    profile = Profile.host(LIFETIME) if is_host else Profile.user(LIFETIME)
    public = holder if isinstance(holder, bytes) else ssh_blob(holder.public_key())
    subject = Subject(public, (HOST,) if is_host else ("ops",), "mallory")
    return build_ssh_certificate(
        signer,
        profile,
        subject,
        serial=serial,
        key_id=key_id(snapshot.domain.id, authority.id, serial, "mallory"),
        valid_after=now - timedelta(minutes=5),
        valid_before=now - timedelta(minutes=5) + LIFETIME,
    )


def own_key_like(authority: Authority) -> AuthorityPrivateKey:
    """Make a CA key of the same type as the real one."""
    sample = Ed25519PrivateKey.generate()
    if len(spki_of(sample.public_key())) == len(authority.public_key):
        return sample
    return ec.generate_private_key(ec.SECP256R1())


def name_real_authority(certificate: SshCertificate, authority: Authority) -> SshCertificate:
    """Put the real CA's key where the thief's stands; the signature stays the thief's."""
    real = ssh_blob(parse_public_key(authority.public_key))
    return parse_ssh_certificate(certificate.blob.replace(certificate.authority_key, real))


def find_authority(snapshot: Snapshot, kind: AuthorityKind) -> Authority:
    """Return the domain's one CA of this kind."""
    (authority,) = (a for a in snapshot.authorities.values() if a.kind is kind)
    return authority


def write_pair(path: Path, key: Ed25519PrivateKey, certificate: SshCertificate) -> None:
    """Write key, public key and certificate as ssh and sshd want them."""
    path.touch(0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    Path(f"{path}.pub").write_text(public_key_line(ssh_blob(key.public_key())) + "\n")
    Path(f"{path}-cert.pub").write_text(ssh_line(certificate, "mallory") + "\n")


def unlock_token(home: Home) -> AdminConfig:
    """Return the configuration, with the token's library told where its own is."""
    config = load_admin_config(home)
    os.environ.update({name: str(value) for name, value in config.token.environment.items()})
    return config


def main(arguments: Sequence[str]) -> int:
    """Do what the first argument says."""
    action, home, *rest = arguments
    place = Home(Path(home))
    if action == "inspect":
        document: object = inspect(place, rest)
    elif action == "wallet":
        document = steal_wallet(place, Path(rest[0]), Path(rest[1]))
    elif action == "signature":
        document = steal_signature(place, Path(rest[0]), rest[1])
    elif action == "both":
        document = steal_both(place, Path(rest[0]), rest[1], Path(rest[2]))
    else:
        print(__doc__, file=sys.stderr)
        return 2
    print(json.dumps(document))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
