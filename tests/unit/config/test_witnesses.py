"""The table `[witnesses]`, and witnesses on a command line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dpki.config.device import DeviceConfig, dump_device_config, parse_device_config
from dpki.config.witnesses import MAXIMUM, Mode, Witness, Witnesses, parse_named
from dpki.errors import ConfigError, MalformedInput, UsageError
from tests.unit.config.test_device import FULL as CONFIG
from tests.witnesses import Witnessing

A, B = Witnessing("a=b"), Witnessing("b")
NAMED = (Witness(A.key, "https://a.example/x?y=z"), Witness(B.key, "/srv/b"))


@pytest.mark.parametrize("mode", list(Mode))
def test_what_is_written_reads_back(mode: Mode) -> None:
    config = replace(CONFIG, witnesses=Witnesses(NAMED, 2, mode))
    text = dump_device_config(config)
    assert parse_device_config(text) == config
    assert "[witnesses]" in text


def test_without_the_table_there_are_none() -> None:
    assert parse_device_config(dump_device_config(CONFIG)).witnesses is None


def test_it_says_itself_in_words() -> None:
    witnesses = Witnesses(NAMED, 1)
    assert witnesses.signed(7) == "1 of 2 witnesses signed block 7"


def _with(table: str) -> DeviceConfig:
    text = dump_device_config(CONFIG).split("\n[witnesses]")[0]
    return parse_device_config(f"{text}\n[witnesses]\n{table}\n")


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (f'named = ["{NAMED[0]}"]', "needed"),
        ("needed = 1", "named"),
        ("named = []\nneeded = 1", "only 0 witnesses are named"),
        (f'named = ["{NAMED[0]}"]\nneeded = 0', "at least 1"),
        (f'named = ["{NAMED[0]}"]\nneeded = 2', "only 1 witnesses are named"),
        (f'named = ["{NAMED[0]}"]\nneeded = 1\nmode = "maybe"', "beside or instead"),
        (f'named = ["{NAMED[0]}"]\nneeded = 1\nquorum = 1', "quorum"),
        (f'named = ["{A.key}=ftp://x"]\nneeded = 1', "not an http or https URL"),
        (f'named = ["{NAMED[0]}", "{A.key}=/x"]\nneeded = 1', "have the same key"),
    ],
)
def test_what_makes_no_sense_is_refused(table: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        _with(table)


class TestTyped:
    def test_a_key_and_where_its_checkpoints_are(self) -> None:
        assert parse_named(map(str, NAMED)) == NAMED

    @pytest.mark.parametrize("text", ["", "x", str(A.key), f"{A.key}=", f"{A.key}=folder"])
    def test_nothing_else(self, text: str) -> None:
        with pytest.raises(UsageError):
            parse_named([text])

    def test_no_mistyped_key(self) -> None:
        text = str(NAMED[1])
        wrong = text.replace(f"+{B.key.id.hex()}+", "+00000000+")
        with pytest.raises(MalformedInput, match="mistyped"):
            parse_named([wrong])

    def test_no_path_that_would_mislead(self) -> None:
        with pytest.raises(UsageError, match="not the path of a folder"):
            parse_named([f"{A.key}=/srv/\x1b[2J"])

    def test_no_crowd(self) -> None:
        crowd = [str(Witness(Witnessing(f"w{i}").key, "/x")) for i in range(MAXIMUM + 1)]
        with pytest.raises(UsageError, match="at most"):
            parse_named(crowd)
