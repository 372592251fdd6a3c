"""CA keys in a real PKCS#11 module, and everything that can be wrong with a token."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import Attribute, MechanismFlag, ObjectClass

from dpki.certificates.keys import spki_of
from dpki.errors import (
    AmbiguousKey,
    KeyNotFound,
    PinIncorrect,
    TokenError,
    TokenNotFound,
    UsageError,
)
from dpki.signer import pkcs11_module, pkcs11_token
from dpki.signer.base import KeyType, Signer
from dpki.signer.pkcs11 import TokenKey, generate_key, list_keys, open_signer
from dpki.signer.pkcs11_module import find_module
from dpki.signer.uri import Pkcs11Uri
from tests.signing import sign_message
from tests.soft_tokens import SoftHsmFolder, SoftToken

SECRETS = {KeyType.RSA3072: Attribute.PRIVATE_EXPONENT}
ED25519 = bytes.fromhex("06032b6570")


@pytest.fixture(scope="module")
def token(softhsm: SoftHsmFolder) -> SoftToken:
    return softhsm.token()


@pytest.fixture
def fresh(softhsm: SoftHsmFolder) -> SoftToken:
    return softhsm.token()


@contextmanager
def direct(token: SoftToken) -> Iterator[pkcs11.Session]:
    """Open a token without dpki's code."""
    library = pkcs11.lib(str(find_module()))
    library.reinitialize()
    session = library.get_token(token_label=token.label).open(rw=True, user_pin=token.pin)
    try:
        yield session
    finally:
        session.close()


def make_pair(
    session: pkcs11.Session, label: str, identifier: bytes, **private: object
) -> tuple[pkcs11.PublicKey, pkcs11.PrivateKey]:
    """Make an Ed25519 pair as careless software might."""
    curve = session.create_domain_parameters(
        pkcs11.KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: ED25519}, local=True
    )
    return curve.generate_keypair(
        label=label,
        id=identifier,
        store=True,
        mechanism=pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
        capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
        private_template={Attribute[name]: value for name, value in private.items()},
    )


def objects(token: SoftToken) -> int:
    with direct(token) as session:
        return len(list(session.get_objects({Attribute.LABEL: "ca"})))


def sign(signer: Signer) -> None:
    sign_message(signer.private_key, b"message")


def never(what: str) -> str:
    raise AssertionError(f"asked for the {what}")


class TestGenerate:
    @pytest.mark.parametrize("key_type", KeyType)
    def test_the_key_can_t_leave_the_token(self, token: SoftToken, key_type: KeyType) -> None:
        label = f"never-leaves-{key_type.value}"
        generate_key(token.uri(label), key_type, token.ask)
        with direct(token) as session:
            key = session.get_key(ObjectClass.PRIVATE_KEY, label=label)
            is_as_it_must_be = {
                "TOKEN": True,
                "PRIVATE": True,
                "SENSITIVE": True,
                "EXTRACTABLE": False,
                "LOCAL": True,
                "ALWAYS_SENSITIVE": True,
                "NEVER_EXTRACTABLE": True,
                "SIGN": True,
                "DERIVE": False,
                "DECRYPT": False,
                "UNWRAP": False,
            }
            assert {name: key[Attribute[name]] for name in is_as_it_must_be} == is_as_it_must_be
            with pytest.raises(pkcs11.AttributeSensitive):
                _ = key[SECRETS.get(key_type, Attribute.VALUE)]
            for name, value in (("SENSITIVE", False), ("EXTRACTABLE", True)):
                with pytest.raises(pkcs11.PKCS11Error):
                    key[Attribute[name]] = value

    @pytest.mark.parametrize("key_type", KeyType)
    def test_returns_the_key_that_signs(self, token: SoftToken, key_type: KeyType) -> None:
        uri = token.uri(f"signs-{key_type.value}")
        public_key = generate_key(uri, key_type, token.ask)
        with open_signer(uri, token.ask) as signer:
            assert spki_of(signer.public_key) == spki_of(public_key)
            assert signer.key_type is key_type
            sign(signer)

    def test_takes_the_id_that_it_is_given(self, token: SoftToken) -> None:
        uri = token.uri("with-id", id=b"\x01\xff")
        generate_key(uri, KeyType.ED25519, token.ask)
        assert list_keys(token.uri("with-id"), token.ask) == (TokenKey(uri, KeyType.ED25519),)

    def test_a_label_that_is_taken_is_refused_and_nothing_changes(self, fresh: SoftToken) -> None:
        generate_key(fresh.uri("ca"), KeyType.P256, fresh.ask)
        with pytest.raises(AmbiguousKey, match="already has a key labelled 'ca'"):
            generate_key(fresh.uri("ca"), KeyType.ED25519, fresh.ask)
        with pytest.raises(AmbiguousKey):
            generate_key(fresh.uri("ca", id=b"\x07"), KeyType.P256, fresh.ask)
        assert objects(fresh) == 2
        with open_signer(fresh.uri("ca"), fresh.ask) as signer:
            assert signer.key_type is KeyType.P256

    def test_without_a_label_is_refused(self, token: SoftToken) -> None:
        with pytest.raises(UsageError, match="does not name the new key"):
            generate_key(token.uri(), KeyType.P256, token.ask)


