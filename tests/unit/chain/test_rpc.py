from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from dpki.chain import rpc
from dpki.chain.rpc import Call, Endpoint, RpcError, fetch_block
from dpki.errors import ConfigError, EndpointUnavailable
from dpki.http import Response, TransferFailed
from dpki.model import Hash32
from tests.fakes.chain import FakeChain


class FakeHttp:
    """Answers requests from a function; opens nothing."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self.answer = answer
        self.requests: list[dict[str, Any]] = []

    def request(self, method: str, url: str, **rest: Any) -> Response:
        self.requests.append({"method": method, "url": url, **rest})
        answer = self.answer(json.loads(rest["content"]))
        if isinstance(answer, Response):
            return answer
        return Response(200, {}, json.dumps(answer).encode())

    def close(self) -> None:
        pass


def endpoint(answer: Callable[[Any], Any], url: str = "https://rpc.example") -> Endpoint:
    return Endpoint(url, http=FakeHttp(answer))  # type: ignore[arg-type]


def echo(question: Any) -> Any:
    if isinstance(question, list):
        return [echo(item) for item in question]
    return {"jsonrpc": "2.0", "id": question["id"], "result": question["params"]}


class TestUrl:
    @pytest.mark.parametrize(
        "url",
        [
            "",
            "rpc.example",
            "ftp://x",
            "http://",
            "http://x:99999",
            "file:///etc/passwd",
            "http://a\nb",
        ],
    )
    def test_refuses_what_is_no_http_url(self, url: str) -> None:
        with pytest.raises(ConfigError):
            Endpoint(url)

    def test_credentials_are_used_and_never_shown(self) -> None:
        def fail(_: Any) -> Any:
            raise TransferFailed("no whole answer")

        http = FakeHttp(fail)
        secret = Endpoint("https://bob:hunter%402@rpc.example:8443/v1/KEY?k=KEY2", http=http)  # type: ignore[arg-type]
        with pytest.raises(EndpointUnavailable) as caught:
            secret.call("eth_chainId")
        sent = http.requests[0]
        assert sent["url"] == "https://rpc.example:8443/v1/KEY?k=KEY2"
        assert base64.b64decode(sent["headers"]["Authorization"].split()[1]) == b"bob:hunter@2"
        shown = f"{caught.value} {caught.value.hint} {secret!r} {secret.name}"
        assert "rpc.example:8443" in shown
        for part in ("hunter", "bob", "KEY"):
            assert part not in shown

    def test_ipv6_keeps_its_brackets(self) -> None:
        assert Endpoint("http://[::1]:8545").name == "http://[::1]:8545"


class TestCall:
    def test_returns_the_result(self) -> None:
        assert endpoint(echo).call("m", [1, "a"]) == [1, "a"]

    def test_null_is_a_result(self) -> None:
        assert endpoint(lambda q: {"id": q["id"], "result": None}).call("m") is None

    @pytest.mark.parametrize(
        "answer",
        [
            lambda q: {"id": q["id"] + 1, "result": 1},
            lambda q: {"result": 1},
            lambda q: {"id": str(q["id"]), "result": 1},
            lambda q: {"id": q["id"]},
            lambda q: [],
            lambda q: 7,
            lambda q: Response(200, {}, b"<html>"),
            lambda q: Response(200, {}, b""),
            lambda q: Response(200, {}, b"\xff\xfe"),
            lambda q: Response(200, {}, b"[" * 100_000),
            lambda q: Response(200, {}, b"9" * 10_000),
            lambda q: {"id": q["id"], "error": "no object"},
        ],
    )
    def test_nonsense_is_unavailability(self, answer: Callable[[Any], Any]) -> None:
        with pytest.raises(EndpointUnavailable):
            endpoint(answer).call("m")

    def test_an_error_object_is_typed_and_its_text_is_fit_for_a_terminal(self) -> None:
        error = {"code": 3, "message": "exec\x1b[31m reverted" + "x" * 999, "data": "0x01"}
        with pytest.raises(RpcError) as caught:
            endpoint(lambda q: {"id": q["id"], "error": error}).call("eth_call")
        assert (caught.value.code, caught.value.data) == (3, "0x01")
        assert "\x1b" not in str(caught.value)
        assert len(str(caught.value)) < 400

    def test_an_error_under_status_400_is_read_as_an_error(self) -> None:
        body = json.dumps({"id": None, "error": {"code": -32602, "message": "too many blocks"}})
        with pytest.raises(RpcError, match="too many blocks"):
            endpoint(lambda q: Response(400, {}, body.encode())).call("eth_getLogs")

    @pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404])
    def test_other_statuses_are_not_asked_again(self, status: int) -> None:
        http = FakeHttp(lambda q: Response(status, {"location": "http://elsewhere"}, b""))
        with pytest.raises(EndpointUnavailable, match=str(status)):
            Endpoint("http://x", http=http).call("m")  # type: ignore[arg-type]
        assert len(http.requests) == 1

    @pytest.mark.parametrize("status", [429, 503])
    def test_a_busy_endpoint_is_asked_a_few_times(
        self, status: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pauses: list[float] = []
        monkeypatch.setattr(rpc.time, "sleep", pauses.append)
        answers = iter([Response(status, {}, b"")] * 2)
        http = FakeHttp(lambda q: next(answers, echo(q)))
        assert Endpoint("http://x", http=http).call("m", ["ok"]) == ["ok"]  # type: ignore[arg-type]
        assert len(pauses) == 2
        assert pauses[0] < pauses[1]

    def test_a_busy_endpoint_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rpc.time, "sleep", lambda _: None)
        http = FakeHttp(lambda q: Response(503, {}, b""))
        with pytest.raises(EndpointUnavailable, match="503"):
            Endpoint("http://x", http=http).call("m")  # type: ignore[arg-type]
        assert len(http.requests) == 4

    def test_never_waits_beyond_the_deadline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rpc.time, "sleep", lambda _: pytest.fail("waited"))
        http = FakeHttp(lambda q: Response(503, {}, b""))
        with pytest.raises(EndpointUnavailable):
            Endpoint("http://x", deadline=timedelta(milliseconds=50), http=http).call("m")  # type: ignore[arg-type]


class TestBatch:
    def test_keeps_the_order_of_the_questions(self) -> None:
        reversing = endpoint(lambda q: list(reversed(echo(q))))
        calls = [Call("m", [i]) for i in range(250)]
        assert reversing.batch(calls) == [[i] for i in range(250)]

    def test_no_question_is_no_request(self) -> None:
        assert endpoint(lambda q: pytest.fail("asked")).batch([]) == []

    def test_is_split(self) -> None:
        http = FakeHttp(echo)
        Endpoint("http://x", http=http).batch([Call("m")] * 201)  # type: ignore[arg-type]
        assert [len(json.loads(r["content"])) for r in http.requests] == [100, 100, 1]

    @pytest.mark.parametrize(
        "damage",
        [
            lambda answers: answers[1:],
            lambda answers: [*answers, answers[0]],
            lambda answers: [*answers[1:], answers[1]],
            lambda answers: [*answers, {"id": 10**9, "result": 1}],
            lambda answers: [*answers[1:], {"id": True, "result": 1}],
            lambda answers: [*answers[1:], {"id": float(answers[0]["id"]), "result": 1}],
            lambda answers: [*answers[1:], {"id": [1], "result": 1}],
            lambda answers: [*answers[1:], {"id": answers[0]["id"]}],
            lambda answers: [*answers[1:], None],
            lambda answers: {},
            lambda answers: None,
        ],
    )
    def test_missing_doubled_or_strange_answers_spoil_it(
        self, damage: Callable[[Any], Any]
    ) -> None:
        with pytest.raises(EndpointUnavailable):
            endpoint(lambda q: damage(echo(q))).batch([Call("m", [i]) for i in range(5)])

    def test_one_error_spoils_it(self) -> None:
        def answer(question: Any) -> Any:
            answers = echo(question)
            answers[2] = {
                "id": answers[2]["id"],
                "error": {"code": -32000, "message": "missing trie node"},
            }
            return answers

        with pytest.raises(RpcError, match="missing trie node"):
            endpoint(answer).batch([Call("m")] * 5)

    @pytest.mark.parametrize("allowed", [0, 3, 20])
    def test_an_endpoint_that_takes_only_small_batches_gets_small_ones(self, allowed: int) -> None:
        def answer(question: Any) -> Any:
            if isinstance(question, list) and len(question) > allowed:
                return {"id": None, "error": {"code": -32600, "message": "batch too large"}}
            return echo(question)

        assert endpoint(answer).batch([Call("m", [i]) for i in range(60)]) == [
            [i] for i in range(60)
        ]

    def test_an_endpoint_that_refuses_everything_is_given_up(self) -> None:
        refusing = endpoint(lambda q: {"id": None, "error": {"code": -32600, "message": "go away"}})
        with pytest.raises(RpcError, match="go away"):
            refusing.batch([Call("m")] * 60)


class TestFetchBlock:
    def test_finds_by_number_tag_and_hash(self) -> None:
        chain = FakeChain()
        head = chain.head
        assert fetch_block(chain, head.number) == head
        assert fetch_block(chain, "latest") == head
        assert fetch_block(chain, head.hash) == head

    def test_an_unknown_block_is_none(self) -> None:
        assert fetch_block(FakeChain(), 99) is None
        assert fetch_block(FakeChain(), Hash32.zero()) is None

    def test_another_block_than_asked_for_is_nonsense(self) -> None:
        chain = FakeChain()
        first, second = chain.head, chain.mine()
        chain.lie = lambda method, params, honest: chain._eth_getBlockByHash(str(first.hash), False)
        for asked in (second.number, second.hash):
            with pytest.raises(EndpointUnavailable, match="another block"):
                fetch_block(chain, asked)
