"""T1 with different people: the HSM's admin and the wallet's operator, and each one's theft."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dpki.bundle.codec import dumps, loads_strict
from dpki.certificates.ssh import parse_ssh_certificate, ssh_line
from dpki.devnet.accounts import development_wallet
from dpki.issuance.handover import HANDOVER_LIMIT, encode_handover, parse_handover
from dpki.transactions.writer import DomainWriter
from tests.roles import OPERATOR, STRANGER, Roles, open_roles, thief, with_wallet, write_profile
from tests.soft_tokens import SoftHsmFolder
from tests.world import Ca


@pytest.fixture
def roles(softhsm: SoftHsmFolder, capsys: pytest.CaptureFixture[str]) -> Iterator[Roles]:
    with open_roles(softhsm, capsys) as made:
        yield made


def anchored(roles: Roles) -> list[tuple[int, str]]:
    found = roles.ok(roles.admin, "ssh", "list")["certificates"]
    assert isinstance(found, list)
    return [(one["serial"], one["state"]) for one in found]


def certificate_in(handover: Path) -> Path:
    """Take the certificate out of a handover, as a thief would."""
    (one,) = parse_handover(handover.read_bytes()).certificates
    path = handover.with_suffix(".stolen")
    path.write_text(ssh_line(parse_ssh_certificate(one.blob), "x") + "\n")
    return path


def test_together_they_issue(roles: Roles) -> None:
    key, file = roles.hand_over()
    assert anchored(roles) == [(1, "unfinished")]
    assert not key.with_name(f"{key.name}-cert.pub").exists()
    rehearsed = roles.ok(roles.operator, "ssh", "anchor", file, "--dry-run")
    assert rehearsed["batches"][0]["dry_run"] is True  # type: ignore[index]
    assert not roles.enters(key, certificate_in(file))
    roles.ok(roles.operator, "ssh", "anchor", file)
    assert anchored(roles) == [(1, "anchored")]
    roles.ok(roles.admin, "ssh", "resume")
    assert roles.enters(key)


def test_a_stolen_hsm_alone(roles: Roles) -> None:
    """The thief has the admin's whole home and the token's PIN, and signs what they like."""
    stolen = thief(roles, roles.admin, "thief")
    key, words = roles.person()
    file = roles.directory / "thief.handover"
    assert roles.run(stolen, *words).status == 2  # no wallet at all
    roles.ok(stolen, *words, "--handover", file)
    assert not roles.enters(key, certificate_in(file))
    with_wallet(stolen, STRANGER)
    refused = roles.run(stolen, "ssh", "anchor", file)
    assert (refused.status, "not the CA's operator" in refused.message) == (4, True)
    assert roles.run(stolen, "ssh", "resume").status == 4
    assert not roles.enters(key, certificate_in(file))


def test_a_stolen_operator_wallet_alone(roles: Roles) -> None:
    """The thief has the operator's whole home, and anchors what they like: no CA signed it."""
    stolen = thief(roles, roles.operator, "thief")
    now = datetime.now(UTC).replace(microsecond=0)
    certificate = Ca.users().sign(1, valid_after=now, valid_before=now + timedelta(hours=1))
    key, _ = roles.person()
    forged = key.with_name(f"{key.name}-cert.pub")
    forged.write_text(ssh_line(certificate, "x") + "\n")
    _, file = roles.hand_over()
    true = parse_handover(file.read_bytes())
    (one,) = true.certificates
    bad = roles.directory / "bad.handover"
    bad.write_bytes(
        encode_handover(replace(true, certificates=(replace(one, blob=certificate.blob),)))
    )
    refused = roles.run(stolen, "ssh", "anchor", bad)
    assert (refused.status, "another key than the CA's" in refused.message) == (3, True)
    # Without dpki's checks, straight into the contract.
    writer = DomainWriter(
        roles.endpoint, roles.domain, development_wallet(OPERATOR, chain_id=31337)
    )
    entries = parse_handover(bad.read_bytes()).entries
    writer.issue(roles.ca, 1, entries)
    assert not roles.enters(key)
    # The admin notices, signs anew, and the honest one gets in.
    out = roles.ok(roles.admin, "ssh", "resume", "--handover", roles.directory)
    again = str(out["handovers"][0])  # type: ignore[index]
    roles.ok(roles.operator, "ssh", "anchor", again)
    roles.ok(roles.admin, "ssh", "resume")
    honest = roles.directory / "person-2"
    assert roles.enters(honest)


