from dataclasses import dataclass, field

import pytest

from dpki.errors import UsageError
from dpki.issuance.selection import parse_labels, parse_selection


@dataclass(frozen=True)
class Named:
    name: str
    labels: dict[str, str] = field(default_factory=dict)


GATES = [
    Named("gate-1", {"fleet": "gates", "site": "hh"}),
    Named("gate-2", {"fleet": "gates", "site": "b"}),
    Named("gate-10", {"site": "hh"}),
    Named("pump-1"),
]


@pytest.mark.parametrize(
    ("names", "fleet", "labels", "expected"),
    [
        ((), None, (), ["gate-1", "gate-2", "gate-10", "pump-1"]),
        (["gate-1"], None, (), ["gate-1"]),
        (["gate-?"], None, (), ["gate-1", "gate-2"]),
        (["gate-*", "pump-1"], None, (), ["gate-1", "gate-2", "gate-10", "pump-1"]),
        (["pump-1", "gate-1", "gate-[1]"], None, (), ["gate-1", "pump-1"]),
        ((), "gates", (), ["gate-1", "gate-2"]),
        ((), None, ["site=hh"], ["gate-1", "gate-10"]),
        ((), "gates", ["site=hh"], ["gate-1"]),
        (["gate-*"], None, ["site=b"], ["gate-2"]),
    ],
)
def test_picks(names: list[str], fleet: str | None, labels: list[str], expected: list[str]) -> None:
    found = parse_selection(names, fleet, labels).pick(GATES)
    assert [device.name for device in found] == expected


@pytest.mark.parametrize(
    ("names", "labels", "message"),
    [
        (["gate-3"], [], "no device is named 'gate-3'"),
        (["gate-1", "gate-3"], [], "no device is named 'gate-3'"),
        (["door-*"], [], "no device fits the pattern 'door-*'"),
        (["Gate-1"], [], "no device is named 'Gate-1'"),
        ([], ["site=ulm"], "no device is meant by site=ulm"),
        (["pump-1"], ["site=hh"], "no device is meant by pump-1, site=hh"),
    ],
)
def test_doing_less_than_was_meant_is_an_error(
    names: list[str], labels: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message.replace("*", r"\*")):
        parse_selection(names, None, labels).pick(GATES)


def test_of_no_devices_even_all_are_none() -> None:
    with pytest.raises(UsageError, match="every device"):
        parse_selection().pick([])


@pytest.mark.parametrize(
    ("names", "fleet", "one"),
    [
        (["gate-1"], None, "gate-1"),
        (["gate-1", "gate-1"], None, "gate-1"),
        (["gate-1", "gate-2"], None, None),
        (["gate-*"], None, None),
        (["gate-[1]"], None, None),
        (["gate-1"], "gates", None),
        ([], None, None),
    ],
)
def test_one_device_by_its_name(names: list[str], fleet: str | None, one: str | None) -> None:
    assert parse_selection(names, fleet).one == one


@pytest.mark.parametrize(
    "text",
    [
        "site",
        "=hh",
        "site=",
        "Site=hh",
        "9=x",
        "a b=c",
        "site=a b",
        "site=-a",
        "site=a=b",
        "site=" + "x" * 65,
        "k" * 33 + "=x",
        "site=\n",
        "sité=x",
        "site=ü",
    ],
)
def test_what_can_be_no_label(text: str) -> None:
    with pytest.raises(UsageError):
        parse_labels([text])


@pytest.mark.parametrize(
    ("texts", "fleet"), [(["a=1", "a=2"], None), (["a=1", "a=1"], None), (["fleet=x"], "y")]
)
def test_a_label_twice(texts: list[str], fleet: str | None) -> None:
    with pytest.raises(UsageError, match="twice"):
        parse_labels(texts, fleet)


def test_a_fleet_is_a_label() -> None:
    assert parse_labels(["site=hh"], "gates") == {"fleet": "gates", "site": "hh"}
    assert parse_labels(["fleet=gates", "site=hh"]) == parse_labels(["site=hh"], "gates")
