"""What a finding says to programs."""

from __future__ import annotations

import json

import pytest

from dpki.model import AuthorityId
from dpki.verification.verdict import Finding, Verdict
from tests.world import NOW, block


@pytest.mark.parametrize("verdict", Verdict)
def test_exit_status(verdict: Verdict) -> None:
    expected = {Verdict.VALID: 0, Verdict.COULD_NOT_CHECK: 5}.get(verdict, 3)
    assert Finding(verdict, "").exit_status == expected


def test_json_of_everything() -> None:
    ca = AuthorityId(b"\xab" * 32)
    finding = Finding(Verdict.REVOKED, "serial 7 is revoked", ca, 7, block(5))
    assert json.loads(json.dumps(finding.to_json())) == {
        "verdict": "revoked",
        "reason": "serial 7 is revoked",
        "authority": "0x" + "ab" * 32,
        "serial": 7,
        "block": {"number": 5, "hash": str(block(5).hash), "time": NOW.isoformat()},
        "evidence": None,
    }


def test_json_of_what_was_never_looked_up() -> None:
    assert Finding(Verdict.REFUSED, "no certificate").to_json() == {
        "verdict": "refused",
        "reason": "no certificate",
        "authority": None,
        "serial": None,
        "block": None,
        "evidence": None,
    }
