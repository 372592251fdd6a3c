"""The contracts as their sources are now.

ape compiles a file anew when that file changed, but not when one that it imports did: it would go
on deploying a TrustDomain with yesterday's registries inside, and every test would pass on them.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import solcx
from ape.contracts import ContractContainer
from ethpm_types import ContractType

ROOT = Path(__file__).resolve().parents[2]
_IMPORT = re.compile(r'^import\s[^"]*"([^"]+)";', re.MULTILINE)


def compile_fresh(project: Any) -> None:
    """Compile every contract anew when any source or setting changed since the last time."""
    root = Path(project.path)
    stamp = root / ".build" / "sources.sha256"
    digest = hashlib.sha256((root / "ape-config.yaml").read_bytes())
    for source in sorted((root / "contracts").glob("**/*.sol")):
        if ".cache" not in source.parts:
            digest.update(str(source.relative_to(root)).encode() + source.read_bytes())
    if not stamp.exists() or stamp.read_text() != digest.hexdigest():
        project.load_contracts(use_cache=False)
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(digest.hexdigest())


def compiled(path: str, name: str) -> Any:
    """Compile a contract that is no part of the product; OpenZeppelin's come from its package."""
    sources: dict[str, Any] = {}
    waiting = [Path(path)]
    while waiting:
        unit = waiting.pop()
        if str(unit) in sources:
            continue
        file = ROOT / "node_modules" / unit if str(unit).startswith("@") else ROOT / unit
        text = file.read_text()
        sources[str(unit)] = {"content": text}
        for imported in _IMPORT.findall(text):
            target = (file.parent / imported).resolve()
            relative = imported.startswith(".")
            waiting.append(
                target.relative_to(ROOT / "node_modules") if relative else Path(imported)
            )
    output = solcx.compile_standard(
        {
            "language": "Solidity",
            "sources": sources,
            "settings": {
                "evmVersion": "prague",
                "outputSelection": {path: {name: ["abi", "evm.bytecode.object"]}},
            },
        },
        solc_version="0.8.37",
    )
    contract = output["contracts"][path][name]
    return ContractContainer(
        ContractType(
            contractName=name,
            abi=contract["abi"],
            deploymentBytecode={"bytecode": "0x" + contract["evm"]["bytecode"]["object"]},
        )
    )
