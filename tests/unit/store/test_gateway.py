from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest

from dpki.bundle.cid import cid_of, digest_of
from dpki.errors import ConfigError, ContentMismatch, ContentUnavailable
from dpki.http import Deadline, HttpClient, Response, TransferFailed
from dpki.store.gateway import Gateway

DATA = b"sealed"
DIGEST = digest_of(DATA)
PATH = f"/ipfs/{cid_of(DIGEST)}?format=raw"
SECOND = timedelta(seconds=1)


class ScriptedClient(HttpClient):
    """An HTTP client without a network: says what it is told to, by URL."""

    def __init__(self, answers: Mapping[str, Response | TransferFailed]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Mapping[str, str] | None, int, Deadline]] = []

    def request(
        self,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        limit: int,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
    ) -> Response:
        assert (method, content) == ("GET", b"")
        self.asked.append((url, headers, limit, deadline))
        answer = self.answers[url]
        if isinstance(answer, TransferFailed):
            raise answer
        return answer

    @property
    def urls(self) -> list[str]:
        return [url for url, *_ in self.asked]


def redirect(location: str, status: int = 302) -> Response:
    return Response(status, {"location": location}, b"")


@pytest.mark.parametrize(
    "base",
    ["https://ipfs.io", "https://ipfs.io/", "http://127.0.0.1:8080", "http://[::1]:1/some/where"],
)
def test_it_asks_for_the_raw_block(base: str) -> None:
    client = ScriptedClient({base.rstrip("/") + PATH: Response(200, {}, DATA)})
    assert Gateway(base, client).fetch(DIGEST, SECOND, 77) == DATA
    ((_, headers, limit, _),) = client.asked
    assert headers == {"Accept": "application/vnd.ipld.raw"}
    assert limit == 77


def test_other_bytes() -> None:
    client = ScriptedClient({"http://a" + PATH: Response(200, {}, b"other")})
    with pytest.raises(ContentMismatch, match="gateway http://a delivered 5 bytes"):
        Gateway("http://a", client).fetch(DIGEST, SECOND)


@pytest.mark.parametrize("status", [204, 206, 304, 404, 410, 429, 500, 504])
def test_other_answers(status: int) -> None:
    client = ScriptedClient({"http://a" + PATH: Response(status, {}, DATA)})
    with pytest.raises(ContentUnavailable, match=f"answers {status}"):
        Gateway("http://a", client).fetch(DIGEST, SECOND)


def test_no_answer() -> None:
    client = ScriptedClient({"http://a" + PATH: TransferFailed("no whole answer within 1 s")})
    with pytest.raises(ContentUnavailable, match="gateway http://a: no whole answer"):
        Gateway("http://a", client).fetch(DIGEST, SECOND)


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_on_the_same_server_within_one_deadline(self, status: int) -> None:
        client = ScriptedClient(
            {
                "http://a:80" + PATH: redirect("/elsewhere", status),
                "http://a:80/elsewhere": redirect("http://a/at-last", status),
                "http://a/at-last": Response(200, {}, DATA),
            }
        )
        assert Gateway("http://a:80", client).fetch(DIGEST, SECOND) == DATA
        assert len({id(deadline) for *_, deadline in client.asked}) == 1

    @pytest.mark.parametrize(
        "location",
        [
            "http://b/x",
            "//b/x",
            "http://a:81/x",
            "https://a/x",
            "http://sub.a/x",
            "http://a@b/x",
            "file:///etc/passwd",
            "http://[",
            "http://a/ü",
            "http://a/x y",
        ],
    )
    def test_elsewhere_is_not_followed(self, location: str) -> None:
        client = ScriptedClient({"http://a" + PATH: redirect(location)})
        with pytest.raises(ContentUnavailable, match="not followed"):
            Gateway("http://a", client).fetch(DIGEST, SECOND)
        assert len(client.asked) == 1

    def test_in_circles(self) -> None:
        client = ScriptedClient({"http://a" + PATH: redirect("")})
        with pytest.raises(ContentUnavailable, match="circles"):
            Gateway("http://a", client).fetch(DIGEST, SECOND)
        assert len(client.asked) == 4


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ipfs.io",
        "ftp://ipfs.io",
        "file:///tmp",
        "ipfs://bafk",
        "https://",
        "https://ipfs.io?x=1",
        "https://ipfs.io#x",
        "https://ipfs.io:0",
        "https://ipfs.io:99999",
        "http://[",
        "https://ipfs.io/a b",
        "https://ipfs.io/\n",
        "https://ïpfs.io",
    ],
)
def test_what_is_no_gateway(url: str) -> None:
    with pytest.raises(ConfigError, match="gateway"):
        Gateway(url)


def test_a_password_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="user or password") as caught:
        Gateway("https://me:hunter2@ipfs.io")
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


def test_name() -> None:
    assert Gateway("https://ipfs.io/").name == "gateway https://ipfs.io"