class TestWrongPin:
    def test_is_named_as_that_and_changes_nothing(self, fresh: SoftToken) -> None:
        generate_key(fresh.uri("ca"), KeyType.P256, fresh.ask)
        for attempt in (
            lambda: open_signer(fresh.uri("ca"), lambda _: "0000"),
            lambda: generate_key(fresh.uri("new"), KeyType.P256, lambda _: "0000"),
            lambda: list_keys(fresh.uri(), lambda _: "0000"),
        ):
            with pytest.raises(PinIncorrect, match="the token refused the PIN") as caught:
                attempt()
            assert caught.value.exit_status == 4
        assert [key.uri.object for key in list_keys(fresh.uri(), fresh.ask)] == ["ca"]

    def test_is_refused_even_while_another_login_is_open(self, fresh: SoftToken) -> None:
        """In one process the module itself would not look at it."""
        generate_key(fresh.uri("ca"), KeyType.P256, fresh.ask)
        with open_signer(fresh.uri("ca"), fresh.ask) as signer:
            with pytest.raises(PinIncorrect):
                open_signer(fresh.uri("ca"), lambda _: "0000")
            sign(signer)

    def test_is_asked_for_by_the_token_s_name_and_only_when_it_is_there(
        self, fresh: SoftToken
    ) -> None:
        asked: list[str] = []

        def ask(what: str) -> str:
            asked.append(what)
            return fresh.pin

        with pytest.raises(TokenNotFound):
            list_keys(Pkcs11Uri("no-such-token"), ask)
        assert asked == []
        list_keys(fresh.uri(), ask)
        assert asked == [f"PIN of token {fresh.label}"]


