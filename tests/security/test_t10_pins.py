"""T10: PINs never appear in arguments, configuration, logs, errors or reprs.

The attack: reading where secrets leak to: `ps`, log files, bug reports, tracebacks. Every test
makes things go right or wrong with a PIN that no text holds by chance, and then looks for it
everywhere.
"""

from __future__ import annotations

import getpass
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256

from dpki.errors import DpkiError
from dpki.signer import pin
from dpki.signer.base import KeyType
from dpki.signer.pin import (
    PinSource,
    pin_from_command,
    pin_from_env,
    pin_from_file,
    pin_from_prompt,
    pin_source,
)
from dpki.signer.pkcs11 import generate_key, list_keys, open_signer
from dpki.signer.uri import Pkcs11Uri
from tests.faulty_modules import FAULT, workers
from tests.soft_tokens import SoftHsmFolder, SoftToken

SECRET = "S3cret-Pin-9f31"


@pytest.fixture(scope="module")
def token(softhsm: SoftHsmFolder) -> SoftToken:
    token = softhsm.token(pin=SECRET)
    generate_key(token.uri("ca"), KeyType.P256, token.ask)
    return token


@pytest.fixture(autouse=True)
def nothing_said(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[None]:
    """Look through everything that was logged or printed by any test here."""
    caplog.set_level(logging.DEBUG)
    yield
    printed = capfd.readouterr()
    assert SECRET not in caplog.text + printed.out + printed.err


def everything_said(error: BaseException) -> str:
    """Return all that a person, a log or a bug report can see of an error and what caused it."""
    said = "".join(traceback.format_exception(error))
    seen: BaseException | None = error
    while seen is not None:
        said += repr(seen) + str(seen) + repr(seen.args) + repr(vars(seen))
        said += repr(seen.__dict__) + getattr(seen, "hint", "")
        seen = seen.__cause__ or seen.__context__
    return said


def errors_of(attempt: Callable[[], object]) -> str:
    with pytest.raises(DpkiError) as caught:
        attempt()
    return everything_said(caught.value)


class TestTokens:
    def test_errors_don_t_repeat_a_wrong_pin(self, token: SoftToken) -> None:
        wrong: PinSource = lambda _: SECRET + "x"  # noqa: E731
        for attempt in (
            lambda: open_signer(token.uri("ca"), wrong),
            lambda: generate_key(token.uri("new"), KeyType.P256, wrong),
            lambda: list_keys(token.uri(), wrong),
        ):
            assert SECRET not in errors_of(attempt)

    def test_errors_don_t_repeat_a_right_one(self, token: SoftToken) -> None:
        for attempt in (
            lambda: open_signer(token.uri("none"), token.ask),
            lambda: generate_key(token.uri("ca"), KeyType.P256, token.ask),
            lambda: open_signer(Pkcs11Uri("nowhere", "ca"), token.ask),
            lambda: open_signer(token.uri("ca"), token.ask, Path("/no/such.so")),
        ):
            assert SECRET not in errors_of(attempt)

    def test_an_open_signer_shows_and_keeps_none(self, token: SoftToken) -> None:
        with open_signer(token.uri("ca"), token.ask) as signer:
            login = signer._key._login
            shown = [signer, signer.private_key, signer.uri, login, login._process]
            kept = [vars(each) for each in (signer, signer._key, login, login._process)]
            assert SECRET not in repr(shown) + str(shown) + repr(kept)
            signer.private_key.sign(b"x", ECDSA(SHA256()))

    @pytest.mark.parametrize("source", ["file", "env", "command"])
    def test_the_module_s_process_has_it_in_no_argument_and_no_environment(
        self, token: SoftToken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
    ) -> None:
        """Nor does any other process; where it comes from our own environment, but ourselves."""
        file = tmp_path / "pin"
        file.touch(0o600)
        file.write_text(SECRET)
        specs = {
            "file": f"file:{file}",
            "env": "env:DPKI_TEST_PIN",
            "command": f"command:cat {file}",
        }
        if source == "env":
            monkeypatch.setenv("DPKI_TEST_PIN", SECRET)
        with open_signer(token.uri("ca"), pin_source(specs[source])):
            assert len(workers()) == 1
            for process in workers():
                for name in ("cmdline", "environ"):
                    said = Path(f"/proc/{process}/{name}").read_bytes()
                    assert said
                    assert SECRET.encode() not in said
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    assert SECRET.encode() not in entry.read_bytes()
                except (FileNotFoundError, ProcessLookupError, PermissionError):
                    continue

    def test_a_module_that_crashes_with_it_leaves_no_core_and_says_nothing(
        self, token: SoftToken, faulty_module: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with open_signer(token.uri("ca"), token.ask):
            for process in workers():
                limits = Path(f"/proc/{process}/limits").read_text()
                (core,) = (line for line in limits.splitlines() if "core file size" in line)
                assert core.split()[4:6] == ["0", "0"]
        monkeypatch.setenv(FAULT, "C_Login:segv")
        said = errors_of(lambda: open_signer(token.uri("ca"), token.ask, faulty_module))
        assert "died of SIGSEGV" in said
        assert SECRET not in said


class TestUris:
    @pytest.mark.parametrize(
        "text",
        [
            f"pkcs11:token=acme;object=ca?pin-value={SECRET}",
            f"pkcs11:token=acme;object=ca;pin-value={SECRET}",
            f"pkcs11:token=acme;object=ca?pin-source={SECRET}",
            f"pkcs11:token=acme;token={SECRET}",
            f"pkcs11:token=acme;pin={SECRET}",
            f"pkcs11:token=acme;object={SECRET}%",
            f"pkcs11:token=acme;object=ca;{SECRET}",
            SECRET,
        ],
    )
    def test_hold_no_pin_and_errors_don_t_repeat_it(self, text: str) -> None:
        assert SECRET not in errors_of(lambda: Pkcs11Uri.parse(text)).replace(repr(text), "")


class TestSources:
    def write(self, path: Path, content: str, mode: int = 0o600) -> Path:
        path.write_text(content)
        path.chmod(mode)
        return path

    def test_reprs_show_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DPKI_TEST_PIN", SECRET)
        sources = [
            pin_from_env("DPKI_TEST_PIN"),
            pin_from_file(self.write(tmp_path / "pin", SECRET)),
            pin_from_command(["cat", str(tmp_path / "pin")]),
        ]
        for source in sources:
            assert source("PIN") == SECRET
            cells = [cell.cell_contents for cell in source.__closure__ or ()]
            assert SECRET not in repr(source) + repr(vars(source)) + repr(cells)

    @pytest.mark.parametrize(
        "spec", [SECRET, f"pin:{SECRET}", f"command:'{SECRET}", f"value:{SECRET}"]
    )
    def test_a_pin_in_place_of_a_source_is_not_repeated(self, spec: str) -> None:
        assert SECRET not in errors_of(lambda: pin_source(spec))

    @pytest.mark.parametrize("extra", ["\nsecond line", "\x1b", "\0", "x" * 2000])
    def test_what_is_refused_is_not_repeated(
        self, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        content = SECRET + extra
        path = self.write(tmp_path / "pin", content)
        monkeypatch.setattr(getpass, "getpass", lambda _: content)
        sources = [
            pin_from_file(path),
            pin_from_command(["cat", str(path)]),
            pin_from_prompt(),
        ]
        if "\0" not in extra:
            monkeypatch.setenv("DPKI_TEST_PIN", content)
            sources.append(pin_from_env("DPKI_TEST_PIN"))
        for source in sources:
            assert SECRET not in errors_of(lambda source=source: source("PIN"))

    def test_bytes_that_are_no_text_are_not_repeated(self, tmp_path: Path) -> None:
        path = tmp_path / "pin"
        path.write_bytes(SECRET.encode() + b"\xff")
        path.chmod(0o600)
        assert SECRET not in errors_of(lambda: pin_from_file(path)("PIN"))
        assert SECRET not in errors_of(lambda: pin_from_command(["cat", str(path)])("PIN"))

    def test_a_command_that_fails_is_named_without_what_it_printed(self) -> None:
        program = "import os; print(os.environ['DPKI_TEST_PIN']); raise SystemExit(3)"
        os.environ["DPKI_TEST_PIN"] = SECRET
        try:
            source = pin_from_command([sys.executable, "-c", program])
            assert SECRET not in errors_of(lambda: source("PIN"))
        finally:
            del os.environ["DPKI_TEST_PIN"]

    def test_a_command_that_takes_too_long_is_named_without_what_it_printed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pin, "_COMMAND_SECONDS", 0.5)
        monkeypatch.setenv("DPKI_TEST_PIN", SECRET)
        source = pin_from_command(["/bin/sh", "-c", 'echo "$DPKI_TEST_PIN"; exec sleep 60'])
        said = errors_of(lambda: source("PIN"))
        assert "took more than" in said
        assert SECRET not in said

    def test_a_file_that_others_can_read_is_not_used(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "pin", SECRET, 0o644)
        assert SECRET not in errors_of(lambda: pin_from_file(path)("PIN"))


def test_the_search_would_find_one() -> None:
    """These tests could fail."""
    assert SECRET in errors_of(lambda: _raise(DpkiError("x", hint=SECRET)))
    cause = DpkiError("x")
    cause.__cause__ = ValueError(SECRET)
    assert SECRET in errors_of(lambda: _raise(cause))


def _raise(error: Exception) -> None:
    raise error
