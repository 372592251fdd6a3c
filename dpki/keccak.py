"""Keccak-256 as Ethereum uses it: the padding of before SHA-3 was standardised.

By pysha3's C code where there is a wheel for it, three to ten times as quick as pycryptodome's:
every node of a proof and every leaf of a batch is hashed.
"""

from __future__ import annotations

from eth_hash.main import Keccak256

try:
    from eth_hash.backends.pysha3 import backend
except ImportError:
    from eth_hash.backends.pycryptodome import backend  # type: ignore[assignment]

keccak = Keccak256(backend)
"""Returns the 32 bytes."""
