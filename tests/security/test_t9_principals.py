"""T9: principals are never empty and hold no comma, space, wildcard or control character.

The attack: a certificate that speaks for more names than whoever approved it saw. Names get in
through requests, and out through certificates that a stolen or careless CA signed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.key_id import key_id
from dpki.certificates.keys import ssh_blob
from dpki.certificates.principals import verify_principals
from dpki.certificates.profile import ANYBODY, Profile, Subject
from dpki.certificates.ssh import build_ssh_certificate, parse_ssh_certificate, ssh_line
from dpki.errors import InvalidPrincipal, MalformedInput, UsageError
from dpki.model import Address, AuthorityId, AuthorityKind, DomainId, Hash32
from tests.openssh import describe
from tests.raw_certificates import RawCertificate, options, strings

NOW = datetime(2026, 1, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
SUBJECT_KEY = ssh_blob(Ed25519PrivateKey.generate().public_key())
RAW = RawCertificate()

HOSTILE = {
    "comma": "alice,root",
    "space": "alice root",
    "leading blank": " root",
    "trailing blank": "root ",
    "star": "*",
    "star inside": "web*",
    "question mark": "roo?",
    "negation": "!root",
    "newline": "alice\nroot",
    "trailing newline": "root\n",
    "carriage return": "root\r",
    "tab": "alice\troot",
    "null": "root\0alice",
    "escape": "root\x1b[2J",
    "delete": "root\x7f",
    "quote": 'alice"root',
    "apostrophe": "alice'root",
    "backslash": "alice\\root",
    "comment": "#root",
    "percent token": "%u",
    "shell": "$(reboot)",
    "semicolon": "alice;root",
    "look-alike": "rооt",
    "invisible": "root\u200b",
    "right to left": "\u202etoor",
    "full width": "ｒｏｏｔ",
    "empty": "",
    "too long": "a" * 129,
}


@pytest.fixture(params=HOSTILE.values(), ids=HOSTILE.keys())
def hostile(request: pytest.FixtureRequest) -> str:
    return request.param


class TestHostileNames:
    def test_get_into_no_list_of_principals(self, hostile: str) -> None:
        for names in ([hostile], ["alice", hostile], [hostile, "alice"]):
            with pytest.raises(InvalidPrincipal) as caught:
                verify_principals(names)
            assert caught.value.exit_status == 2
            assert caught.value.message.isprintable(), "the message itself attacks no terminal"

    def test_get_into_no_certificate(self, hostile: str) -> None:
        with pytest.raises(InvalidPrincipal):
            Subject(SUBJECT_KEY, ("alice", hostile), "alice")

    def test_get_into_no_key_id(self, hostile: str) -> None:
        domain = DomainId(1, Address.zero(), Hash32.zero())
        with pytest.raises(InvalidPrincipal):
            key_id(domain, AuthorityId.zero(), 1, hostile)

    def test_come_out_of_no_certificate_whoever_signed_it(self, hostile: str) -> None:
        for names in ([hostile.encode()], [b"alice", hostile.encode()]):
            with pytest.raises(MalformedInput) as caught:
                parse_ssh_certificate(RAW.with_(principals=strings(*names)).blob)
            assert caught.value.message.isprintable()


class TestEmptyLists:
    def test_are_refused_in_requests(self) -> None:
        with pytest.raises(InvalidPrincipal, match="valid for every account"):
            verify_principals([])
        with pytest.raises(InvalidPrincipal):
            Subject(SUBJECT_KEY, (), "alice")

    def test_are_refused_in_certificates(self) -> None:
        with pytest.raises(MalformedInput, match="valid for every account"):
            parse_ssh_certificate(RAW.with_(principals=b"").blob)

    def test_a_text_is_not_taken_for_a_list_of_its_letters(self) -> None:
        with pytest.raises(InvalidPrincipal, match="not one text"):
            verify_principals("root")


class TestRepeatedNames:
    def test_are_refused(self) -> None:
        with pytest.raises(InvalidPrincipal, match="given twice"):
            verify_principals(["alice", "bob", "alice"])
        with pytest.raises(MalformedInput, match="given twice"):
            parse_ssh_certificate(RAW.with_(principals=strings(b"alice", b"alice")).blob)


class TestDenyByDefault:
    """What a certificate allows is named, or it is not in it; OpenSSH is the witness."""

    def extensions(self, profile: Profile, folder: Path) -> list[str]:
        certificate = build_ssh_certificate(
            Ed25519PrivateKey.generate(),
            profile,
            Subject(SUBJECT_KEY, ("alice",), "alice"),
            serial=1,
            key_id="x",
            valid_after=NOW,
            valid_before=NOW + HOUR,
        )
        path = folder / "x-cert.pub"
        path.write_text(ssh_line(certificate) + "\n")
        said = describe(path)
        return said[said.index("Critical Options: (none)") + 1 :]

    def test_a_person_gets_a_terminal_only(self, tmp_path: Path) -> None:
        assert self.extensions(Profile.user(HOUR), tmp_path) == ["Extensions:", "permit-pty"]

    def test_a_host_gets_nothing(self, tmp_path: Path) -> None:
        assert self.extensions(Profile.host(HOUR), tmp_path) == ["Extensions: (none)"]

    def test_a_bare_profile_gives_nothing(self, tmp_path: Path) -> None:
        bare = Profile(AuthorityKind.SSH_USER, HOUR, principals=ANYBODY)
        assert self.extensions(bare, tmp_path) == ["Extensions: (none)"]

    @pytest.mark.parametrize("name", ["permit-anything", "permit-pty,permit-X11-forwarding", ""])
    def test_an_unknown_extension_can_t_be_asked_for(self, name: str) -> None:
        with pytest.raises(UsageError):
            Profile(AuthorityKind.SSH_USER, HOUR, frozenset({name}))

    def test_an_unknown_restriction_makes_a_certificate_worthless(self) -> None:
        """Who does not understand a restriction must not ignore it (PROTOCOL.certkeys)."""
        raw = RAW.with_(critical_options=options((b"only-on-mondays", b"yes")))
        with pytest.raises(MalformedInput, match="unknown critical option"):
            parse_ssh_certificate(raw.blob)


class TestNoEnd:
    def test_nobody_is_certified_for_ever(self) -> None:
        with pytest.raises(MalformedInput, match="never expires"):
            parse_ssh_certificate(RAW.with_(valid_before=2**64 - 1).blob)


def test_the_certificate_that_these_are_variations_of_is_good() -> None:
    assert parse_ssh_certificate(RAW.blob).principals == ("alice",)
