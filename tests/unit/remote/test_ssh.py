"""How hosts are reached: what `ssh` is given, and what is refused before it is asked."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from dpki.errors import UsageError
from dpki.remote.ssh import Connection, verify_destination
from dpki.remote.wheel import build_wheel, wheel_name


@pytest.mark.parametrize(
    "text", ["gate-1", "root@gate-1.example.org", "root@10.0.0.1", "a@fe80::1"]
)
def test_destinations(text: str) -> None:
    assert verify_destination(text) == text


@pytest.mark.parametrize(
    "text", ["", "-oProxyCommand=id", "root@-oProxyCommand=id", "a b", "a;id", "$(id)", "a\n", "@a"]
)
def test_what_ssh_would_take_for_an_option_or_a_shell_for_words(text: str) -> None:
    with pytest.raises(UsageError):
        verify_destination(text)


def test_nothing_weakens_the_check_of_host_keys() -> None:
    """ssh takes the first of each option (ssh_config(5))."""
    connection = Connection("/x", ("StrictHostKeyChecking=no", "Port=2222"))
    connection.verify()
    words = connection.command("root@gate-1", "true")
    options = [words[i + 1] for i, word in enumerate(words) if word == "-o"]
    strict = [one for one in options if one.startswith("StrictHostKeyChecking")]
    assert strict == ["StrictHostKeyChecking=yes", "StrictHostKeyChecking=no"]
    assert "Port=2222" in options
    assert words[-3:] == ["--", "root@gate-1", "true"]


@pytest.mark.parametrize("option", ["", "Port", "-Fx", "Port=1\nProxyCommand=id", "=x"])
def test_options_that_are_none(option: str) -> None:
    with pytest.raises(UsageError, match="no option of ssh"):
        Connection("", (option,)).verify()


def test_the_wheel_is_this_very_dpki() -> None:
    data = build_wheel()
    assert data == build_wheel()
    with zipfile.ZipFile(io.BytesIO(data)) as wheel:
        names = wheel.namelist()
        info = wheel_name().removesuffix("-py3-none-any.whl") + ".dist-info"
        assert "dpki=dpki.cli.app:main" in wheel.read(f"{info}/entry_points.txt").decode().replace(
            " ", ""
        )
        assert b"Requires-Dist: cryptography" in wheel.read(f"{info}/METADATA")
        own = Path(__file__).parents[3] / "dpki" / "errors.toml"
        assert wheel.read("dpki/errors.toml") == own.read_bytes()
    assert not [name for name in names if "__pycache__" in name]