def test_neither_is_the_governor(roles: Roles) -> None:
    for who in (with_wallet(thief(roles, roles.admin, "one"), STRANGER), roles.operator):
        refused = roles.run(who, "ca", "register", roles.directory / "users.request")
        assert refused.status in (1, 4), refused.err
        assert roles.run(who, "ca", "retire", str(roles.ca), "--yes").status == 4


def test_several_wait_and_are_anchored_in_order(roles: Roles) -> None:
    (first_key, first), (second_key, second), (_, third) = (roles.hand_over() for _ in range(3))
    early = roles.run(roles.operator, "ssh", "anchor", second)
    assert (early.status, "serials before 2" in early.message) == (2, True)
    roles.ok(roles.operator, "ssh", "anchor", second, first)
    again = roles.ok(roles.operator, "ssh", "anchor", first)
    assert again["batches"][0]["transaction"] is None  # type: ignore[index]
    roles.ok(roles.admin, "ssh", "resume")
    assert anchored(roles) == [(1, "anchored"), (2, "anchored"), (3, "unfinished")]
    assert roles.enters(first_key)
    assert roles.enters(second_key)
    assert third.exists()


def test_withdrawn_and_what_waits_behind_it(roles: Roles) -> None:
    roles.hand_over()
    key, _ = roles.hand_over()
    assert roles.run(roles.admin, "ssh", "withdraw", "--ca", "users", "--serial", "3").status == 2
    out = roles.ok(
        roles.admin,
        "ssh",
        "withdraw",
        "--ca",
        "users",
        "--serial",
        "1",
        "--handover",
        roles.directory,
    )
    file = str(out["handovers"][0])  # type: ignore[index]
    roles.ok(roles.operator, "ssh", "anchor", file)
    roles.ok(roles.admin, "ssh", "resume")
    assert anchored(roles) == [(1, "void"), (2, "void"), (1, "anchored")]
    assert roles.enters(key)


@pytest.mark.parametrize(
    ("principal", "lifetime", "because"),
    [("root", "1h", "does not allow the principal 'root'"), ("ops", "20h", "is allowed")],
)
def test_the_operator_has_a_profile_of_their_own(
    roles: Roles, principal: str, lifetime: str, because: str
) -> None:
    write_profile(roles.operator)
    _, file = roles.hand_over(principal, "--for", lifetime)
    refused = roles.run(roles.operator, "ssh", "anchor", file)
    assert refused.status == 3
    assert because in refused.message
    assert anchored(roles) == [(1, "unfinished")]


def test_what_is_not_as_the_admin_wrote_it(roles: Roles) -> None:
    _, file = roles.hand_over()
    data = file.read_bytes()
    value = loads_strict(data, HANDOVER_LIMIT)
    other = roles.directory / "other.handover"
    domain = str(value["domain"])
    foreign = domain[:-1] + ("0" if domain[-1] != "0" else "1")
    for changed, status in (
        (data[:-1], 3),
        (data + b"\0", 3),
        (bytes(HANDOVER_LIMIT + 1), 1),
        (dumps(value | {"first": 7}), 3),
        (dumps(value | {"domain": foreign}), 3),
        (dumps(value | {"ca": bytes(32)}), 2),
        (dumps(value | {"type": "key document"}), 3),
        (dumps(value | {"certificates": []}), 3),
    ):
        other.write_bytes(changed)
        result = roles.run(roles.operator, "ssh", "anchor", other)
        assert result.status == status, result.err
        assert anchored(roles) == [(1, "unfinished")]
