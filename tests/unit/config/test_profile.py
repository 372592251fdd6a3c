from datetime import timedelta
from pathlib import Path

import pytest

from dpki.certificates.profile import KEY_TYPES, PrincipalRule, Profile
from dpki.certificates.profile_lint import explain
from dpki.config.profile import dump_profile, load_profile, parse_profile
from dpki.errors import ConfigError, UsageError
from dpki.model import AuthorityKind

FILE = Path("/home/profiles/users.toml")
LEAST = """
version = 1
kind = "ssh-user"
maximum_validity = "8h"
[principals]
allow = ["ops"]
"""
MOST = """
version = 1
kind = "ssh-user"
maximum_validity = "8h"
extensions = ["permit-pty", "permit-agent-forwarding"]
key_types = ["sk-ssh-ed25519@openssh.com"]
key_id = ["serial", "person", "reason"]
reason_required = true

[principals]
allow = ["ops", "team-*"]
deny = ["team-root"]

[critical_options]
force-command = "uptime"
source-address = ["192.0.2.0/24", "2001:db8::1"]
verify-required = true
"""


def parse(text: str) -> Profile:
    return parse_profile(text.encode(), FILE)


def test_what_is_not_written_is_not_allowed() -> None:
    profile = parse(LEAST)
    assert profile == Profile(
        AuthorityKind.SSH_USER, timedelta(hours=8), principals=PrincipalRule(("ops",))
    )
    assert profile.extensions == frozenset()


def test_everything_is_read() -> None:
    assert parse(MOST) == Profile(
        AuthorityKind.SSH_USER,
        timedelta(hours=8),
        frozenset({"permit-pty", "permit-agent-forwarding"}),
        (
            ("force-command", "uptime"),
            ("source-address", "192.0.2.0/24,2001:db8::1"),
            ("verify-required", ""),
        ),
        PrincipalRule(("ops", "team-*"), ("team-root",)),
        frozenset({"sk-ssh-ed25519@openssh.com"}),
        ("serial", "person", "reason"),
        True,
    )


@pytest.mark.parametrize(
    "profile",
    [
        parse(LEAST),
        parse(MOST),
        Profile.user(timedelta(days=30)),
        Profile.host(timedelta(days=30)),
    ],
    ids=["least", "most", "user", "host"],
)
def test_what_is_written_reads_back(profile: Profile) -> None:
    text = dump_profile(profile)
    assert parse(text) == profile
    assert dump_profile(parse(text)) == text


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("version = 1", "version = 2", "version is 2"),
        ("version = 1", "", "version is missing"),
        ('kind = "ssh-user"', "", "kind is missing"),
        ('kind = "ssh-user"', 'kind = "tls"', "kind is wrong: 'tls'"),
        ('kind = "ssh-user"', 'kind = "ssh-host"', "extensions is wrong"),
        ('"8h"', '"forever"', "maximum_validity is wrong"),
        ('"8h"', "8", "maximum_validity must be a string"),
        ('maximum_validity = "8h"', "", "maximum_validity is missing"),
        ('"permit-pty"', '"permit-everything"', "extensions is wrong"),
        ('"permit-pty"', '"permit-agent-forwarding"', "given twice"),
        ('"permit-pty"', "7", "extensions must be a list of strings"),
        ('"sk-ssh-ed25519@openssh.com"', '"ssh-dss"', "key_types is wrong"),
        ('["sk-ssh-ed25519@openssh.com"]', "[]", "key_types is empty"),
        ('"serial", "person"', '"serial"', "key_id is wrong: a key id without the person"),
        ('"serial", "person"', '"person"', "key_id is wrong: a key id without the serial"),
        ('"person", "reason"', '"reason", "person"', "the reason is the last part"),
        ('"person", "reason"', '"person", "mood"', "no part of a key id"),
        ('"person", "reason"', '"person"', "reason_required is wrong"),
        ("reason_required = true", 'reason_required = "no"', "must be true or false"),
        ('allow = ["ops", "team-*"]', "", "principals.allow is missing"),
        ('allow = ["ops", "team-*"]', "allow = []", "principals.allow names no principal"),
        ('"ops", "team-*"', '"ops", "ops"', "principals.allow is wrong"),
        ('"ops", "team-*"', '"ops,root"', "principals.allow is wrong"),
        ('"ops", "team-*"', '""', "principals.allow is wrong"),
        ('"team-root"', '"team root"', "principals.deny is wrong"),
        ('deny = ["team-root"]', 'dney = ["team-root"]', "principals.dney is not a known key"),
        ("extensions", "extension", "extension is not a known key"),
        ('"192.0.2.0/24"', '"192.0.2.1/24"', "critical_options is wrong"),
        ('"192.0.2.0/24", "2001:db8::1"', "", "critical_options is wrong"),
        ('"uptime"', '""', "critical_options is wrong"),
        ("verify-required = true", 'verify-required = ""', "must be true or false"),
        ("verify-required", "verify_required", "verify_required is not a known key"),
        ("[principals]", "[[principals]]", "principals must be a table"),
        ("[principals]", "[principals", "is not TOML"),
    ],
)
def test_mistakes_name_the_file_and_the_key(old: str, new: str, reason: str) -> None:
    assert old in MOST
    with pytest.raises(ConfigError) as caught:
        parse(MOST.replace(old, new))
    assert reason in caught.value.message
    assert caught.value.message.count(str(FILE)) == 1
    assert caught.value.hint