class TestTokens:
    def test_none_of_that_label(self, token: SoftToken) -> None:
        with pytest.raises(TokenNotFound, match="no token matches") as caught:
            open_signer(Pkcs11Uri("no-such-token", "ca"), token.ask)
        assert repr(token.label) in caught.value.message, "says which ones are there"
        assert "SOFTHSM2_CONF" in caught.value.hint

    def test_two_of_one_label_until_the_serial_says_which(self, softhsm: SoftHsmFolder) -> None:
        one = softhsm.token()
        two = softhsm.token(one.label, one.pin)
        with pytest.raises(TokenNotFound, match="2 tokens match") as caught:
            open_signer(one.uri("ca"), one.ask)
        serials = caught.value.hint.rpartition("one of ")[2].split(", ")
        assert len(set(serials)) == 2
        generate_key(two.uri("ca", serial=serials[1]), KeyType.P256, two.ask)
        with pytest.raises(KeyNotFound):
            open_signer(one.uri("ca", serial=serials[0]), one.ask)
        with open_signer(one.uri("ca", serial=serials[1]), one.ask) as signer:
            sign(signer)

    def test_the_serial_alone_names_one_and_its_file_has_the_pin(
        self, fresh: SoftToken, tmp_path: Path
    ) -> None:
        with direct(fresh) as session:
            serial = session.token.serial.decode().strip()
        pin = tmp_path / "pin"
        pin.write_text(fresh.pin)
        pin.chmod(0o600)
        uri = Pkcs11Uri(object="ca", serial=serial, pin_source=str(pin))
        generate_key(uri, KeyType.P256, never)
        with open_signer(uri, never) as signer:
            sign(signer)

    def test_one_that_was_made_after_the_module_was_loaded(self, softhsm: SoftHsmFolder) -> None:
        early = softhsm.token()
        assert list_keys(early.uri(), early.ask) == ()
        late = softhsm.token()
        assert list_keys(late.uri(), late.ask) == ()

    def test_two_tokens_at_once(self, softhsm: SoftHsmFolder) -> None:
        one, two = softhsm.token(), softhsm.token()
        for each in (one, two):
            generate_key(each.uri("ca"), KeyType.ED25519, each.ask)
        with open_signer(one.uri("ca"), one.ask) as first:
            with open_signer(two.uri("ca"), two.ask) as second:
                assert first.public_key != second.public_key
                sign(second)
            sign(first)

    def test_closing_one_signer_logs_no_other_out(self, fresh: SoftToken) -> None:
        for label in ("a", "b"):
            generate_key(fresh.uri(label), KeyType.ED25519, fresh.ask)
        first = open_signer(fresh.uri("a"), fresh.ask)
        second = open_signer(fresh.uri("b"), fresh.ask)
        first.close()
        sign(second)
        generate_key(fresh.uri("c"), KeyType.P256, fresh.ask)
        sign(second)
        second.close()
        assert len(list_keys(fresh.uri(), fresh.ask)) == 3

    def test_other_processes_sign_at_the_same_time(self, fresh: SoftToken) -> None:
        generate_key(fresh.uri("ca"), KeyType.ED25519, fresh.ask)
        program = (
            "import sys\n"
            "from dpki.signer.pin import pin_from_env\n"
            "from dpki.signer.pkcs11 import open_signer\n"
            "from dpki.signer.uri import Pkcs11Uri\n"
            "with open_signer(Pkcs11Uri.parse(sys.argv[1]), pin_from_env('TEST_PIN')) as signer:\n"
            "    for _ in range(50): signer.private_key.sign(b'x')\n"
        )
        command = [sys.executable, "-c", program, str(fresh.uri("ca"))]
        environment = os.environ | {"TEST_PIN": fresh.pin}
        processes = [subprocess.Popen(command, env=environment) for _ in range(2)]
        with open_signer(fresh.uri("ca"), fresh.ask) as signer:
            for _ in range(50):
                sign(signer)
        assert [process.wait(60) for process in processes] == [0, 0]

    def test_who_holds_the_lock_for_long_is_not_waited_for(
        self, token: SoftToken, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pkcs11_token, "_COURTESY_SECONDS", 0.05)
        with find_module().open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            list_keys(token.uri(), token.ask)

    def test_the_lock_is_given_back_after_failures(self, token: SoftToken) -> None:
        with pytest.raises(PinIncorrect):
            list_keys(token.uri(), lambda _: "0000")
        with pytest.raises(TokenNotFound):
            list_keys(Pkcs11Uri("no-such-token"), token.ask)
        with find_module().open("rb") as file:
            # Would wait for ever for this process's own; another's is given back soon.
            fcntl.flock(file, fcntl.LOCK_EX)


class TestKeys:
    def test_none_of_that_label(self, fresh: SoftToken) -> None:
        generate_key(fresh.uri("other"), KeyType.P256, fresh.ask)
        with pytest.raises(KeyNotFound, match="keys there: 'other'"):
            open_signer(fresh.uri("ca"), fresh.ask)
        with pytest.raises(KeyNotFound):
            open_signer(fresh.uri("other", id=b"\x01"), fresh.ask)

    def test_no_key_is_named(self, token: SoftToken) -> None:
        with pytest.raises(UsageError, match="names a token but no key"):
            open_signer(token.uri(), token.ask)

    def test_two_of_one_label_until_the_id_says_which(self, fresh: SoftToken) -> None:
        with direct(fresh) as session:
            make_pair(session, "ca", b"\x01", SENSITIVE=True, EXTRACTABLE=False)
            make_pair(session, "ca", b"\x02", SENSITIVE=True, EXTRACTABLE=False)
        with pytest.raises(AmbiguousKey, match="2 keys match") as caught:
            open_signer(fresh.uri("ca"), fresh.ask)
        assert "%01" in caught.value.hint
        assert "%02" in caught.value.hint
        with (
            open_signer(fresh.uri("ca", id=b"\x01"), fresh.ask) as one,
            open_signer(fresh.uri("ca", id=b"\x02"), fresh.ask) as two,
        ):
            assert one.public_key != two.public_key
            sign(one)

    @pytest.mark.parametrize(
        ("attributes", "reason"),
        [
            ({"SENSITIVE": True, "EXTRACTABLE": True}, "EXTRACTABLE is True"),
            ({"SENSITIVE": False, "EXTRACTABLE": False}, "SENSITIVE is False"),
            ({"SENSITIVE": True, "EXTRACTABLE": False, "SIGN": False}, "not allowed to sign"),
        ],
    )
    def test_unsafe_or_useless_ones_are_refused(
        self, fresh: SoftToken, attributes: dict[str, object], reason: str
    ) -> None:
        with direct(fresh) as session:
            make_pair(session, "ca", b"\x01", **attributes)
        with pytest.raises(TokenError, match=reason):
            open_signer(fresh.uri("ca"), fresh.ask)

    def test_a_public_key_that_is_not_there(self, fresh: SoftToken) -> None:
        with direct(fresh) as session:
            make_pair(session, "ca", b"\x01", SENSITIVE=True, EXTRACTABLE=False)[0].destroy()
        with pytest.raises(KeyNotFound, match="0 public keys"):
            open_signer(fresh.uri("ca"), fresh.ask)

    def test_a_public_key_that_belongs_to_another(self, fresh: SoftToken) -> None:
        """It would be registered for ever, and no signature would ever verify."""
        with direct(fresh) as session:
            make_pair(session, "ca", b"\x01", SENSITIVE=True, EXTRACTABLE=False)[0].destroy()
            make_pair(session, "ca", b"\x01", SENSITIVE=True, EXTRACTABLE=False)[1].destroy()
        with pytest.raises(TokenError, match="does not verify under the CA's public key"):
            open_signer(fresh.uri("ca"), fresh.ask)

    def test_a_type_that_no_ca_has(self, fresh: SoftToken) -> None:
        with direct(fresh) as session:
            session.generate_keypair(
                pkcs11.KeyType.RSA,
                2048,
                label="ca",
                id=b"\x01",
                store=True,
                private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
            )
        assert list_keys(fresh.uri(), fresh.ask) == (TokenKey(fresh.uri("ca", id=b"\x01"), None),)
        with pytest.raises(TokenError, match="of a type that no CA's key has"):
            open_signer(fresh.uri("ca"), fresh.ask)

    def test_the_token_is_left_usable_after_every_failure(self, fresh: SoftToken) -> None:
        for _ in range(3):
            with pytest.raises(KeyNotFound):
                open_signer(fresh.uri("ca"), fresh.ask)
        with direct(fresh) as session:
            assert list(session.get_objects()) == []


