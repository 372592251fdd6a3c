"""Calls in plain words, and words as calls: what people read is all that there is."""

from __future__ import annotations

import base64
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.keys import spki_of, ssh_blob
from dpki.chain.layout import Watchdog
from dpki.council.actions import Speaker
from dpki.council.parameter_file import load_parameters
from dpki.council.parameters import DEFAULTS
from dpki.council.reading import dump_parameters
from dpki.council.words import NAMELESS, Names, describe_call, describe_calls, is_understood, spell
from dpki.errors import ConfigError, UsageError
from dpki.model import Address, AuthorityId, AuthorityKind, Hash32
from dpki.transactions.actions import DomainCalls
from dpki.transactions.calls import encode_call
from dpki.transactions.governed import GovernanceCall
from tests.fakes.chain import FakeChain

DOMAIN = FakeChain().domain
CALLS = DomainCalls(DOMAIN)
COUNCIL = Address(b"\x0c" * 20)
WHO = Address(b"\x01" * 20)
CA = AuthorityId(b"\x07" * 32)
KEY = Ed25519PrivateKey.generate().public_key()


def speaker(directory: Path | None = None) -> Speaker:
    def find(name: str) -> AuthorityId:
        if name != "users":
            raise UsageError(f"there is no CA named {name!r} here")
        return CA

    return Speaker(CALLS, COUNCIL, find, lambda name: load_parameters((directory or Path()) / name))


SAID = {
    "ca close users": f"closes CA {CA}: it issues no more, for ever",
    "ca suspend users": f"suspends CA {CA}: nothing of it counts until it is lifted",
    "ca lift users": f"lifts the suspension of CA {CA}",
    "ca retire users": f"retires CA {CA} and all that it issued, for ever",
    f"ca operator users {WHO}": f"makes {WHO} the operator of CA {CA}",
    f"ca revoker users {WHO}": f"lets {WHO} revoke certificates of CA {CA}",
    f"ca revoker users {WHO} --remove": f"no longer lets {WHO} revoke certificates of CA {CA}",
    "ca lifetime users 12h": f"limits later certificates of CA {CA} to 12 hours",
    "ssh revoke users 5": f"revokes serial 5 of CA {CA}, for ever",
    "ssh revoke users 5 6": f"revokes serials 5, 6 of CA {CA}, for ever",
    "ssh revoke users --below 9": f"revokes every serial below 9 of CA {CA}, for ever",
    f"domain governor {WHO}": f"offers the governor's role to {WHO}",
    "domain governor --withdraw": "withdraws the offer of the governor's role",
    "domain governor --accept": "takes the governor's role of the domain",
    f"domain guardian {WHO}": f"names the guardian: {WHO}",
    "domain guardian none": "leaves the domain without a guardian",
    f"domain registrar {WHO}": f"lets {WHO} enrol and retire devices",
    f"domain registrar {WHO} --remove": f"no longer lets {WHO} enrol and retire devices",
    f"council add {WHO} ordinary": f"adds {WHO} to the council, as ordinary",
    f"council role {WHO} root": f"makes {WHO} root in the council",
    f"council remove {WHO}": f"removes {WHO} from the council",
}


@pytest.mark.parametrize("action", SAID)
def test_what_is_typed_is_what_is_told(action: str) -> None:
    call = speaker().parse(action)
    assert describe_call(call) == SAID[action]
    assert is_understood([call])


@pytest.mark.parametrize(
    "action",
    [
        "",
        "ca",
        "ca marry users",
        "ca close",
        "ca close users hosts",
        "ca close 'users",
        "ca operator users",
        "ca operator users 0x12",
        f"ca revoker users {WHO} --add",
        "ca lifetime users soon",
        "ca close nobody",
        "ssh revoke users",
        "ssh revoke users five",
        "ssh revoke users --below",
        "ssh revoke users 99999999999",
        "ssh revoke users 4294967296",
        f"council add {WHO}",
        f"council add {WHO} king",
        "domain guardian",
    ],
)
def test_what_is_misspelled_is_refused(action: str) -> None:
    with pytest.raises(UsageError):
        speaker().parse(action)


