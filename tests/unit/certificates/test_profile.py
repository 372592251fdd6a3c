from dataclasses import replace
from datetime import timedelta

import pytest

from dpki.certificates.profile import END_SESSIONS, PrincipalRule, Profile, Subject
from dpki.errors import InvalidPrincipal, NotAllowed, UsageError
from dpki.model import AuthorityKind

HOUR = timedelta(hours=1)


def test_people_get_a_terminal_and_hosts_get_nothing() -> None:
    assert Profile.user(HOUR).extensions == {"permit-pty"}
    assert Profile.host(HOUR).extensions == frozenset()
    assert Profile.user(HOUR).critical_options == Profile.host(HOUR).critical_options == ()


def test_a_bare_profile_allows_nothing() -> None:
    assert Profile(AuthorityKind.SSH_USER, HOUR).extensions == frozenset()


@pytest.mark.parametrize("validity", [timedelta(0), -HOUR])
def test_validity_must_be_positive(validity: timedelta) -> None:
    with pytest.raises(UsageError, match="positive"):
        Profile.user(validity)


def test_tls_is_refused() -> None:
    with pytest.raises(UsageError, match="tls CA does not sign SSH"):
        Profile(AuthorityKind.TLS, HOUR)


@pytest.mark.parametrize(
    ("kind", "extension"),
    [(AuthorityKind.SSH_USER, "permit-everything"), (AuthorityKind.SSH_HOST, "permit-pty")],
)
def test_unknown_extensions_are_refused(kind: AuthorityKind, extension: str) -> None:
    with pytest.raises(UsageError, match=f"no extension '{extension}'"):
        Profile(kind, HOUR, frozenset({extension}))


@pytest.mark.parametrize(
    "options",
    [
        (("force-command", "uptime"),),
        (("source-address", "192.0.2.0/24,2001:db8::1"), ("verify-required", "")),
    ],
)
def test_known_critical_options(options) -> None:
    assert Profile(AuthorityKind.SSH_USER, HOUR, critical_options=options)


@pytest.mark.parametrize(
    "options",
    [
        (("force-command", ""),),
        (("force-command", "a\nb"),),
        (("force-command", "a"), ("force-command", "b")),
        (("source-address", "example.org"),),
        (("source-address", "192.0.2.1/24"),),
        (("source-address", "192.0.2.0/24,"),),
        (("source-address", "192.0.2.0/255.255.255.0"),),
        (("source-address", "192.0.2.0/0.0.0.255"),),
        (("source-address", "fe80::1%eth0"),),
        (("verify-required", "yes"),),
        (("force-comand", "uptime"),),
    ],
)
def test_senseless_critical_options_are_refused(options) -> None:
    with pytest.raises(UsageError):
        Profile(AuthorityKind.SSH_USER, HOUR, critical_options=options)


def test_hosts_have_no_critical_options() -> None:
    with pytest.raises(UsageError):
        Profile(AuthorityKind.SSH_HOST, HOUR, critical_options=(("force-command", "uptime"),))


def test_subjects_are_checked_when_they_are_made() -> None:
    with pytest.raises(InvalidPrincipal):
        Subject(b"", (), "alice")
    with pytest.raises(InvalidPrincipal):
        Subject(b"", ("alice",), "al ice")


class TestPrincipalRule:
    def test_nothing_by_default(self) -> None:
        assert not PrincipalRule().allows("ops")
        with pytest.raises(NotAllowed, match="'ops'"):
            Profile(AuthorityKind.SSH_USER, HOUR).verify_principals(("ops",))

    def test_denied_goes_before_allowed(self) -> None:
        rule = PrincipalRule(("team-*", "root"), ("*root*",))
        assert rule.allows("team-a")
        assert not rule.allows("team-root")
        assert not rule.allows("root")

    def test_one_that_is_not_allowed_spoils_all(self) -> None:
        profile = Profile(AuthorityKind.SSH_USER, HOUR, principals=PrincipalRule(("ops",)))
        profile.verify_principals(("ops",))
        with pytest.raises(NotAllowed, match="'root'"):
            profile.verify_principals(("ops", "root"))

    @pytest.mark.parametrize("pattern", ["", "a b", "a,b", "a?", "a\n", "*" * 129])
    def test_impossible_patterns_are_refused(self, pattern: str) -> None:
        for rule in ({"allow": (pattern,)}, {"deny": (pattern,)}):
            with pytest.raises(InvalidPrincipal):
                PrincipalRule(**rule)

    def test_patterns_given_twice_are_refused(self) -> None:
        with pytest.raises(InvalidPrincipal, match="twice"):
            PrincipalRule(("a", "a"))


class TestKeyTypes:
    def test_only_those_named(self) -> None:
        profile = Profile(AuthorityKind.SSH_USER, HOUR, key_types=frozenset({"ssh-ed25519"}))
        profile.verify_key_type("ssh-ed25519")
        with pytest.raises(NotAllowed, match="does not allow ssh-rsa keys"):
            profile.verify_key_type("ssh-rsa")

    def test_verification_is_for_keys_that_can(self) -> None:
        options = (("verify-required", ""),)
        profile = Profile(AuthorityKind.SSH_USER, HOUR, critical_options=options)
        profile.verify_key_type("sk-ssh-ed25519@openssh.com")
        with pytest.raises(NotAllowed, match="can't obey it"):
            profile.verify_key_type("ssh-ed25519")

    def test_unknown_ones_are_refused(self) -> None:
        with pytest.raises(UsageError, match="not a type of SSH key"):
            Profile(AuthorityKind.SSH_USER, HOUR, key_types=frozenset({"ssh-dss"}))


class TestNarrowing:
    """What one certificate gets of a profile: never more."""

    def test_only_what_the_profile_has(self) -> None:
        wide = replace(
            Profile.user(HOUR), extensions=frozenset({"permit-pty", "permit-port-forwarding"})
        )
        assert wide.narrowed(frozenset({"permit-pty", "permit-user-rc"})).extensions == {
            "permit-pty"
        }
        assert wide.narrowed(frozenset()).extensions == frozenset()

    def test_what_takes_rights_away_needs_none(self) -> None:
        narrow = Profile.user(HOUR).narrowed(frozenset({"permit-pty", END_SESSIONS}))
        assert narrow.extensions == {"permit-pty", END_SESSIONS}

    def test_hosts_have_no_sessions(self) -> None:
        with pytest.raises(UsageError, match=f"no extension '{END_SESSIONS}'"):
            Profile(AuthorityKind.SSH_HOST, HOUR, frozenset({END_SESSIONS}))


class TestReason:
    def test_optional(self) -> None:
        Profile.user(HOUR).verify_reason("")
        Profile.user(HOUR).verify_reason("TICKET-17")

    def test_required(self) -> None:
        profile = Profile(AuthorityKind.SSH_USER, HOUR, reason_required=True)
        profile.verify_reason("TICKET-17")
        with pytest.raises(NotAllowed, match="requires a reason"):
            profile.verify_reason("")

    def test_without_a_place(self) -> None:
        profile = Profile(AuthorityKind.SSH_USER, HOUR, key_id=("serial", "person"))
        profile.verify_reason("")
        with pytest.raises(UsageError, match="hold no reason"):
            profile.verify_reason("TICKET-17")
        with pytest.raises(UsageError, match="reason is required, but"):
            Profile(AuthorityKind.SSH_USER, HOUR, key_id=("serial", "person"), reason_required=True)