class TestModules:
    def refused(self, token: SoftToken, module: Path | None) -> TokenError:
        with pytest.raises(TokenError) as caught:
            open_signer(token.uri("ca"), token.ask, module)
        assert type(caught.value) is TokenError
        return caught.value

    def test_missing(self, token: SoftToken) -> None:
        assert (
            "there is no PKCS#11 module at /no/such.so"
            in self.refused(token, Path("/no/such.so")).message
        )

    def test_missing_by_environment(
        self, token: SoftToken, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DPKI_PKCS11_MODULE", "/no/other.so")
        error = self.refused(token, None)
        assert "/no/other.so" in error.message
        assert "DPKI_PKCS11_MODULE" in error.hint

    def test_none_is_known(self, token: SoftToken, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pkcs11_module, "_KNOWN_MODULES", (Path("/no/fourth.so"),))
        error = self.refused(token, None)
        assert "no PKCS#11 module was found" in error.message
        assert "DPKI_PKCS11_MODULE" in error.hint

    def test_no_module(self, token: SoftToken, tmp_path: Path) -> None:
        text = tmp_path / "text.so"
        text.write_text("not a library")
        assert "could not be loaded as a PKCS#11 module" in self.refused(token, text).message

    def test_the_uri_s_own_wins(self, token: SoftToken) -> None:
        uri = token.uri("ca", module_path="/no/third.so")
        with pytest.raises(TokenError, match=r"/no/third\.so"):
            open_signer(uri, token.ask, find_module())

    def test_found_by_environment(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        link = tmp_path / "module.so"
        link.symlink_to(find_module())
        monkeypatch.setenv("DPKI_PKCS11_MODULE", str(link))
        assert find_module() == link.resolve(), "one file, one name"


def test_every_failure_says_what_happened(fresh: SoftToken) -> None:
    generate_key(fresh.uri("ca"), KeyType.P256, fresh.ask)
    attempts: list[Callable[[], object]] = [
        lambda: open_signer(fresh.uri("ca"), lambda _: "0000"),
        lambda: open_signer(Pkcs11Uri("nowhere", "ca"), fresh.ask),
        lambda: open_signer(fresh.uri("nothing"), fresh.ask),
        lambda: generate_key(fresh.uri("ca"), KeyType.P256, fresh.ask),
        lambda: open_signer(fresh.uri("ca"), fresh.ask, Path("/no/such.so")),
    ]
    messages = set()
    for attempt in attempts:
        with pytest.raises((TokenError, PinIncorrect)) as caught:
            attempt()
        messages.add((type(caught.value), caught.value.message))
    assert len(messages) == len(attempts), "no two look alike"
