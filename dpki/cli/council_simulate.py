"""`dpki council simulate`: what constants do, before anybody has to live with them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpki.cli.options import JsonOption, example
from dpki.cli.output import Output
from dpki.errors import UsageError

if TYPE_CHECKING:
    from dpki.council.parameters import Bounds, Role
    from dpki.council.simulate import Behaviour, Story
    from dpki.council.threshold import Rule


def register(app: typer.Typer) -> None:
    """Add the command to the `dpki council` group."""
    app.command(
        "simulate",
        epilog=example(
            "dpki council simulate --members 14:honest --members 6:malicious",
            "dpki council simulate --members 7:root:honest --members 3:ordinary:absent"
            " --against 10 --svg weights.svg",
        ),
    )(simulate)


def simulate(
    members: Annotated[
        list[str],
        typer.Option(
            "--members",
            metavar="COUNT:[ROLE:]BEHAVIOUR",
            help="Members alike; may be repeated. Role: root (default), intermediate, ordinary."
            " Behaviour: honest, absent, malicious, flip-flopping, colluding.",
        ),
    ],
    rounds: Annotated[int, typer.Option("--rounds", help="Decisions, one an epoch.")] = 100,
    seed: Annotated[int, typer.Option("--seed", help="The same seed, the same story.")] = 1,
    presence: Annotated[
        int, typer.Option("--presence", help="Of 100 rounds, how many an honest member comes to.")
    ] = 95,
    turn: Annotated[
        int, typer.Option("--turn", help="Rounds after which flip-flopping members change sides.")
    ] = 10,
    rule: Annotated[
        str,
        typer.Option(
            "--rule",
            metavar="more-than-two-thirds|slide",
            help="How much has to agree; read docs/council.md before slide.",
        ),
    ] = "more-than-two-thirds",
    faults: Annotated[
        int, typer.Option("--faults", help="Slide: how many faulty members it tolerates.")
    ] = 0,
    gain: Annotated[
        int | None, typer.Option("--gain", help="Weight won by a vote with the outcome.")
    ] = None,
    against: Annotated[
        int | None, typer.Option("--against", help="Weight lost by a vote against the outcome.")
    ] = None,
    absent: Annotated[
        int | None, typer.Option("--absent", help="Weight lost by not voting.")
    ] = None,
    seniority: Annotated[
        int | None, typer.Option("--seniority", help="Weight won besides, by senior members.")
    ] = None,
    bounds: Annotated[
        list[str] | None,
        typer.Option(
            "--bounds",
            metavar="ROLE:INITIAL:MINIMUM:MAXIMUM",
            help="A role's weights, such as root:100:50:150; may be repeated.",
        ),
    ] = None,
    svg: Annotated[
        Path | None, typer.Option("--svg", help="Draw the weights into this file, too.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Play a council through and draw its weights.

    Touches no chain. Prints every member's weight over time, which good and bad proposals passed,
    and what the faulty members could have done.
    """
    from dpki.council.parameters import DEFAULTS
    from dpki.council.plot import chart_of_story, draw, draw_safety, draw_svg
    from dpki.council.simulate import Setup, crowd
    from dpki.council.simulate import simulate as play
    from dpki.files import PUBLIC, write_atomic

    output = Output(json=json)
    steps = {"gain": gain, "against": against, "absent": absent, "seniority": seniority}
    changed: dict[str, Any] = {name: step for name, step in steps.items() if step is not None}
    changed |= dict(_bounds(text) for text in bounds or [])
    parameters = replace(DEFAULTS, rule=_rule(rule), faults=faults, **changed)
    people = crowd([_group(text) for text in members])
    with output.working("playing it through"):
        story = play(Setup(people, rounds, parameters, seed, presence, turn))
        chart = chart_of_story(story)
        width = shutil.get_terminal_size((100, 24)).columns
        drawn = [draw(chart, width), "", draw_safety(story, width), "", *summary(story)]
    if svg is not None:
        write_atomic(svg, draw_svg(chart).encode(), mode=PUBLIC)
    output.result(describe_story(story), "\n".join(drawn))


