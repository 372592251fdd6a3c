import pytest

from dpki.config.urls import verify_url, verify_urls
from dpki.errors import UsageError


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8545",
        "https://rpc.api.lisk.com",
        "https://rpc.example.org/v1/key?network=1",
        "http://[::1]:8545/",
    ],
)
def test_accepts_endpoints(url: str) -> None:
    assert verify_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "rpc.example.org",
        "ftp://example.org",
        "ws://example.org",
        "https://",
        "https://example.org:99999",
        "https://example.org:0",
        "https://exa mple.org",
        "https://example.org/\n",
        "https://example.org/#x",
        "http://[::1",
        "file:///etc/passwd",
    ],
)
def test_refuses_what_is_no_service(url: str) -> None:
    with pytest.raises(UsageError, match="is not an http or https URL"):
        verify_url(url)


def test_refuses_credentials_without_repeating_them() -> None:
    with pytest.raises(UsageError) as caught:
        verify_url("https://admin:hunter2@example.org")
    assert "hunter2" not in caught.value.message + caught.value.hint


def test_refuses_the_same_address_twice() -> None:
    with pytest.raises(UsageError, match="stands there twice"):
        verify_urls(["http://a", "http://b", "http://a"])