def test_a_registration_says_which_key() -> None:
    call = CALLS.register_authority(
        AuthorityKind.SSH_HOST,
        spki_of(KEY),
        Hash32(b"\x42" * 32),
        operator=WHO,
        maximum_lifetime=timedelta(days=30),
        parent=CA,
    )
    digest = base64.b64encode(sha256(ssh_blob(KEY)).digest()).decode().rstrip("=")
    expected = f"SHA256:{digest} for operator {WHO}, at most 30 days, to succeed CA"
    assert describe_call(call) == f"registers SSH host CA {expected} {CA}"
    ours = AuthorityId(sha256(spki_of(KEY)).digest())
    names = Names(authorities={CA: "users", ours: "users-2"}, accounts={WHO: "alice"})
    told = describe_call(call, names)
    assert told is not None
    assert told.startswith("registers SSH host CA users-2 SHA256:")
    assert told.endswith(f"for operator {WHO} (alice), at most 30 days, to succeed CA users")


def test_a_watch_says_who_and_how_much() -> None:
    watch = CALLS.set_watch(CA, [Watchdog(WHO, 40, Hash32(b"\5" * 32))], 30)
    assert describe_call(watch) == (
        f"has 1 watchdog confirm the batches of CA {CA} from its next serial on, for ever:"
        f" 30 of weight 40 ({WHO})"
    )


def test_parameters_are_told_by_what_changes(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text('version = 1\nagainst = 10\ndelay = "0s"\n[root]\ninitial = 70\n')
    file.chmod(0o600)
    call = speaker(tmp_path).parse("council parameters p.toml")
    told = describe_call(call, Names(parameters=DEFAULTS))
    assert told == (
        "changes the council's parameters: root 70 (50 to 150) (now 100 (50 to 150));"
        " against 10 (now 5); delay no time (now 1 day)"
    )
    assert "ordinary 20 (5 to 40)" in str(describe_call(call))
    same = encode_call("RootCouncil", "setParameters", dump_parameters(DEFAULTS))
    told = describe_call(GovernanceCall(COUNCIL, same), Names(parameters=DEFAULTS))
    assert told == "sets the council's parameters to what they are"


class TestNothingIsSaidOfWhatIsNotUnderstood:
    GOOD = CALLS.close(CA)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\1",
            b"\xde\xad\xbe\xef",
            GOOD.data[:-1],
            GOOD.data + b"\0",
            GOOD.data + bytes(32),
            GOOD.data[:4],
            encode_call("DeviceRegistry", "retire", str(WHO)),
            encode_call("RootCouncil", "vote", bytes(32), 1),
            encode_call("TimelockController", "updateDelay", 0),
        ],
    )
    def test_other_calls(self, data: bytes) -> None:
        call = GovernanceCall(DOMAIN.certificates, data)
        assert describe_call(call) is None
        assert not is_understood([self.GOOD, call])
        assert "does not understand" in describe_calls([call])[0]

    def test_numbers_that_are_no_words(self) -> None:
        odd = [
            encode_call("RootCouncil", "addMember", str(WHO), 0)[:-1] + b"\4",
            encode_call(
                "AuthorityRegistry", "register", 3, b"x", bytes(32), bytes(32), str(WHO), 1
            ),
        ]
        for data in odd:
            assert describe_call(GovernanceCall(COUNCIL, data)) is None

    def test_another_contract_than_it_should_be(self) -> None:
        names = Names(contracts={DOMAIN.certificates: "CertificateRegistry"})
        assert describe_call(self.GOOD, names) is not None
        assert describe_call(GovernanceCall(DOMAIN.devices, self.GOOD.data), names) is None
        assert describe_call(GovernanceCall(DOMAIN.devices, self.GOOD.data), NAMELESS) is not None


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(days=1), "1 day"),
        (timedelta(hours=36), "36 hours"),
        (timedelta(minutes=1), "1 minute"),
        (timedelta(seconds=90), "90 seconds"),
        (timedelta(0), "no time"),
    ],
)
def test_durations(duration: timedelta, text: str) -> None:
    assert spell(duration) == text


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("version = 2", ConfigError),
        ("version = 1\nagaints = 1", ConfigError),
        ('version = 1\nrule = "dice"', ConfigError),
        ("version = 1\n[root]\nminmum = 1", ConfigError),
        ('version = 1\nepoch = "now"', ConfigError),
        ("version = 1\nagainst = 1", UsageError),
        ("version = 1\n[ordinary]\nminimum = 30", UsageError),
        ('version = 1\nlongest = "1h"', UsageError),
    ],
)
def test_a_parameter_file_with_a_mistake(
    tmp_path: Path, text: str, error: type[UsageError]
) -> None:
    file = tmp_path / "p.toml"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(error):
        load_parameters(file)
