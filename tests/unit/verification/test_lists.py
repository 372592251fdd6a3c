"""What SSH clients and servers are given: trusted CAs, and what is revoked."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from dpki.certificates.krl import parse_krl
from dpki.chain.snapshot import Snapshot
from dpki.errors import UsageError
from dpki.model import AuthorityKind, AuthorityState
from dpki.verification.known_hosts import known_hosts_lines
from dpki.verification.revocations import authority_key, authority_line, revocation_list
from tests.world import Ca, snapshot


def with_key(ca: Ca, spki: bytes) -> Snapshot:
    """Return a snapshot in which the CA's registered key is something else."""
    found = snapshot(ca)
    authority = replace(found.authorities[ca.id], public_key=spki)
    return replace(found, authorities=MappingProxyType({ca.id: authority}))


class TestKnownHosts:
    def test_only_host_cas_that_are_trusted(self) -> None:
        hosts, retired, users = Ca.hosts(), Ca.hosts(), Ca.users()
        retired.state = AuthorityState.RETIRED
        found = snapshot(hosts, retired, users)
        expected = f"@cert-authority *.example.org {authority_line(hosts.on_chain())}\n"
        assert known_hosts_lines(found, "*.example.org") == expected

    def test_a_key_that_is_none_has_no_line(self) -> None:
        assert known_hosts_lines(with_key(Ca.hosts(), b"no key")) == ""

    @pytest.mark.parametrize("pattern", ["", "a b", "*\n@cert-authority * ssh-rsa", "#x", "|1|x"])
    def test_patterns_that_could_be_more(self, pattern: str) -> None:
        with pytest.raises(UsageError, match="not a host pattern"):
            known_hosts_lines(snapshot(Ca.hosts()), pattern)


class TestRevocationList:
    def test_serials_watermarks_and_whole_keys(self) -> None:
        users, retired = Ca.users(), Ca.hosts()
        users.next_serial, users.revoked = 20, {7}
        retired.state = AuthorityState.RETIRED
        krl = parse_krl(revocation_list(snapshot(users, retired)))
        assert krl.is_revoked(users.blob, 7)
        assert not krl.is_revoked(users.blob, 8)
        assert krl.is_revoked(retired.blob, 1)
        assert krl.keys == {retired.blob}

    def test_what_signs_something_else_is_left_out(self) -> None:
        tls = Ca.users()
        tls.kind, tls.revoked, tls.next_serial = AuthorityKind.TLS, {1}, 2
        assert parse_krl(revocation_list(snapshot(tls))).revoked == ()

    def test_a_key_that_is_none_spoils_nothing(self) -> None:
        found = with_key(Ca.users(), b"no key")
        (authority,) = found.authorities.values()
        assert (authority_key(authority), authority_line(authority)) == (None, None)
        assert parse_krl(revocation_list(found)).revoked == ()
