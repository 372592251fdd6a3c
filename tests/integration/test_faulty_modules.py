"""PKCS#11 modules and tokens that crash, hang, lie and vanish: one clear error, and we live on."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dpki.errors import (
    ConfigError,
    ModuleFailed,
    NotAllowed,
    PinIncorrect,
    TokenError,
)
from dpki.signer import pkcs11_module
from dpki.signer.base import KeyType
from dpki.signer.pkcs11 import Pkcs11Signer, generate_key, list_keys, open_signer
from dpki.signer.pkcs11_token import verify_token
from tests.faulty_modules import (
    DEVICE_REMOVED,
    FAULT,
    GENERAL_ERROR,
    LOG,
    MECHANISM_INVALID,
    PIN_EXPIRED,
    PIN_LOCKED,
    PIN_NOT_INITIALIZED,
    TOKEN_NOT_PRESENT,
    is_running,
    wait_until,
    workers,
)
from tests.signing import sign_message
from tests.soft_tokens import SoftHsmFolder, SoftToken

PLACES = {
    "load": "loading",
    "C_Initialize": "loading",
    "C_Login": "logging in to token",
    "C_FindObjectsInit": "opening key",
    "C_Sign": "signing with",
}
DEATHS = {"segv": "died of SIGSEGV", "abort": "died of SIGABRT", "exit": "exit status 7"}

Fault = Callable[[str], None]


@pytest.fixture(scope="module")
def token(softhsm: SoftHsmFolder) -> SoftToken:
    token = softhsm.token()
    generate_key(token.uri("ca"), KeyType.P256, token.ask)
    return token


@pytest.fixture
def fault(monkeypatch: pytest.MonkeyPatch) -> Fault:
    """What makes the module fail from now on, or no longer."""
    return lambda spec: monkeypatch.setenv(FAULT, spec)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], int]:
    """How often one of the module's functions was called."""
    log = tmp_path / "calls"
    log.touch()
    monkeypatch.setenv(LOG, str(log))
    return lambda name: log.read_text().splitlines().count(name)


@pytest.fixture(autouse=True)
def no_process_stays(monkeypatch: pytest.MonkeyPatch):
    """However a test ends, no module's process is left."""
    before = workers()
    yield
    assert workers() == before


def opened(token: SoftToken, module: Path) -> Pkcs11Signer:
    return open_signer(token.uri("ca"), token.ask, module)


def sign(signer: Pkcs11Signer) -> None:
    sign_message(signer.private_key, b"message")


def refused(attempt: Callable[[], object], error: type[TokenError] = ModuleFailed) -> TokenError:
    with pytest.raises(error) as caught:
        attempt()
    assert type(caught.value) is error
    assert caught.value.exit_status == 1
    assert "dpki ssh resume" in caught.value.hint
    return caught.value


class TestDies:
    @pytest.mark.parametrize("how", DEATHS)
    @pytest.mark.parametrize("where", PLACES)
    def test_it_alone_and_is_named(
        self, token: SoftToken, faulty_module: Path, fault: Fault, where: str, how: str
    ) -> None:
        fault(f"{where}:{how}")
        message = refused(lambda: opened(token, faulty_module)).message
        assert message.startswith(PLACES[where])
        assert f"the PKCS#11 module {faulty_module}" in message
        assert DEATHS[how] in message
        fault("")
        with opened(token, faulty_module) as signer:
            sign(signer)

    def test_between_signatures_and_stays_dead(
        self, token: SoftToken, faulty_module: Path, fault: Fault
    ) -> None:
        fault("C_Sign:segv:4")
        with opened(token, faulty_module) as signer:
            sign(signer)
            sign(signer)
            first = refused(lambda: sign(signer))
            again = refused(lambda: sign(signer))
        assert again.message == first.message
        with pytest.raises(ModuleFailed):
            sign(signer)

    def test_while_a_key_is_made(
        self, softhsm: SoftHsmFolder, faulty_module: Path, fault: Fault
    ) -> None:
        fresh = softhsm.token()
        fault("C_GenerateKeyPair:abort")
        error = refused(
            lambda: generate_key(fresh.uri("new"), KeyType.P256, fresh.ask, faulty_module)
        )
        assert error.message.startswith("making key")
        assert list_keys(fresh.uri(), fresh.ask) == ()

    @pytest.mark.parametrize("how", ["segv", GENERAL_ERROR])
    def test_at_the_very_end_unnoticed(
        self, token: SoftToken, faulty_module: Path, fault: Fault, how: str
    ) -> None:
        fault(f"C_Finalize:{how}")
        with opened(token, faulty_module) as signer:
            sign(signer)