def summary(story: Story) -> Sequence[str]:
    """Return what a simulation came to, in sentences."""
    peak = story.hostile_peak
    share = 1000 * peak.hostile // peak.everybody
    number = story.rounds.index(peak) + 1
    return [
        f"good proposals: {_tally(story, good=True)}",
        f"bad proposals:  {_tally(story, good=False)}",
        f"faulty members' greatest share: {share // 10}.{share % 10} % (round {number})",
        f"faulty members alone can pass anything: {_from(story.first('could_pass'))}",
        f"faulty members alone can suspend a CA: {_from(story.first('could_suspend'))}",
        f"faulty members alone can lift a suspension: {_from(story.first('could_lift'))}",
        f"nothing passes without a faulty member: {_blocking(story)}",
        f"honest members alone, if all come, can not decide: {_from(story.liveness_lost)}",
    ]


def describe_story(story: Story) -> dict[str, object]:
    """Return what a simulation came to, as plain data."""
    peak = story.hostile_peak
    return {
        "members": [
            {
                "seat": seat,
                "role": person.role.name.lower(),
                "behaviour": person.behaviour.value,
                "weights": list(story.series(seat)),
            }
            for seat, person in enumerate(story.setup.people)
        ],
        "rounds": [
            {
                "proposer": r.proposer,
                "good": r.good if r.outcome else None,
                "outcome": r.outcome.value if r.outcome else None,
                "faulty_weight": r.hostile,
                "total_weight": r.everybody,
            }
            for r in story.rounds
        ],
        "good_executed": story.passed(good=True),
        "bad_executed": story.passed(good=False),
        "greatest_faulty_share": {"weight": peak.hostile, "of": peak.everybody},
        "faulty_could_pass_from": story.first("could_pass"),
        "faulty_could_suspend_from": story.first("could_suspend"),
        "faulty_could_lift_from": story.first("could_lift"),
        "blocking_from": story.first("could_block"),
        "blocking_lost_from": story.blocking_lost,
        "liveness_lost_in": story.liveness_lost,
    }


def _tally(story: Story, *, good: bool) -> str:
    counts = (story.passed(good=good), story.rejected(good=good), story.expired(good=good))
    return ", ".join(
        f"{count} {word}"
        for count, word in zip(counts, ("executed", "rejected", "expired"), strict=True)
    )


def _from(number: int | None) -> str:
    return "never" if number is None else f"first in round {number}"


def _blocking(story: Story) -> str:
    first, lost = story.first("could_block"), story.blocking_lost
    if first is None:
        return "never"
    ending = "still at the end" if lost is None else f"no more from round {lost} on"
    return f"{_from(first)}, {ending}"


def _rule(text: str) -> Rule:
    from dpki.council.threshold import Rule

    rules = {"more-than-two-thirds": Rule.MORE_THAN_TWO_THIRDS, "slide": Rule.SLIDE}
    if text not in rules:
        raise UsageError(f"{text!r} is no rule", hint="one of: " + ", ".join(rules))
    return rules[text]


def _role(text: str) -> Role:
    from dpki.council.parameters import Role

    roles = {role.name.lower(): role for role in Role if role is not Role.NONE}
    if text not in roles:
        raise UsageError(f"{text!r} is no role", hint="one of: " + ", ".join(roles))
    return roles[text]


def _group(text: str) -> tuple[int, Role, Behaviour]:
    from dpki.council.simulate import Behaviour

    count, *role, name = text.split(":") if ":" in text else ["", text]
    behaviours = {behaviour.value: behaviour for behaviour in Behaviour}
    if not (count.isdecimal() and len(count) <= 3 and len(role) <= 1 and name in behaviours):
        raise UsageError(
            f"--members {text!r} is not COUNT:[ROLE:]BEHAVIOUR",
            hint="such as 14:honest or 3:ordinary:absent; behaviours: " + ", ".join(behaviours),
        )
    return int(count), _role(role[0] if role else "root"), behaviours[name]


def _bounds(text: str) -> tuple[str, Bounds]:
    from dpki.council.parameters import Bounds

    name, *weights = text.split(":")
    if len(weights) != 3 or not all(w.isdecimal() and len(w) <= 5 for w in weights):
        raise UsageError(
            f"--bounds {text!r} is not ROLE:INITIAL:MINIMUM:MAXIMUM",
            hint="such as root:100:50:150",
        )
    initial, minimum, maximum = map(int, weights)
    return _role(name).name.lower(), Bounds(initial, minimum, maximum)
