"""CA keys in encrypted files."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from dpki.certificates.keys import spki_of
from dpki.errors import (
    AmbiguousKey,
    ConfigError,
    DpkiError,
    KeyNotFound,
    PassphraseIncorrect,
    UsageError,
)
from dpki.signer.base import KeyType
from dpki.signer.file import create_key_file, open_file_signer
from dpki.signer.uri import FileUri
from tests.signing import sign_message

PASSPHRASE = "correct horse battery"
FAST = 2**4


@pytest.fixture
def uri(tmp_path: Path) -> FileUri:
    return FileUri(str(tmp_path / "keys" / "ca.pem"))


def ask(what: str) -> str:
    return PASSPHRASE


def write(uri: FileUri, key: ec.EllipticCurvePrivateKey, secret: bytes | None) -> Path:
    path = Path(uri.path)
    path.parent.mkdir()
    encryption = NoEncryption() if secret is None else BestAvailableEncryption(secret)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("key_type", KeyType)
def test_what_was_made_is_opened_and_signs(uri: FileUri, key_type: KeyType) -> None:
    public = create_key_file(uri, key_type, ask, work=FAST)
    assert stat.S_IMODE(Path(uri.path).stat().st_mode) == 0o600
    with open_file_signer(uri, ask) as signer:
        assert signer.key_type is key_type
        assert signer.uri == uri
        assert spki_of(signer.public_key) == spki_of(public)
        sign_message(signer.private_key, b"message")


def test_openssl_reads_ours_and_we_read_openssls(uri: FileUri, tmp_path: Path) -> None:
    public = create_key_file(uri, KeyType.P384, ask, work=2**14)
    secret = tmp_path / "secret"
    secret.write_text(f"{PASSPHRASE}\n{PASSPHRASE}\n")  # the first to read with
    files = ["-passin", f"file:{secret}", "-passout", f"file:{secret}"]
    theirs = FileUri(str(tmp_path / "theirs.pem"))
    subprocess.run(
        ["openssl", "pkey", "-in", uri.path, *files, "-aes256", "-out", theirs.path], check=True
    )
    Path(theirs.path).chmod(0o600)
    with open_file_signer(theirs, ask) as signer:
        assert spki_of(signer.public_key) == spki_of(public)


class TestRefuses:
    def refused(self, uri: FileUri, kind: type[DpkiError], passphrase: str = PASSPHRASE) -> str:
        with pytest.raises(kind) as caught:
            open_file_signer(uri, lambda _: passphrase)
        assert passphrase not in f"{caught.value.message} {caught.value.hint}"
        return caught.value.message

    def test_one_that_is_not_there(self, uri: FileUri) -> None:
        self.refused(uri, KeyNotFound)

    def test_a_wrong_passphrase(self, uri: FileUri) -> None:
        create_key_file(uri, KeyType.P256, ask, work=FAST)
        self.refused(uri, PassphraseIncorrect, "another passphrase")

    def test_one_with_a_plain_key_before_the_encrypted(self, uri: FileUri) -> None:
        create_key_file(uri, KeyType.P256, ask, work=FAST)
        path = Path(uri.path)
        key = ec.generate_private_key(ec.SECP256R1())
        plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(plain + path.read_bytes())
        assert "in a way that is not known" in self.refused(uri, ConfigError)

    def test_one_that_is_not_encrypted(self, uri: FileUri) -> None:
        write(uri, ec.generate_private_key(ec.SECP256R1()), None)
        assert "no encrypted private key" in self.refused(uri, ConfigError)

    def test_one_that_others_may_read(self, uri: FileUri) -> None:
        create_key_file(uri, KeyType.P256, ask, work=FAST)
        Path(uri.path).chmod(0o640)
        assert "others than its owner" in self.refused(uri, ConfigError)

    def test_a_folder(self, uri: FileUri) -> None:
        Path(uri.path).mkdir(parents=True)
        assert "not a plain file" in self.refused(uri, ConfigError)

    def test_a_type_that_no_ca_has(self, uri: FileUri) -> None:
        write(uri, ec.generate_private_key(ec.SECP521R1()), PASSPHRASE.encode())
        assert "no CA may have" in self.refused(uri, ConfigError)

    def test_a_damaged_one(self, uri: FileUri) -> None:
        create_key_file(uri, KeyType.P256, ask, work=FAST)
        path = Path(uri.path)
        lines = path.read_text().splitlines()
        path.write_text("\n".join([lines[0], *lines[2:]]))
        self.refused(uri, PassphraseIncorrect)

    def test_to_overwrite(self, uri: FileUri) -> None:
        create_key_file(uri, KeyType.P256, ask, work=FAST)
        before = Path(uri.path).read_bytes()
        with pytest.raises(AmbiguousKey):
            create_key_file(uri, KeyType.P256, ask, work=FAST)
        assert Path(uri.path).read_bytes() == before

    def test_a_short_passphrase(self, uri: FileUri) -> None:
        with pytest.raises(UsageError):
            create_key_file(uri, KeyType.P256, lambda _: "short")
        assert not Path(uri.path).exists()
