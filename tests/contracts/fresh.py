"""The contracts as their sources are now.

ape compiles a file anew when that file changed, but not when one that it imports did: it would go
on deploying a TrustDomain with yesterday's registries inside, and every test would pass on them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any


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
