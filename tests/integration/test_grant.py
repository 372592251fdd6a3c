"""`dpki ssh grant` on real services: from a public key to what a stranger verifies."""

from __future__ import annotations

from dpki.certificates.ssh import parse_ssh_certificate
from dpki.verification.verdict import Verdict
from tests.issuing_world import World, ok


def test_granted_verified_and_taken_back(world: World) -> None:
    key = world.public_key("eve")
    words = ("ssh", "grant", "--device", "gate-1", "--account", "ops", "--key", str(key))
    before = world.states("users")
    rehearsed = ok(world.dpki(*words, "--dry-run", *world.admin.option))
    (planned,) = rehearsed["certificates"]  # type: ignore[misc]
    assert world.states("users") == before

    document = ok(world.dpki(*words, "--end-sessions", *world.admin.option))
    file = world.directory / "eve-gate-1-ops-cert.pub"
    assert document["certificate"] == str(file)
    assert document["principals"] == planned["principals"]
    assert f"CertificateFile={file}" in str(document["login"])
    certificate = parse_ssh_certificate(file.read_bytes())
    assert certificate.principals == (f"ops@device:{str(document['device']).lower()}",)
    assert [name for name, _ in certificate.extensions] == ["end-sessions@dpki", "permit-pty"]
    assert world.verdict(file) is Verdict.VALID

    elsewhere = ("--out", str(world.directory / "again-cert.pub"), *world.admin.option)
    by_address = ("ssh", "grant", "--device", str(document["device"]), *words[4:])
    again = ok(world.dpki(*by_address, "--for", "1h", "--ca", "users", *elsewhere))
    assert again["principals"] == document["principals"]

    revoke = str(document["revoke"]).split()[1:]
    ok(world.dpki(*revoke, *world.admin.option))
    assert world.verdict(file) is Verdict.REVOKED


def test_a_host_ca_grants_nothing(world: World) -> None:
    words = ("ssh", "grant", "--device", "gate-1", "--account", "ops", "--ca", "hosts")
    result = world.dpki(*words, "--key", str(world.public_key("eve")), *world.admin.option)
    assert result.status == 2
    assert "not people's" in str(result.document["error"])
