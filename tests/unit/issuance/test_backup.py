import stat
from dataclasses import replace
from pathlib import Path

import pytest

from dpki.bundle.codec import dumps
from dpki.config.admin import (
    AdminConfig,
    ChainConfig,
    Home,
    StoreConfig,
    TokenConfig,
    create_admin_config,
    save_key,
)
from dpki.errors import ConfigError, DpkiError, MalformedInput, PassphraseIncorrect
from dpki.files import make_private_directory, write_atomic
from dpki.issuance import backup as subject
from dpki.issuance.backup import back_up, decrypt_backup, encrypt_backup, outside, restore
from dpki.issuance.database import Database
from dpki.issuance.index import Index
from dpki.signer.uri import FileUri, Pkcs11Uri
from tests.world import DOMAIN, Ca

CA = Ca.users()
NAMES = ("config.toml", "issuers/users.key", "journal.db", "wallets/admin.json")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_SCRYPT_WORK", 1 << 4)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    config = AdminConfig(
        ChainConfig(31337, ("http://127.0.0.1:8545",)),
        TokenConfig(Path("/usr/lib/module.so"), "acme"),
        "prompt",
        StoreConfig(directories=(home.store,)),
        DOMAIN.id,
    )
    create_admin_config(home, config)
    for path in (
        home.keystore,
        home.issuer_key("users"),
        home.store / "x",
        home.certificates / "c",
    ):
        make_private_directory(path.parent)
        write_atomic(path, path.name.encode())
    home.lock.touch()
    with Database(home.journal, DOMAIN.id) as database:
        Index(database).add_authority("users", CA.id)
    return home


def test_keys_in_files_that_no_backup_holds(home: Home, tmp_path: Path) -> None:
    inside = home.directory / "keys" / "inside.pem"
    make_private_directory(inside.parent)
    write_atomic(inside, b"x")
    for name, path in (("inside", inside), ("usb", tmp_path / "usb.pem")):
        save_key(home, name, FileUri(str(path)))
    save_key(home, "token", Pkcs11Uri("acme", "token"))
    assert outside(home) == (str(tmp_path / "usb.pem"),)
    assert "keys/inside.pem" in back_up(home, tmp_path / "b", give("long enough"))


def give(passphrase: str) -> subject.PinSource:
    return lambda _: passphrase


def never(what: str) -> str:
    raise AssertionError(f"asked for {what}")


