"""`dpki council simulate`, from what is typed to what is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from dpki.cli import council_simulate
from dpki.errors import UsageError

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def _group() -> None:
    pass


council_simulate.register(app)


def run(*arguments: str) -> None:
    app(["simulate", *arguments], standalone_mode=False)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    run(*arguments)
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(told(capsys, *arguments, "--json"))


def test_it_draws_everybody_and_tells_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, "--members", "14:honest", "--members", "6:malicious", "--seed", "1")
    assert text.count("root honest") == 14
    assert text.count("root malicious") == 6
    assert "faulty members alone can pass anything: never" in text
    assert "faulty members' greatest share: 30.0 % (round 1)" in text
    assert "honest members alone, if all come, can not decide: never" in text


def test_the_document_holds_every_weight(capsys: pytest.CaptureFixture[str]) -> None:
    data = document(
        capsys, "--members", "3:honest", "--members", "2:ordinary:absent", "--rounds", "5"
    )
    assert [member["role"] for member in data["members"]] == ["root"] * 3 + ["ordinary"] * 2
    assert {len(member["weights"]) for member in data["members"]} == {6}
    assert len(data["rounds"]) == 5
    # Two of five heads never come: nobody can decide anything.
    assert data["liveness_lost_in"] == 1


def test_constants_can_be_tried(capsys: pytest.CaptureFixture[str]) -> None:
    data = document(
        capsys,
        *("--members", "3:honest", "--members", "1:absent", "--presence", "100", "--rounds", "1"),
        *("--gain", "2", "--against", "9", "--absent", "7", "--seniority", "0"),
        *("--bounds", "root:70:10:80"),
    )
    assert [member["weights"] for member in data["members"]] == [[70, 72]] * 3 + [[70, 63]]


def test_slide_can_be_tried(capsys: pytest.CaptureFixture[str]) -> None:
    groups = ("--members", "7:honest", "--members", "13:malicious")
    slide = document(capsys, *groups, "--rule", "slide", "--faults", "6")
    assert slide["faulty_could_pass_from"] == 1
    assert document(capsys, *groups)["faulty_could_pass_from"] is None


def test_the_svg_is_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "weights.svg"
    told(capsys, "--members", "4:honest", "--rounds", "3", "--svg", str(path))
    assert path.read_text().startswith("<svg ")
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--members", "honest"], "is not COUNT"),
        (["--members", "4:lazy"], "is not COUNT"),
        (["--members", "4:root:honest:x"], "is not COUNT"),
        (["--members", "-4:honest"], "is not COUNT"),
        (["--members", "4:king:honest"], "is no role"),
        (["--members", "4:none:honest"], "is no role"),
        (["--members", "129:honest"], "1 to 128 members"),
        (["--members", "4:honest", "--rule", "majority"], "is no rule"),
        (["--members", "4:honest", "--faults", "1"], "belongs to the Slide rule"),
        (["--members", "4:honest", "--bounds", "root:1:2"], "is not ROLE"),
        (["--members", "4:honest", "--bounds", "root:1:2:3"], "root: 1 <= minimum"),
        (["--members", "4:honest", "--gain", "9"], "against must be"),
        (["--members", "4:honest", "--rounds", "0"], "rounds, not 0"),
    ],
)
def test_what_makes_no_sense_is_refused_and_writes_nothing(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "weights.svg"
    with pytest.raises(UsageError, match=words) as caught:
        run(*arguments, "--svg", str(path))
    assert caught.value.exit_status == 2
    assert not path.exists()