class TestHangs:
    @pytest.mark.parametrize("where", PLACES)
    def test_is_ended_and_named(
        self,
        token: SoftToken,
        faulty_module: Path,
        fault: Fault,
        monkeypatch: pytest.MonkeyPatch,
        where: str,
    ) -> None:
        # The process has its time to start where it is not the loading that hangs.
        patience = {} if PLACES[where] == "loading" else {"load": 60.0}
        monkeypatch.setattr(pkcs11_module, "ANSWER_SECONDS", 0.5)
        monkeypatch.setattr(pkcs11_module, "PATIENT_SECONDS", patience)
        fault(f"{where}:hang")
        message = refused(lambda: opened(token, faulty_module)).message
        assert message.startswith(PLACES[where])
        assert f"the PKCS#11 module {faulty_module} did not answer within 0.5 s" in message

    def test_at_the_very_end_unnoticed(
        self,
        token: SoftToken,
        faulty_module: Path,
        fault: Fault,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(pkcs11_module, "GRACE_SECONDS", 0.2)
        fault("C_Finalize:hang")
        with opened(token, faulty_module) as signer:
            sign(signer)


class TestRefuses:
    @pytest.mark.parametrize("code", [PIN_LOCKED, PIN_EXPIRED])
    def test_a_pin_that_is_locked(
        self,
        token: SoftToken,
        faulty_module: Path,
        fault: Fault,
        calls: Callable[[str], int],
        code: str,
    ) -> None:
        fault(f"C_Login:{code}")
        with pytest.raises(NotAllowed, match="the PIN is locked or expired") as caught:
            opened(token, faulty_module)
        assert not isinstance(caught.value, PinIncorrect), "another PIN would not help"
        assert caught.value.exit_status == 4
        assert "security officer" in caught.value.hint
        assert calls("C_Login") == 1

    def test_a_wrong_pin_once(
        self, token: SoftToken, faulty_module: Path, calls: Callable[[str], int]
    ) -> None:
        """Real tokens count them."""
        with pytest.raises(PinIncorrect):
            open_signer(token.uri("ca"), lambda _: "0000", faulty_module)
        assert calls("C_Login") == 1

    def test_a_pin_that_was_never_set(
        self, token: SoftToken, faulty_module: Path, fault: Fault
    ) -> None:
        fault(f"C_Login:{PIN_NOT_INITIALIZED}")
        with pytest.raises(TokenError, match="has no user PIN yet"):
            opened(token, faulty_module)

    @pytest.mark.parametrize("code", [DEVICE_REMOVED, TOKEN_NOT_PRESENT])
    def test_everything_once_it_is_taken_away(
        self, token: SoftToken, faulty_module: Path, fault: Fault, code: str
    ) -> None:
        fault(f"C_Sign:{code}:3,C_SignInit:{code}:4")
        with opened(token, faulty_module) as signer:
            sign(signer)
            for _ in range(2):
                error = refused(lambda: sign(signer), TokenError)
                assert "signing with" in error.message
                assert "the token was removed" in error.message

    def test_for_a_reason_of_its_own(
        self, token: SoftToken, faulty_module: Path, fault: Fault
    ) -> None:
        fault(f"C_Sign:{GENERAL_ERROR}")
        error = refused(lambda: opened(token, faulty_module), TokenError)
        assert error.message.endswith("the PKCS#11 module failed: GeneralError")

    def test_to_start(self, token: SoftToken, faulty_module: Path, fault: Fault) -> None:
        fault(f"C_Initialize:{GENERAL_ERROR}")
        with pytest.raises(TokenError, match=r"could not be loaded .*: GeneralError"):
            opened(token, faulty_module)

    def test_a_mechanism_when_it_signs(
        self, token: SoftToken, faulty_module: Path, fault: Fault
    ) -> None:
        fault(f"C_SignInit:{MECHANISM_INVALID}")
        with pytest.raises(TokenError, match=r"signing with .* lacks the mechanism") as caught:
            opened(token, faulty_module)
        assert "pkcs11-tool --list-mechanisms" in caught.value.hint

    @pytest.mark.parametrize(
        ("mechanism", "name"), [("0x1040", "EC_KEY_PAIR_GEN"), ("0x1041", "ECDSA")]
    )
    def test_to_make_a_key_without_its_mechanisms(
        self,
        softhsm: SoftHsmFolder,
        faulty_module: Path,
        fault: Fault,
        mechanism: str,
        name: str,
    ) -> None:
        fresh = softhsm.token()
        fault(f"C_GetMechanismList:{mechanism}")
        with pytest.raises(TokenError, match=f"lacks the mechanism {name}$"):
            generate_key(fresh.uri("ca"), KeyType.P256, fresh.ask, faulty_module)
        assert list_keys(fresh.uri(), fresh.ask) == ()


class TestLies:
    @pytest.mark.parametrize("key_type", KeyType)
    def test_with_a_signature_which_is_withheld(
        self, softhsm: SoftHsmFolder, faulty_module: Path, fault: Fault, key_type: KeyType
    ) -> None:
        fresh = softhsm.token()
        generate_key(fresh.uri("ca"), key_type, fresh.ask)
        fault("C_Sign:garble:2")
        with (
            opened(fresh, faulty_module) as signer,
            pytest.raises(TokenError, match=r"does not verify .* withheld"),
        ):
            sign(signer)

    def test_with_a_key_that_is_not_as_it_was_asked_for_and_goes_again(
        self, softhsm: SoftHsmFolder, faulty_module: Path, fault: Fault
    ) -> None:
        fresh = softhsm.token()
        fault("C_GenerateKeyPair:careless")
        with pytest.raises(TokenError, match="SENSITIVE is False"):
            generate_key(fresh.uri("ca"), KeyType.ED25519, fresh.ask, faulty_module)
        assert list_keys(fresh.uri(), fresh.ask) == ()


def test_a_token_is_found_without_its_pin(
    token: SoftToken, faulty_module: Path, calls: Callable[[str], int]
) -> None:
    assert verify_token(token.uri(), faulty_module) == faulty_module
    assert (calls("C_Initialize"), calls("C_Login")) == (1, 0)


class TestProcess:
    """The process itself, where another answers in its place."""

    FAKE = """#!{python}
import json, os, socket, sys, time
from dpki.signer.pkcs11_wire import receive, send
channel = socket.socket(fileno=int(sys.argv[5]))
answers = json.loads(os.environ["FAKE_ANSWERS"])
while True:
    answer = answers[receive(channel)["do"]]
    if isinstance(answer, list):
        for part in answer:
            time.sleep(0.05)
            channel.sendall(bytes.fromhex(part))
    else:
        send(channel, answer)
"""

    @pytest.fixture
    def fake(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
        program = tmp_path / "python"
        program.write_text(self.FAKE.format(python=sys.executable))
        program.chmod(0o755)

        def answering(**answers: object) -> None:
            monkeypatch.setenv("FAKE_ANSWERS", json.dumps({"load": {"is": None}} | answers))
            monkeypatch.setattr(sys, "executable", str(program))

        return answering

    @pytest.mark.parametrize(
        "raw",
        [
            b"\xff\xff\xff\xff",
            b"\x00\x00\x00\x02no",
            b"\x00\x00\x00\x02[]",
            b"\x00\x00\x00\x02{}{}",
            b"\x00\x00\x4e\x20" + b"[" * 20_000,
        ],
        ids=["too long", "no JSON", "no object", "too much", "too deep"],
    )
    def test_no_message(self, token: SoftToken, fake: Callable[..., None], raw: bytes) -> None:
        fake(tokens=[raw.hex()])
        error = refused(lambda: list_keys(token.uri(), token.ask))
        assert "answered nonsense" in error.message

    def test_a_message_in_parts(self, token: SoftToken, fake: Callable[..., None]) -> None:
        whole = b'{"is": [{"label": "%s"}]}' % token.label.encode()
        parts = [b"\0", b"\0\0", bytes([len(whole)]) + whole[:5], whole[5:]]
        fake(tokens=[part.hex() for part in parts])
        verify_token(token.uri(), None)

    @pytest.mark.parametrize(
        "answers",
        [
            {"tokens": {"is": "x"}},
            {"tokens": {"is": ["x"]}},
            {"search": {"is": [{"LABEL": "ca"}]}},
            {"search": {"is": [{"key": 0, "ID": "no hex"}]}},
            {"search": {}},
        ],
    )
    def test_messages_that_say_nothing(
        self, token: SoftToken, fake: Callable[..., None], answers: dict[str, object]
    ) -> None:
        there = {"is": [{"label": token.label, "serial": "1"}]}
        fake(**({"tokens": there, "login": {"is": None}} | answers))
        with pytest.raises(TokenError, match="answered nonsense"):
            list_keys(token.uri(), token.ask)

    def test_it_can_t_be_started(self, token: SoftToken, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        message = os.strerror(errno.ENOENT)
        with pytest.raises(TokenError, match=f"was not started: {message}"):
            list_keys(token.uri(), token.ask)

    def test_its_library_is_not_installed(
        self, token: SoftToken, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ConfigError, match="need python-pkcs11") as caught:
            verify_token(token.uri(), None)
        assert "pip install" in caught.value.hint

    def test_what_fails_outside_the_module_is_told_without_its_text(self, token: SoftToken) -> None:
        """A PIN that can't even be encoded; the text of the error would quote it."""
        with pytest.raises(TokenError, match=r"failed: UnicodeEncodeError$") as caught:
            list_keys(token.uri(), lambda _: "12\udc80")
        assert "12" not in caught.value.message.replace(token.label, "")

    def test_it_loads_nothing_from_where_dpki_was_started(
        self, token: SoftToken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "pkcs11.py").write_text("raise SystemExit('somebody else')")
        monkeypatch.chdir(tmp_path)
        assert list_keys(token.uri("ca"), token.ask)

    def test_ctrl_c_ends_it_and_the_next_answer_is_not_mistaken(
        self, token: SoftToken, faulty_module: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pkcs11_module, "GRACE_SECONDS", 0.2)
        fault("C_Sign:hang:2")
        with opened(token, faulty_module) as signer:
            signal.signal(signal.SIGALRM, interrupt)
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(KeyboardInterrupt):
                sign(signer)
            with pytest.raises(TokenError, match="is closed"):
                sign(signer)

    @pytest.mark.parametrize("where", ["load", "C_Sign:hang:2"])
    def test_it_ends_with_its_parent_whatever_the_module_does(
        self, token: SoftToken, faulty_module: Path, fault: Fault, tmp_path: Path, where: str
    ) -> None:
        """Killed outright: nobody is left to end it."""
        calls = tmp_path / "calls"
        program = (
            "import os, sys\n"
            "from pathlib import Path\n"
            "from dpki.certificates.signature import sign_ssh\n"
            "from dpki.signer.pin import pin_from_env\n"
            "from dpki.signer.pkcs11 import open_signer\n"
            "from dpki.signer.uri import Pkcs11Uri\n"
            "uri = Pkcs11Uri.parse(sys.argv[1])\n"
            "with open_signer(uri, pin_from_env('TEST_PIN'), Path(sys.argv[2])) as signer:\n"
            "    sign_ssh(signer.private_key, b'x')\n"
        )
        fault("load:hang" if where == "load" else where)
        parent = subprocess.Popen(
            [sys.executable, "-c", program, str(token.uri("ca")), str(faulty_module)],
            env=os.environ | {"TEST_PIN": token.pin, LOG: str(calls)},
        )
        name, count = ("load", 1) if where == "load" else ("C_Sign", 2)
        wait_until(lambda: calls.exists() and calls.read_text().split().count(name) == count)
        (worker,) = workers(parent.pid)
        parent.kill()
        parent.wait()
        wait_until(lambda: not is_running(worker))


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt
