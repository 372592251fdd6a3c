"""Everybody's weight over time, drawn in characters or as SVG."""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from xml.sax.saxutils import escape

from dpki.council.parameters import DAY
from dpki.council.recompute import Recomputed
from dpki.council.simulate import Person, Story

BLOCKS = "▁▂▃▄▅▆▇█"
NARROWEST, WIDEST = 10, 400


POWERS = (
    ("suspend a CA", "could_suspend"),
    ("block decisions", "could_block"),
    ("lift a suspension", "could_lift"),
    ("pass anything", "could_pass"),
)
"""What faulty members may come to be able to do, and a simulated round's field for it."""


@dataclass(frozen=True)
class Series:
    """One member's weight: from each point's time on it was that.

    Args:
        points: Time and weight, at least one, times rising. A weight of zero is no member.
    """

    name: str
    points: tuple[tuple[int, int], ...]

    def at(self, time: int) -> int:
        """Return the weight at a time; zero before the first point."""
        found = bisect.bisect_right(self.points, time, key=lambda point: point[0])
        return self.points[found - 1][1] if found else 0

    @property
    def last(self) -> int:
        """Return the weight that stands."""
        return self.points[-1][1]


@dataclass(frozen=True)
class Chart:
    """Weights over time.

    Args:
        series: At least one, in the order in which they are drawn.
        span: How long it is from `since` to `until`, in words.
    """

    title: str
    span: str
    series: tuple[Series, ...]
    since: int
    until: int

    @property
    def top(self) -> int:
        """Return the greatest weight anywhere."""
        return max(weight for series in self.series for _, weight in series.points)


def chart_of_story(story: Story) -> Chart:
    """Return the chart of a simulation: a line for each member, time in rounds."""
    series = tuple(
        Series(f"{seat:>3} {describe_person(person)}", tuple(enumerate(story.series(seat))))
        for seat, person in enumerate(story.setup.people)
    )
    rounds = len(story.rounds)
    return Chart(f"weights over {rounds} rounds", f"{rounds} rounds", series, 0, rounds)


def chart_of_history(recomputed: Recomputed, until: int) -> Chart | None:
    """Return the chart of a council's recomputed weights, removed members included.

    Args:
        until: The time up to which it is drawn, such as the newest block's, in seconds.

    Returns:
        None for a council that has no table yet.
    """
    if not recomputed.moments:
        return None
    accounts = dict.fromkeys(account for moment in recomputed.moments for account in moment.weights)
    series = tuple(
        Series(
            str(account),
            tuple((moment.time, moment.weights.get(account, 0)) for moment in recomputed.moments),
        )
        for account in accounts
    )
    since = recomputed.moments[0].time
    end = max(until, since)
    span = f"{(end - since) / DAY:.1f} days"
    tables = len(recomputed.moments)
    return Chart(f"weights over {span}, {tables} tables", span, series, since, end)


def describe_person(person: Person) -> str:
    """Return a simulated member in words."""
    return f"{person.role.name.lower()} {person.behaviour.value}"


def draw(chart: Chart, width: int = 100) -> str:
    """Return the chart in characters: a line for each member, all to one scale.

    Args:
        width: Columns that the whole may take; too few are taken as the fewest that show anything.
    """
    names = max(len(series.name) for series in chart.series)
    weights = max(len(str(chart.top)), len("now"))
    room = min(max(width - names - 2 * weights - 4, NARROWEST), WIDEST)
    lines = [chart.title]
    for series in chart.series:
        first = next((weight for _, weight in series.points if weight), 0)
        bars = "".join(
            _block(series.at(_time(chart, column, room)), chart.top) for column in range(room)
        )
        lines.append(f"{series.name:<{names}}  {first:>{weights}} {bars} {series.last:>{weights}}")
    lines.append(f"full height is {chart.top}")
    return "\n".join(lines)


def draw_safety(story: Story, width: int = 100) -> str:
    """Return what the faulty members of a simulation could have done, round by round.

    Args:
        width: As in `draw`.
    """
    names = max(len(name) for name, _ in POWERS)
    room = min(max(width - names - 2, NARROWEST), WIDEST)
    seen = [story.rounds[(len(story.rounds) - 1) * column // (room - 1)] for column in range(room)]
    lines = ["the faulty members' share of the weight, and what it lets them do"]
    shares = "".join(_block(100 * one.hostile // one.everybody, 100) for one in seen)
    lines.append(f"{'share (of all)':<{names}}  {shares}")
    for name, field in POWERS:
        marks = "".join("█" if getattr(one, field) else "·" for one in seen)
        lines.append(f"{name:<{names}}  {marks}")
    return "\n".join(lines)


def _time(chart: Chart, column: int, columns: int) -> int:
    """Return the time that a column shows; the last one shows the end."""
    return chart.since + (chart.until - chart.since) * column // max(columns - 1, 1)


def _block(weight: int, top: int) -> str:
    return " " if weight == 0 else BLOCKS[max(weight * len(BLOCKS) - 1, 0) // top]


# -- SVG -------------------------------------------------------------------------------------------

_WIDE, _HIGH, _LEFT, _BELOW, _ROW = 900, 420, 60, 40, 16


def draw_svg(chart: Chart) -> str:
    """Return the chart as an SVG document, one stepped line for each member, with a legend."""
    down = _HIGH + _BELOW
    height = down + _ROW * (len(chart.series) + 2)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDE + 20} {height}"',
        'font-family="sans-serif" font-size="12">',
        f"<title>{escape(chart.title)}</title>",
        '<rect width="100%" height="100%" fill="white"/>',
        *_axes(chart),
    ]
    for number, series in enumerate(chart.series):
        colour = _colour(number, len(chart.series))
        row = down + _ROW * (number + 1)
        parts += [
            f'<polyline fill="none" stroke="{colour}" stroke-width="1.5"',
            f'points="{_steps(chart, series)}"><title>{escape(series.name)}</title></polyline>',
            f'<rect x="{_LEFT}" y="{row - 9}" width="10" height="10" fill="{colour}"/>',
            f'<text x="{_LEFT + 16}" y="{row}">{escape(series.name.strip())}: {series.last}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def _axes(chart: Chart) -> list[str]:
    parts = [f'<text x="{_LEFT}" y="14">{escape(chart.title)}</text>']
    for quarter in range(5):
        weight = chart.top * quarter // 4
        y = _y(chart, weight)
        parts += [
            f'<line x1="{_LEFT}" x2="{_LEFT + _WIDE}" y1="{y}" y2="{y}" stroke="#ddd"/>',
            f'<text x="{_LEFT - 6}" y="{y}" text-anchor="end">{weight}</text>',
        ]
    end = _LEFT + _WIDE
    parts.append(f'<text x="{end}" y="{_HIGH + 16}" text-anchor="end">{escape(chart.span)}</text>')
    return parts


def _steps(chart: Chart, series: Series) -> str:
    places: list[str] = []
    before: int | None = None
    for time, weight in (*series.points, (chart.until, series.last)):
        if weight == before and time != chart.until:
            continue
        x = _x(chart, min(time, chart.until))
        if before is not None:
            places.append(f"{x},{_y(chart, before)}")
        places.append(f"{x},{_y(chart, weight)}")
        before = weight
    return " ".join(places)


def _x(chart: Chart, time: int) -> int:
    return _LEFT + _WIDE * (time - chart.since) // max(chart.until - chart.since, 1)


def _y(chart: Chart, weight: int) -> int:
    return _HIGH - (_HIGH - 30) * weight // max(chart.top, 1)


def _colour(number: int, count: int) -> str:
    return f"hsl({360 * number // count} 65% 42%)"
