import pytest

from dpki.config.values import (
    verify_account,
    verify_label,
    verify_multiaddr,
    verify_name,
    verify_secret_source,
)
from dpki.errors import UsageError


@pytest.mark.parametrize("name", ["ops", "ssh-user-ca", "web1.example.org", "0", "a" * 64])
def test_accepts_names(name: str) -> None:
    assert verify_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".hidden", "../up", "a/b", "A", "a b", "a\n", "-x", "a" * 65, "ü", "a\0"]
)
def test_refuses_names_that_are_no_plain_file_names(name: str) -> None:
    with pytest.raises(UsageError, match="can't be a name"):
        verify_name(name)


@pytest.mark.parametrize("label", ["", " x", "a;b", "a%41", "x" * 33, "a\n"])
def test_refuses_labels_that_no_token_has(label: str) -> None:
    with pytest.raises(UsageError, match="can't be a token label"):
        verify_label(label)


@pytest.mark.parametrize("account", ["root", "_apt", "ops-2", "machine$", "a.b"])
def test_accepts_accounts(account: str) -> None:
    assert verify_account(account) == account


@pytest.mark.parametrize("account", ["", "Root", "a b", "1a", "a" * 33, "a\n", "a,b", "*", "%u"])
def test_refuses_what_is_no_account(account: str) -> None:
    with pytest.raises(UsageError, match="is not an account name"):
        verify_account(account)


@pytest.mark.parametrize("spec", ["env:PIN", "file:/run/pin", "command:pass show pin", "prompt"])
def test_accepts_sources_of_secrets(spec: str) -> None:
    assert verify_secret_source(spec) == spec


@pytest.mark.parametrize(
    "spec", ["", "1234", "hunter2", "env:", "env:1A", "file:", "command: ", "Prompt", "pin:1234"]
)
def test_refuses_a_literal_secret_without_repeating_it(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        verify_secret_source(spec)
    assert not spec or spec not in caught.value.message
    assert "env:NAME" in caught.value.hint


@pytest.mark.parametrize("address", ["/ip4/127.0.0.1/tcp/5001", "/dns/kubo/tcp/5001/http"])
def test_accepts_multiaddresses(address: str) -> None:
    assert verify_multiaddr(address) == address


@pytest.mark.parametrize("address", ["", "127.0.0.1:5001", "/ip4/127.0.0.1", "/unix/x", "x\n"])
def test_refuses_other_addresses(address: str) -> None:
    with pytest.raises(UsageError, match="Kubo RPC port"):
        verify_multiaddr(address)
