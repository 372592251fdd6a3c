"""Making a token where the system lacks something."""

from __future__ import annotations

import pty
from pathlib import Path

import pytest

from dpki.devnet.softhsm import create_softhsm, create_token
from dpki.errors import ServiceFailed


def test_without_pseudo_terminals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a chroot or container without /dev/pts."""

    def none_left() -> tuple[int, int]:
        raise OSError("out of pty devices")

    monkeypatch.setattr(pty, "openpty", none_left)
    hsm = create_softhsm(tmp_path / "hsm")
    with pytest.raises(ServiceFailed, match="no terminal") as caught:
        create_token(hsm, "label", tmp_path / "pin")
    assert "devpts" in caught.value.hint
    assert not (tmp_path / "pin").exists()
