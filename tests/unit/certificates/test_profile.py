from datetime import timedelta

import pytest

from dpki.certificates.profile import Profile, Subject
from dpki.errors import InvalidPrincipal, UsageError
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
