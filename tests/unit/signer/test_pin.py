import getpass
import os
import sys
from pathlib import Path

import pytest

from dpki.errors import ConfigError
from dpki.signer.pin import (
    pin_from_command,
    pin_from_env,
    pin_from_file,
    pin_from_prompt,
    pin_source,
)


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


class TestEnvironment:
    def test_reads_when_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        source = pin_from_env("DPKI_TEST_PIN")
        monkeypatch.setenv("DPKI_TEST_PIN", "12 34")
        assert source("PIN") == "12 34"

    def test_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("DPKI_TEST_PIN", raising=False)
        with pytest.raises(ConfigError, match=r"PIN of x: .*DPKI_TEST_PIN is not set"):
            pin_from_env("DPKI_TEST_PIN")("PIN of x")

    @pytest.mark.parametrize("value", ["", "\n", "12\n34", "12\x1b", "1" * 1025])
    def test_what_is_no_pin(self, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DPKI_TEST_PIN", value)
        with pytest.raises(ConfigError):
            pin_from_env("DPKI_TEST_PIN")("PIN")


class TestFile:
    @pytest.mark.parametrize("content", [b"1234", b"1234\n", b"1234\r\n"])
    def test_one_line(self, content: bytes, tmp_path: Path) -> None:
        assert pin_from_file(write(tmp_path / "pin", content))("PIN") == "1234"

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644])
    def test_others_must_not_read_or_write_it(self, mode: int, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="others than its owner") as caught:
            pin_from_file(write(tmp_path / "pin", b"1234", mode))("PIN")
        assert "chmod 600" in caught.value.hint

    @pytest.mark.parametrize("content", [b"", b"\n", b"12\n34\n", b"\xff\xfe", b"1" * 5000])
    def test_what_is_no_pin(self, content: bytes, tmp_path: Path) -> None:
        with pytest.raises(ConfigError):
            pin_from_file(write(tmp_path / "pin", content))("PIN")

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"could not read .*No such file"):
            pin_from_file(tmp_path / "none")("PIN")

    def test_a_folder_or_pipe_is_refused_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="not a plain file"):
            pin_from_file(tmp_path)("PIN")
        os.mkfifo(tmp_path / "pipe", 0o600)
        with pytest.raises(ConfigError, match="not a plain file"):
            pin_from_file(tmp_path / "pipe")("PIN")


class TestCommand:
    def test_first_line_of_output_without_a_shell(self) -> None:
        source = pin_from_command([sys.executable, "-c", "import sys; print(sys.argv[1])", "$HOME"])
        assert source("PIN") == "$HOME"

    def test_failure_names_program_and_status_only(self) -> None:
        source = pin_from_command([sys.executable, "-c", "print('s3cret'); raise SystemExit(7)"])
        with pytest.raises(ConfigError, match="exit status 7") as caught:
            source("PIN")
        assert "s3cret" not in str(caught.value)

    def test_no_output(self) -> None:
        with pytest.raises(ConfigError, match="is empty"):
            pin_from_command([sys.executable, "-c", ""])("PIN")

    def test_missing_program(self) -> None:
        with pytest.raises(ConfigError, match="could not be started"):
            pin_from_command(["/no/such/program"])("PIN")

    def test_no_program(self) -> None:
        with pytest.raises(ConfigError, match="empty"):
            pin_from_command([])


class TestPrompt:
    def test_asks_for_what_is_wanted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[str] = []

        def answer(prompt: str) -> str:
            asked.append(prompt)
            return "1234"

        monkeypatch.setattr(getpass, "getpass", answer)
        assert pin_from_prompt()("PIN of token acme") == "1234"
        assert asked == ["PIN of token acme: "]

    def test_never_reads_with_echo(self, monkeypatch: pytest.MonkeyPatch) -> None:
        read_end, write_end = os.pipe()
        os.write(write_end, b"1234\n")
        os.close(write_end)

        def no_terminal(path: str, *_: object) -> int:
            raise OSError(6, f"No such device or address: {path}")

        with os.fdopen(read_end) as pipe:
            monkeypatch.setattr(sys, "stdin", pipe)
            monkeypatch.setattr(os, "open", no_terminal)
            with pytest.raises(ConfigError, match="no terminal"):
                pin_from_prompt()("PIN")


class TestSpecification:
    def test_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DPKI_TEST_PIN", "1234")
        assert pin_source("env:DPKI_TEST_PIN")("PIN") == "1234"

    def test_file(self, tmp_path: Path) -> None:
        assert pin_source(f"file:{write(tmp_path / 'pin', b'1234')}")("PIN") == "1234"

    def test_command(self) -> None:
        assert pin_source(f"command:{sys.executable} -c 'print(\"12 34\")'")("PIN") == "12 34"

    def test_prompt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(getpass, "getpass", lambda _: "1234")
        assert pin_source("prompt")("PIN") == "1234"

    @pytest.mark.parametrize(
        "spec", ["", "1234", "env:", "file:", "pin:1234", "prompt:x", "command:", "command:'a"]
    )
    def test_everything_else_is_refused(self, spec: str) -> None:
        with pytest.raises(ConfigError):
            pin_source(spec)
