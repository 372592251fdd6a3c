from dataclasses import replace
from datetime import timedelta

import pytest

from dpki.certificates.profile import (
    ANYBODY,
    END_SESSIONS,
    USER_EXTENSIONS,
    PrincipalRule,
    Profile,
)
from dpki.certificates.profile_lint import explain, find_dangers
from dpki.model import AuthorityKind

HOUR = timedelta(hours=1)
OPS = Profile(AuthorityKind.SSH_USER, 8 * HOUR, principals=PrincipalRule(("ops",)))
WEB = Profile(AuthorityKind.SSH_HOST, 24 * HOUR, principals=PrincipalRule(("*.example.org",)))
NOT_ALLOWED = "forward X11, forward their SSH agent, forward ports, run ~/.ssh/rc at login"
FIDO = "sk-ecdsa-sha2-nistp256@openssh.com, sk-ssh-ed25519@openssh.com"


@pytest.mark.parametrize("profile", [OPS, WEB], ids=["users", "hosts"])
def test_what_is_narrow_is_not_dangerous(profile: Profile) -> None:
    assert find_dangers(profile) == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"principals": ANYBODY}, "the pattern * allows any principal"),
        ({"principals": ANYBODY}, "may be root"),
        ({"principals": PrincipalRule(("ops", "root"))}, "may be root"),
        ({"principals": PrincipalRule(("device:*",))}, "every device's own principal"),
        ({"principals": PrincipalRule()}, "nothing can be issued"),
        *(
            ({"extensions": frozenset({name})}, name)
            for name in sorted(USER_EXTENSIONS - {"permit-pty"})
        ),
        ({"critical_options": (("source-address", "192.0.2.0/24,0.0.0.0/0"),)}, "every address"),
        ({"critical_options": (("source-address", "::/0"),)}, "every address"),
        ({"critical_options": (("force-command", "$SSH_ORIGINAL_COMMAND"),)}, "forces little"),
        (
            {
                "critical_options": (("force-command", "uptime"),),
                "extensions": frozenset({"permit-port-forwarding"}),
            },
            "does not keep the holder from forwarding",
        ),
        ({"maximum_validity": 25 * HOUR}, "stolen key"),
        ({"key_id": ("serial", "person")}, "which domain"),
        ({"key_id": ("domain", "serial", "person")}, "which ca"),
    ],
)
def test_dangers_of_user_profiles(changes: dict[str, object], reason: str) -> None:
    profile = replace(OPS, **changes)  # type: ignore[arg-type]
    assert any(reason in danger for danger in find_dangers(profile)), find_dangers(profile)


@pytest.mark.parametrize("pattern", ["*", "*.org", "gate-*", "*-gate", "*.org."])
def test_hosts_of_any_domain(pattern: str) -> None:
    (danger,) = find_dangers(replace(WEB, principals=PrincipalRule((pattern,))))
    assert "hosts of any domain" in danger


def test_hosts_for_a_year() -> None:
    assert find_dangers(replace(WEB, maximum_validity=timedelta(days=91)))


def test_denied_root_is_no_danger() -> None:
    rule = PrincipalRule(("ro*",), ("root",))
    assert find_dangers(replace(OPS, principals=rule)) == ()


def test_a_user_s_profile_in_words() -> None:
    profile = replace(
        OPS,
        extensions=frozenset({"permit-pty"}),
        principals=PrincipalRule(("ops", "team-*"), ("team-root",)),
        critical_options=(
            ("force-command", "uptime"),
            ("source-address", "192.0.2.0/24"),
            ("verify-required", ""),
        ),
        reason_required=True,
    )
    assert explain(profile) == (
        "signs certificates for people, valid for at most 8 hours",
        "holders may log in as: ops, team-*; never: team-root",
        "holders may have a terminal",
        f"holders may not {NOT_ALLOWED}",
        "whatever holders ask for, this runs: uptime",
        "holders may come only from 192.0.2.0/24",
        "each use asks for the FIDO token's PIN or fingerprint",
        f"certifies keys of type {FIDO} only",
        "logs name holders by domain/ca/serial/person, and a reason must be given",
    )


def test_a_host_s_profile_in_words() -> None:
    assert explain(replace(WEB, key_id=("serial", "person"))) == (
        "signs certificates for hosts, valid for at most 1 day",
        "holders may be the host: *.example.org",
        "certifies keys of every type that OpenSSH takes",
        "logs name holders by serial/person",
    )


def test_a_user_s_default_in_words() -> None:
    said = explain(Profile.user(8 * HOUR))
    assert "holders may come from any address" in said
    assert said[-1].endswith("and the reason if one is given")


def test_nobody() -> None:
    assert "holders may log in as: nobody" in explain(replace(OPS, principals=PrincipalRule()))


def test_sessions_that_end_are_explained_and_no_danger() -> None:
    marked = replace(OPS, extensions=frozenset({END_SESSIONS}))
    assert "their sessions end with their certificates" in explain(marked)
    assert "their sessions end with their certificates" not in explain(OPS)
    assert find_dangers(marked) == ()
