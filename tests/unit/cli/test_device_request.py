from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from dpki.cli.app import run
from dpki.cli.device_request import qr_code, say_request
from dpki.cli.output import Output
from dpki.devices.document import make_key_document
from dpki.devices.enrollment import EnrollmentRequest, make_enrollment_request
from dpki.devices.keys import generate_device_keys
from dpki.devices.prekeys import PrekeySecret
from dpki.errors import UsageError
from tests.world import DOMAIN


def request(prekeys: int) -> EnrollmentRequest:
    keys = dataclasses.replace(
        generate_device_keys(), prekeys=tuple(PrekeySecret.generate(n + 1) for n in range(prekeys))
    )
    deadline = datetime.now(UTC) + timedelta(hours=1)
    document = make_key_document(keys)
    return make_enrollment_request(keys, DOMAIN.id, DOMAIN.devices, document, deadline)


def test_a_request_without_prekeys_is_one_code() -> None:
    lines = qr_code(request(0)).splitlines()
    # Version 40 has 177 modules a side, and a quiet zone round them; two rows make a line.
    assert len(lines) in range(80, 97)


def test_one_with_prekeys_is_carried_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    many = request(16)
    with pytest.raises(UsageError, match="too long for a QR code"):
        qr_code(many)
    say_request(Output(json=False), many, qr=True)
    said = capsys.readouterr().err
    assert many.fingerprint in said
    assert "--prekeys 0" in said


def test_a_code_that_could_not_be_shown_is_refused_before_anything_is_made() -> None:
    words = ["device", "init", "--dir", "/nowhere", "--domain", str(DOMAIN.id), "--rpc"]
    assert run([*words, "http://127.0.0.1:1", "--console-access", "--qr"]) == 2
