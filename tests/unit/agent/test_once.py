"""Who is at work on a device begins with what a killed one left."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpki.agent.once import at_work
from dpki.config.device import Access, DeviceConfig
from dpki.errors import DpkiError
from tests.world import DOMAIN

CONFIG = DeviceConfig(domain=DOMAIN.id, rpc=("unused",), access=Access(console_access=True))


def test_what_a_killed_agent_was_writing_is_gone(tmp_path: Path) -> None:
    (tmp_path / "bundles").mkdir()
    names = ("seen.cbor", "acknowledgement.cbor", "report.json", "bundles/0x1")
    left = [tmp_path / Path(n).with_name(f".{Path(n).name}.0123456789ab.tmp") for n in names]
    # A command that runs beside the agent is writing that one.
    others = tmp_path / ".enroll.request.0123456789ab.tmp"
    for path in (*left, others):
        path.write_bytes(b"half")
    with at_work(tmp_path, CONFIG, "dpki agent once"):
        assert not any(path.exists() for path in left)
        with pytest.raises(DpkiError), at_work(tmp_path, CONFIG, "dpki agent run"):
            pass
    assert others.exists()