def test_there_and_back(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "a.backup"
    with Database(home.journal, DOMAIN.id) as busy:
        # Still in the write-ahead log, which a plain copy of the file would miss.
        Index(busy).add_authority("hosts", Ca.hosts().id)
        assert back_up(home, file, give("long enough")) == NAMES
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for path in (home.keystore, home.issuer_key("users")):
        assert path.read_bytes() not in file.read_bytes()
    other = Home(tmp_path / "deep" / "other")
    assert restore(other, file, give("long enough")) == NAMES
    found = {p.relative_to(other.directory) for p in other.directory.rglob("*") if p.is_file()}
    assert found == {Path(name) for name in NAMES}
    assert other.keystore.read_bytes() == b"admin.json"
    assert {stat.S_IMODE((other.directory / name).stat().st_mode) for name in NAMES} == {0o600}
    assert stat.S_IMODE(other.directory.stat().st_mode) == 0o700
    with Database(other.journal, DOMAIN.id) as database:
        assert set(Index(database).authorities()) == {"users", "hosts"}
    assert list(other.directory.parent.iterdir()) == [other.directory]


def test_neither_overwrites_anything(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "a.backup"
    file.write_bytes(b"precious")
    with pytest.raises(DpkiError, match="exists already"):
        back_up(home, file, never)
    assert file.read_bytes() == b"precious"
    before = {p: p.read_bytes() for p in home.directory.rglob("*") if p.is_file()}
    with pytest.raises(ConfigError, match="never replaces anything"):
        restore(home, file, never)
    assert before == {p: p.read_bytes() for p in home.directory.rglob("*") if p.is_file()}
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="never replaces anything"):
        restore(Home(tmp_path / "link"), file, never)


def test_an_empty_home_is_taken(home: Home, tmp_path: Path) -> None:
    file, other = tmp_path / "a.backup", Home(tmp_path / "other")
    back_up(home, file, give("x"))
    other.directory.mkdir()
    assert restore(other, file, give("x")) == NAMES


def test_no_home_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no"):
        back_up(Home(tmp_path / "none"), tmp_path / "a.backup", never)
    assert not list(tmp_path.iterdir())


def test_before_there_is_a_domain(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "a.backup"
    home.journal.unlink()
    back_up(home, file, give("x"))
    assert "journal.db" not in restore(Home(tmp_path / "other"), file, give("x"))


def test_the_wrong_passphrase_and_every_changed_byte() -> None:
    data = encrypt_backup({"config.toml": b"abc"}, "right")
    assert decrypt_backup(data, "right") == {"config.toml": b"abc"}
    with pytest.raises(PassphraseIncorrect) as caught:
        decrypt_backup(data, "wrong passphrase")
    assert "wrong passphrase" not in repr(caught.value) + caught.value.hint
    for position in range(len(data)):
        changed = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        with pytest.raises((MalformedInput, PassphraseIncorrect)):
            decrypt_backup(changed, "right")
    for length in range(len(data)):
        with pytest.raises((MalformedInput, PassphraseIncorrect)):
            decrypt_backup(data[:length], "right")
    with pytest.raises(PassphraseIncorrect):
        decrypt_backup(data + b"\0", "right")


def test_two_of_the_same_share_nothing() -> None:
    one, two = (encrypt_backup({"config.toml": b"abc"}, "right") for _ in range(2))
    assert one[:13] == two[:13] == b"dpki-backup\n\x01"
    assert not {one[i : i + 8] for i in range(13, len(one) - 8)} & {
        two[i : i + 8] for i in range(13, len(two) - 8)
    }


@pytest.mark.parametrize("data", [b"", b"dpki-backup\n", b"PK" + b"x" * 200])
def test_something_else_is_refused_before_a_passphrase_is_asked_for(
    data: bytes, tmp_path: Path
) -> None:
    (tmp_path / "a.backup").write_bytes(data)
    with pytest.raises(MalformedInput, match="not a backup"):
        restore(Home(tmp_path / "home"), tmp_path / "a.backup", never)


def test_a_future_version(tmp_path: Path) -> None:
    (tmp_path / "a.backup").write_bytes(b"dpki-backup\n\x02" + b"x" * 100)
    with pytest.raises(MalformedInput, match="of version 2; only version 1") as caught:
        restore(Home(tmp_path / "home"), tmp_path / "a.backup", never)
    assert "newer dpki" in caught.value.hint


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/x", "a/b/c", ".ssh", "a/../b", "", "a//b", "a\n", "wallets/.x"]
)
def test_no_name_leads_out_of_the_home(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DpkiError, match="can't be backed up"):
        encrypt_backup({name: b""}, "x")
    with monkeypatch.context() as lax:
        lax.setattr(subject, "_NAME", subject.re.compile(r"(?s).*"))
        data = encrypt_backup({name: b""}, "x")
    with pytest.raises(MalformedInput, match="no file of a home"):
        decrypt_backup(data, "x")


@pytest.mark.parametrize("content", [{}, {"files": []}, {"files": {}, "more": 1}, []])
def test_other_content_than_a_version_has(content: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "dumps", lambda _: dumps(content))
    data = encrypt_backup({}, "x")
    with pytest.raises(MalformedInput):
        decrypt_backup(data, "x")


@pytest.mark.parametrize(
    "broken",
    [{"journal.db": b"SQLite format 3\0" + b"x" * 5000}, {"config.toml": b"version = 9\n"}],
)
def test_what_does_not_open_is_not_restored(
    home: Home, tmp_path: Path, broken: dict[str, bytes]
) -> None:
    back_up(home, tmp_path / "a.backup", give("x"))
    files = decrypt_backup((tmp_path / "a.backup").read_bytes(), "x") | broken
    (tmp_path / "b.backup").write_bytes(encrypt_backup(files, "x"))
    with pytest.raises(DpkiError):
        restore(Home(tmp_path / "to" / "other"), tmp_path / "b.backup", give("x"))
    assert list((tmp_path / "to").iterdir()) == []


def test_the_journal_of_another_domain_is_not_restored(home: Home, tmp_path: Path) -> None:
    home.journal.unlink()
    Database(home.journal, replace(DOMAIN.id, chain_id=1135)).__exit__(None, None, None)
    back_up(home, tmp_path / "a.backup", give("x"))
    with pytest.raises(ConfigError, match="belongs to the trust domain"):
        restore(Home(tmp_path / "other"), tmp_path / "a.backup", give("x"))
    assert not (tmp_path / "other").exists()


def test_a_real_work_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert subject._SCRYPT_WORK >= 1 << 17


def test_what_a_killed_restore_left_is_swept(home: Home, tmp_path: Path) -> None:
    """It holds an issuer's key, in the open."""
    file = tmp_path / "backup"
    back_up(home, file, give("right"))
    left = tmp_path / ".new.0123456789ab.restoring"
    (left / "issuers").mkdir(parents=True)
    (left / "issuers" / "users.key").write_bytes(b"secret")
    restore(Home(tmp_path / "new"), file, give("right"))
    assert not left.exists()
