"""Every error of the package and every refusal of its contracts is explained, and nothing else."""

from __future__ import annotations

import importlib
import pkgutil
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

import dpki
from dpki.errors import DpkiError, UsageError
from dpki.explanations import Explanation, explanations, find_explanation, revert_hint
from dpki.transactions.artifacts import CONTRACTS, load_artifact
from dpki.transactions.reverts import _FORBIDDEN, _FOREIGN, decode_revert

TREE = Path(__file__).parents[2]
# What the command line itself tells: a bug, and Ctrl-C.
NO_CLASS = {"Unexpected": 1, "Interrupted": 130}
ERRORS = [e for e in explanations().values() if not e.is_revert]
REVERTS = [e for e in explanations().values() if e.is_revert]


def raised() -> dict[str, type[DpkiError]]:
    """Every class of the tree, wherever in the package it stands."""
    for module in pkgutil.walk_packages(dpki.__path__, "dpki."):
        importlib.import_module(module.name)

    def below(kind: type[DpkiError]) -> Iterator[type[DpkiError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from below(child)

    classes = [kind for kind in below(DpkiError) if kind.__module__.startswith("dpki.")]
    return {kind.__name__: kind for kind in classes if not kind.__name__.startswith("_")}


def refused() -> set[str]:
    """Every typed error that a contract's interface, or what it is built on, can answer."""
    typed = {
        item["name"] for c in CONTRACTS for item in load_artifact(c).abi if item["type"] == "error"
    }
    return typed | {name for name, _ in _FOREIGN}


def test_every_error_is_explained_and_nothing_else() -> None:
    assert {e.name for e in ERRORS} == raised().keys() | NO_CLASS.keys()


def test_no_contract_is_forgotten() -> None:
    shipped = {p.name for p in resources.files("dpki").joinpath("artifacts").iterdir()}
    contracts = {
        name.removesuffix(".json")
        for name in shipped
        if name.endswith(".json") and name != "compiler-input.json"
    }
    assert contracts == set(CONTRACTS)


def test_every_refusal_is_explained_and_nothing_else() -> None:
    assert {e.name for e in REVERTS} == refused()


def test_the_exit_status_is_the_one_that_comes() -> None:
    classes = raised()
    for explanation in ERRORS:
        name = explanation.name
        status = classes[name].exit_status if name in classes else NO_CLASS[name]
        assert explanation.exit_status == status, name


def test_a_refusal_for_want_of_a_role_ends_with_not_allowed() -> None:
    assert {e.name for e in REVERTS if e.exit_status != 1} == {
        *(f"{contract}Unauthorized" for contract in CONTRACTS if contract != "TimelockController"),
        *_FORBIDDEN,
    }
    assert all(e.exit_status in (1, 4) for e in REVERTS)


@pytest.mark.parametrize("explanation", explanations().values(), ids=lambda e: e.name)
def test_each_says_why_and_what_to_do(explanation: Explanation) -> None:
    assert explanation.why[0].isupper()
    assert explanation.why.endswith(".")
    assert len(explanation.next) > 10
    # Contracts' are hints, shown after "next:".
    assert explanation.next.endswith(".") is not explanation.is_revert


def test_no_name_stands_for_two_things() -> None:
    text = resources.files("dpki").joinpath("errors.toml").read_text("utf-8")
    groups = tomllib.loads(text)
    assert not groups["error"].keys() & groups["revert"].keys()
    names = [name.lower() for group in groups.values() for name in group]
    assert len(set(names)) == len(names)


def test_the_page_holds_them_all() -> None:
    page = (TREE / "docs" / "errors.md").read_text()
    for explanation in explanations().values():
        assert explanation.name in page
        assert explanation.why in page
        assert explanation.next in page


def test_it_is_found_however_it_is_typed() -> None:
    assert find_explanation(" endpointUNAVAILABLE ").name == "EndpointUnavailable"


def test_a_misspelled_name_is_corrected() -> None:
    with pytest.raises(UsageError) as caught:
        find_explanation("EndpointUnavailible")
    assert "EndpointUnavailable" in caught.value.hint


def test_a_name_like_no_other_leads_to_the_list() -> None:
    with pytest.raises(UsageError) as caught:
        find_explanation("x" * 1000)
    assert "dpki explain" in caught.value.hint
    assert len(caught.value.message) < 200


def test_a_refusal_takes_its_hint_from_here() -> None:
    error = decode_revert("0x4e487b71" + "11".rjust(64, "0"))
    assert error.name == "Panic"
    assert error.hint == find_explanation("Panic").next
    assert revert_hint("EndpointUnavailable") == ""
    assert revert_hint("Whatever") == ""