class TestLoad:
    def test_no_file_is_no_profile(self, tmp_path: Path) -> None:
        assert load_profile(tmp_path / "users.toml") is None

    def test_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "users.toml"
        path.write_text(LEAST)
        path.chmod(0o600)
        assert load_profile(path) == parse(LEAST)

    def test_one_that_others_can_write_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "users.toml"
        path.write_text(LEAST)
        path.chmod(0o666)
        with pytest.raises(ConfigError, match="can be written by others"):
            load_profile(path)

    def test_a_link_that_leads_nowhere_is_not_no_profile(self, tmp_path: Path) -> None:
        """Else the default would take the place of a profile that was meant to be stricter."""
        path = tmp_path / "users.toml"
        path.symlink_to(tmp_path / "gone.toml")
        with pytest.raises(ConfigError):
            load_profile(path)

    def test_a_folder_or_a_file_in_its_way_is_not_no_profile(self, tmp_path: Path) -> None:
        (tmp_path / "users.toml").mkdir()
        with pytest.raises(ConfigError):
            load_profile(tmp_path / "users.toml")
        (tmp_path / "profiles").write_text("")
        with pytest.raises(ConfigError):
            load_profile(tmp_path / "profiles" / "users.toml")


def test_the_default_certifies_every_type() -> None:
    assert parse(LEAST).key_types == KEY_TYPES


class TestOverlap:
    HOSTS = LEAST.replace("ssh-user", "ssh-host").replace(
        "[principals]", 'overlap = "12h"\n[principals]'
    )

    def test_reads_back(self) -> None:
        profile = parse(self.HOSTS)
        assert profile.overlap == timedelta(hours=12)
        assert parse(dump_profile(profile)) == profile
        assert parse(LEAST).overlap is None

    def test_it_is_explained(self) -> None:
        assert any("for 12" in line for line in explain(parse(self.HOSTS)))
        assert not any("before a new one" in line for line in explain(parse(LEAST)))

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            (HOSTS.replace("ssh-host", "ssh-user"), "only devices"),
            (HOSTS.replace("12h", "long"), "overlap is wrong"),
        ],
    )
    def test_what_makes_no_sense(self, text: str, problem: str) -> None:
        with pytest.raises(ConfigError, match=problem):
            parse(text)

    def test_none_at_all_is_no_overlap(self) -> None:
        with pytest.raises(UsageError, match="at least a second"):
            Profile(AuthorityKind.SSH_HOST, timedelta(hours=8), overlap=timedelta(0))
