"""What an operator and a watchdog look at before they stand up for another's certificates."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from dpki.certificates.profile import END_SESSIONS, Profile, Subject
from dpki.certificates.ssh import build_ssh_certificate, ssh_line
from dpki.errors import BatchRefused
from dpki.model import Entry, Hash32
from dpki.verification.inspection import inspect_batch, verify_entries
from tests.world import NOBODY, NOW, Ca

DAY = timedelta(days=1)
PROFILE = Profile.user(DAY)


def test_in_order() -> None:
    ca = Ca.users()
    certificates = [ca.sign(7), ca.sign(8)]
    found = inspect_batch(ca.on_chain(), 7, [c.blob for c in certificates], PROFILE, NOW)
    assert list(found) == certificates
    entries = [Entry(c.hash, NOBODY, c.valid_before, Hash32.zero()) for c in certificates]
    verify_entries(found, entries)
    with pytest.raises(BatchRefused, match="certificate 7: its hash or end"):
        verify_entries(found, entries[::-1])


def test_expired_where_that_matters() -> None:
    ca = Ca.users()
    blobs = [ca.sign(1).blob]
    later = NOW + DAY
    assert inspect_batch(ca.on_chain(), 1, blobs, PROFILE, None)
    with pytest.raises(BatchRefused, match="certificate 1: it expired at"):
        inspect_batch(ca.on_chain(), 1, blobs, PROFILE, later)


def test_a_line_is_no_blob() -> None:
    ca = Ca.users()
    line = ssh_line(ca.sign(1), "x").encode()
    with pytest.raises(BatchRefused, match="not the binary form"):
        inspect_batch(ca.on_chain(), 1, [line], PROFILE, NOW)


def test_the_shorter_of_the_two_maxima() -> None:
    ca = Ca.users()
    ca.maximum_lifetime = timedelta(hours=1)
    with pytest.raises(BatchRefused, match="1:00:00 is allowed"):
        inspect_batch(ca.on_chain(), 1, [ca.sign(1).blob], PROFILE, NOW)


def test_an_extension_that_was_not_asked_for() -> None:
    ca = Ca.users()
    loose = Profile.user(DAY)
    tight = Profile(loose.kind, DAY, principals=loose.principals)

    certificate = build_ssh_certificate(
        ca.key,
        loose,
        Subject(ca.sign(1).subject_key, ("ops",), "alice"),
        serial=1,
        key_id="x#TICKET-17",
        valid_after=NOW,
        valid_before=NOW + timedelta(hours=1),
    )
    assert inspect_batch(ca.on_chain(), 1, [certificate.blob], loose, NOW)
    with pytest.raises(BatchRefused, match="extension 'permit-pty'"):
        inspect_batch(ca.on_chain(), 1, [certificate.blob], tight, NOW)


def test_what_takes_rights_away_needs_none_of_the_profile() -> None:
    ca = Ca.users()
    certificate = build_ssh_certificate(
        ca.key,
        PROFILE.narrowed(frozenset({END_SESSIONS})),
        Subject(ca.sign(1).subject_key, ("ops",), "alice"),
        serial=1,
        key_id="x",
        valid_after=NOW,
        valid_before=NOW + timedelta(hours=1),
    )
    assert certificate.extensions == ((END_SESSIONS, ""),)
    assert inspect_batch(ca.on_chain(), 1, [certificate.blob], PROFILE, NOW)


def test_every_critical_option_of_the_profile_is_there() -> None:
    ca = Ca.users()
    here = ("source-address", "192.0.2.0/24")
    pinned = replace(PROFILE, critical_options=(here, ("force-command", "uptime")))
    certificate = build_ssh_certificate(
        ca.key,
        pinned,
        Subject(ca.sign(1).subject_key, ("ops",), "alice"),
        serial=1,
        key_id="x",
        valid_after=NOW,
        valid_before=NOW + timedelta(hours=1),
    )
    # One that the profile does not ask for only narrows it.
    for profile in (pinned, replace(PROFILE, critical_options=(here,)), PROFILE):
        assert inspect_batch(ca.on_chain(), 1, [certificate.blob], profile, NOW)
    other = replace(PROFILE, critical_options=(("source-address", "198.51.100.0/24"),))
    with pytest.raises(BatchRefused, match="critical option source-address"):
        inspect_batch(ca.on_chain(), 1, [certificate.blob], other, NOW)
