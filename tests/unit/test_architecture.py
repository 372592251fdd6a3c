"""The floor plan, enforced: imports point down, and a device never carries what an admin needs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "dpki"
MODULES = sorted(path for path in SOURCE.rglob("*.py"))

# Top floor first. Modules on one floor may import each other only within their package.
FLOORS = [
    ["cli"],
    ["doctor"],
    ["devnet"],
    ["agent"],
    ["watchdog"],
    ["issuance", "remote"],
    ["audit"],
    ["council"],
    ["witness"],
    ["verification"],
    ["transactions"],
    ["chain"],
    ["devices"],
    ["config"],
    ["store", "transport"],
    ["bundle"],
    ["signer"],
    ["certificates"],
    ["note", "secp256k1", "typed_data"],
    ["model"],
    ["locks"],
    ["sqlite"],
    ["files", "http", "strict_ssh"],
    ["explanations"],
    ["errors", "keccak"],
]
LEVEL = {name: len(FLOORS) - index for index, names in enumerate(FLOORS) for name in names}

ADMIN_ONLY = {
    *("web3", "eth_account", "eth_abi", "eth_keys", "eth_utils", "pydantic"),
    *("pkcs11", "ipfshttpclient", "solcx"),
}
# What may import them, and nothing else may, function-level imports included.
ADMIN_PLACES = {
    "web3": ("transactions",),
    "eth_account": ("transactions", "devnet"),
    "eth_abi": ("transactions", "council"),
    "eth_keys": ("transactions",),
    "eth_utils": ("transactions",),
    "pydantic": (),
    "pkcs11": ("signer",),
    "ipfshttpclient": ("store",),
    "solcx": (),
}
# What a device runs, and what everybody who verifies runs.
PLAIN = [
    *("agent", "verification", "chain", "devices", "bundle", "config", "certificates", "store"),
    "transport",
]
PLAIN_EXCEPT = {"dpki.store.kubo"}
# The council's arithmetic, which anyone recomputes: no clock, no chain, no file.
COUNCIL_PURE = {"history", "parameters", "plot", "recompute", "simulate", "threshold", "weights"}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


NAMES = {name_of(path) for path in MODULES}


@cache
def imports_of(path: Path) -> tuple[tuple[str, int], ...]:
    """Every import anywhere in the module, inside functions and under TYPE_CHECKING too."""
    return tuple(_imports_of(path))


def _imports_of(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner if inner in NAMES else node.module), node.lineno


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path: Path) -> None:
    own = floor_of(name_of(path))
    wrong = []
    for imported, line in imports_of(path):
        if not imported.startswith("dpki.") or imported.startswith("dpki.artifacts"):
            continue
        floor = floor_of(imported)
        if floor != own and not LEVEL[floor] < LEVEL[own]:
            wrong.append(f"line {line}: {own} may not import {imported}")
    assert not wrong


def test_imports_run_in_no_circle() -> None:
    # Not even where a function imports: what needs each other is one thing, or three.
    needs = {name_of(path): {name for name, _ in imports_of(path)} for path in MODULES}
    for name, needed in needs.items():
        needed.discard(name)
    TopologicalSorter(needs).prepare()


@pytest.mark.parametrize("name", sorted(COUNCIL_PURE))
def test_the_councils_arithmetic_needs_nothing(name: str) -> None:
    allowed = {f"dpki.council.{other}" for other in COUNCIL_PURE} | {"dpki.errors", "dpki.model"}
    needed = {imported for imported, _ in imports_of(SOURCE / "council" / f"{name}.py")}
    foreign = {
        name for name in needed - allowed if name.split(".")[0] not in sys.stdlib_module_names
    }
    assert not foreign


def test_every_module_stands_on_a_floor() -> None:
    places = {floor_of(name_of(path)) for path in MODULES} - {"", "artifacts", "__main__"}
    assert places <= LEVEL.keys()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_admin_libraries_stay_in_their_places(path: Path) -> None:
    own = floor_of(name_of(path))
    for imported, line in imports_of(path):
        library = imported.split(".")[0]
        if library in ADMIN_ONLY:
            assert own in ADMIN_PLACES[library], f"line {line}: {imported} in {own}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.name == "__init__.py"], ids=name_of
)
def test_packages_import_nothing(path: Path) -> None:
    # Whoever imports one module would otherwise load all that the others need.
    assert imports_of(path) == ()


def test_there_are_no_drawers_for_everything() -> None:
    drawers = {"util", "utils", "helper", "helpers", "misc", "common", "manager"}
    assert not {path.stem for path in MODULES} & drawers


def test_what_a_device_runs_never_loads_what_an_admin_needs() -> None:
    modules = [name_of(path) for path in MODULES if floor_of(name_of(path)) in PLAIN]
    assert {floor_of(name) for name in modules} == set(PLAIN)
    loaded = loaded_by([name for name in modules if name not in PLAIN_EXCEPT]) & ADMIN_ONLY
    assert not loaded


def test_the_check_above_would_notice() -> None:
    assert "ipfshttpclient" in loaded_by(["dpki.store.kubo"])


def test_the_command_line_starts_without_them() -> None:
    # What needs them is imported inside commands; these two a device has, too.
    modules = [f"dpki.cli.{module}" for module in ("app", "agent", "verify", "verify_work")]
    loaded = loaded_by(modules) & ADMIN_ONLY
    assert not loaded


def loaded_by(modules: list[str]) -> set[str]:
    """Return the top-level packages that a fresh interpreter loads with these modules."""
    program = (
        "import importlib, json, sys\n"
        "for name in json.loads(sys.argv[1]): importlib.import_module(name)\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(modules)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return set(json.loads(done.stdout))
