"""Weights, drawn."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

from dpki.council.parameters import DEFAULTS, HOUR, Role
from dpki.council.plot import (
    BLOCKS,
    Chart,
    Series,
    chart_of_history,
    chart_of_story,
    draw,
    draw_safety,
    draw_svg,
)
from dpki.council.recompute import Moment, Recomputed, recompute
from dpki.council.simulate import Behaviour, Setup, crowd, simulate
from dpki.council.threshold import Rule
from dpki.council.weights import freeze
from dpki.model import Address

SVG = "{http://www.w3.org/2000/svg}"


def chart(*series: Series, until: int = 10) -> Chart:
    return Chart("weights", f"{until} rounds", series, 0, until)


def test_a_member_is_a_line_to_the_common_scale() -> None:
    falling = Series("falling", ((0, 80), (5, 10)))
    steady = Series("steady", ((0, 40),))
    lines = draw(chart(falling, steady), width=35).splitlines()
    assert lines[0] == "weights"
    assert lines[1] == "falling   80 " + "█" * 9 + "▁" * 9 + "  10"
    assert lines[2] == "steady    40 " + "▄" * 18 + "  40"
    assert {len(line) for line in lines[1:3]} == {35}
    assert lines[3] == "full height is 80"


def test_nobody_is_drawn_before_they_came_or_after_they_went() -> None:
    visitor = Series("visitor", ((0, 0), (4, 80), (8, 0)))
    line = draw(chart(visitor), width=0).splitlines()[1]
    assert line == "visitor   80     ████     0"


def test_every_weight_has_its_block() -> None:
    scale = Series("scale", tuple((weight, weight) for weight in range(1, 9)))
    line = draw(Chart("t", "rounds", (scale,), 1, 8), width=len("scale") + 4 + 6 + 16).splitlines()[
        1
    ]
    assert line.split()[2][0] == BLOCKS[0]
    assert [block for block in BLOCKS if block in line] == list(BLOCKS)


def test_the_least_member_is_still_visible() -> None:
    lines = draw(chart(Series("great", ((0, 65_535),)), Series("small", ((0, 1),)))).splitlines()
    assert "▁" in lines[2]


def test_a_story_has_a_line_for_each_member() -> None:
    people = crowd([(3, Role.ROOT, Behaviour.HONEST), (1, Role.ORDINARY, Behaviour.FLIP_FLOPPING)])
    drawn = draw(chart_of_story(simulate(Setup(people, 5))))
    lines = drawn.splitlines()
    assert lines[0] == "weights over 5 rounds"
    assert len(lines) == 6
    assert "  3 ordinary flip-flopping" in lines[4]


def test_safety_shows_when_the_faulty_could_do_what() -> None:
    people = crowd([(7, Role.ROOT, Behaviour.HONEST), (13, Role.ROOT, Behaviour.MALICIOUS)])
    slide = replace(DEFAULTS, rule=Rule.SLIDE, faults=6)
    story = simulate(Setup(people, 30, slide))
    lines = draw_safety(story, width=40).splitlines()
    assert len(lines) == 6
    assert lines[1].endswith("▇") or lines[1].endswith("█")
    assert all(line.count("█") == 21 and len(line) == 40 for line in lines[2:])
    safe = draw_safety(simulate(Setup(people[:8], 30)), width=40)
    assert "█" not in safe
    assert safe.count("·") == 4 * 21


def test_safety_of_one_round_can_be_drawn() -> None:
    people = crowd([(4, Role.ROOT, Behaviour.HONEST)])
    assert draw_safety(simulate(Setup(people, 1)), width=0).count("·") == 40


def test_a_history_shows_who_was_removed() -> None:
    here, gone = Address(b"\x01" * 20), Address(b"\x02" * 20)
    moments = (
        Moment(100, 1, {here: 100, gone: 20}, freeze({0: 100, 1: 20}, Rule.SLIDE)),
        Moment(200, 2, {here: 101}, freeze({0: 101}, Rule.SLIDE)),
    )
    drawn = chart_of_history(Recomputed(moments, (), DEFAULTS), until=100 + 36 * HOUR)
    assert drawn is not None
    assert [series.name for series in drawn.series] == [str(here), str(gone)]
    assert drawn.series[1].points == ((100, 20), (200, 0))
    assert (drawn.since, drawn.until) == (100, 100 + 36 * HOUR)
    assert drawn.title == "weights over 1.5 days, 2 tables"


def test_a_council_without_tables_has_no_chart() -> None:
    assert chart_of_history(recompute([]), until=1) is None


def test_the_svg_is_well_formed_and_has_every_member() -> None:
    nasty = Series('<&">', ((0, 5), (3, 5), (6, 7)))
    document = ET.fromstring(draw_svg(chart(nasty, Series("b", ((0, 10),)))))
    lines = document.findall(f"{SVG}polyline")
    assert len(lines) == 2
    assert lines[0].findtext(f"{SVG}title") == '<&">'
    assert len({line.get("stroke") for line in lines}) == 2
    texts = [text.text for text in document.iter(f"{SVG}text")]
    assert '<&">: 7' in texts
    assert "10 rounds" in texts


def test_the_svg_steps_where_a_weight_changed() -> None:
    document = ET.fromstring(draw_svg(chart(Series("a", ((0, 0), (5, 10))))))
    line = document.find(f"{SVG}polyline")
    assert line is not None
    assert line.get("points") == "60,420 510,420 510,30 960,30 960,30"


def test_one_moment_is_enough() -> None:
    single = Chart("t", "seconds", (Series("a", ((7, 3),)),), 7, 7)
    assert "█" in draw(single)
    assert ET.fromstring(draw_svg(single)).find(f"{SVG}polyline") is not None
