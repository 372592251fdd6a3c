"""An endpoint that lies and keeps to the protocol, and the catalogue of its lies.

A lie is told question by question (`TALES`), in how the answers to a batch are put together
(`ARRANGEMENTS`), or in how bytes are sent (`WIRES`). Tales need nothing but a reader that knows the
truth, so they are told over HTTP in front of a real node (`LyingEndpoint`) and, by
`tests.fakes.proving.Source`, in memory.
"""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dpki.chain import layout
from dpki.chain.domain import Domain
from dpki.chain.events import BATCH_ISSUED, CERTIFICATE_ISSUED
from dpki.chain.quorum import LEAP
from dpki.chain.rpc import Call, Reader, RpcError
from dpki.model import Address, AuthorityId, to_timestamp
from tests.fakes.proving import Tell, truth
from tests.fakes.rpc_server import RpcServer, Script, response

Arrange = Callable[[list[Any]], Any]
"""From the answers to a batch, in the order of the questions, to what is sent."""

BLOCKS = ("eth_getBlockByNumber", "eth_getBlockByHash")
STATE = ("eth_getStorageAt", "eth_getProof")
TAGS = ("latest", "safe", "finalized")
NEVER = "0x" + "66" * 32
"""The hash of a block that never was."""


@dataclass(frozen=True)
class Scene:
    """What the lies are about.

    Attributes:
        node: Tells the truth.
        domain: The domain.
        ca: A user CA of it.
        revoked: A serial of that CA which was revoked after `earlier`.
        earlier: A block of the domain in which there is less.
        now: What the verifier's clock says.
    """

    node: Reader
    domain: Domain
    ca: AuthorityId
    revoked: int
    earlier: int
    now: datetime

    def block(self, which: str) -> dict[str, Any]:
        found: Any = self.node.call("eth_getBlockByNumber", [which, False])
        return dict(found)


# --- tales: what is said --------------------------------------------------------------------------


def of(method: str, change: Callable[[Any], Any]) -> Callable[[Scene], Tell]:
    """Change what is answered to a method, where there is an answer."""

    def tell(call: Call, answer: Callable[[], object]) -> object:
        told = answer()
        return change(told) if call.method == method and told else told

    return lambda _: tell


def words(change: Callable[[Scene], Mapping[tuple[Address, int], Callable[[int], int]]]) -> Any:
    """Change words of storage, proven or not; the proofs are the true ones."""

    def of_scene(scene: Scene) -> Tell:
        changes = change(scene)

        def changed(contract: object, slot: object, word: object) -> int:
            place = (Address.parse(str(contract)), int(str(slot), 16))
            return changes.get(place, lambda value: value)(int(str(word), 16))

        def tell(call: Call, answer: Callable[[], object]) -> object:
            told: Any = answer()
            if call.method == "eth_getStorageAt":
                return f"0x{changed(call.params[0], call.params[1], told):064x}"
            if call.method == "eth_getProof":
                storage = [
                    {**item, "value": hex(changed(call.params[0], item["key"], item["value"]))}
                    for item in told["storageProof"]
                ]
                return {**told, "storageProof": storage}
            return told

        return tell

    return of_scene


def bitmap(scene: Scene) -> tuple[Address, int]:
    slot = layout.revocation_slot(scene.ca, scene.revoked >> 8)
    return scene.domain.certificates, slot


def issuer(scene: Scene) -> tuple[Address, int]:
    return scene.domain.certificates, layout.issuer_slot(scene.ca)


def forgotten(scene: Scene) -> Callable[[int], int]:
    """Return what un-revokes a serial in a word of the bitmap."""
    return lambda word: word & ~(1 << (scene.revoked & 255))


def counting(difference: int) -> Callable[[int], int]:
    """Return what makes a CA's number of revocations another."""
    return lambda word: word + (difference << 192)


def proofs(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Scene], Tell]:
    return of("eth_getProof", change)


def storage(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Scene], Tell]:
    """Change each word's own part of a proof."""
    return proofs(lambda told: {**told, "storageProof": [change(i) for i in told["storageProof"]]})


def elsewhere(params: Callable[[Scene, Sequence[Any]], Sequence[Any]]) -> Callable[[Scene], Tell]:
    """Answer another question about state than the one that is asked."""

    def of_scene(scene: Scene) -> Tell:
        def tell(call: Call, answer: Callable[[], object]) -> object:
            if call.method != "eth_getProof":
                return answer()
            told: Any = scene.node.call(call.method, params(scene, call.params))
            asked: Any = call.params
            keyed = zip(asked[1], told["storageProof"], strict=True)
            return {
                **told,
                "address": asked[0],
                "storageProof": [{**item, "key": key} for key, item in keyed],
            }

        return tell

    return of_scene


def shifted(slot: str) -> str:
    return f"0x{(int(slot, 16) + 1) % 2**256:064x}"


def at_earlier(scene: Scene) -> dict[str, object]:
    return {"blockHash": scene.block(hex(scene.earlier))["hash"]}


def earlier_state(scene: Scene) -> Tell:
    """Agree on the newest block, and show an earlier one's header and state under its hash."""

    def tell(call: Call, answer: Callable[[], object]) -> object:
        newest = scene.block("latest")["hash"]
        if call.method in STATE:
            return scene.node.call(call.method, [*call.params[:2], at_earlier(scene)])
        if call.method == "eth_getBlockByHash" and call.params[0] == newest:
            return {**scene.block(hex(scene.earlier)), "hash": newest}
        return answer()

    return tell


def no_longer(scene: Scene) -> Tell:
    """Show the chain as it was."""

    def tell(call: Call, answer: Callable[[], object]) -> object:
        if call.method == "eth_getBlockByNumber":
            which = str(call.params[0])
            if which in TAGS:
                return scene.block(hex(scene.earlier))
            return None if int(which, 16) > scene.earlier else answer()
        if call.method == "eth_getLogs":
            told: Any = answer()
            return [log for log in told if int(log["blockNumber"], 16) <= scene.earlier]
        return answer()

    return tell


def newest(
    change: Callable[[Scene, dict[str, Any]], dict[str, Any]], tags: Sequence[str] = ("latest",)
) -> Callable[[Scene], Tell]:
    """Put a block that never was in the place of the newest, with the state of the newest."""

    def of_scene(scene: Scene) -> Tell:
        def tell(call: Call, answer: Callable[[], object]) -> object:
            true = scene.block("latest")
            shown = {**true, "hash": NEVER, **change(scene, true)}
            params: Any = call.params
            if call.method == "eth_getBlockByNumber" and params[0] in (*tags, shown["number"]):
                return shown
            if call.method == "eth_getBlockByHash" and params[0] == shown["hash"]:
                return shown
            if call.method in STATE and params[2].get("blockHash") == shown["hash"]:
                return scene.node.call(call.method, [*params[:2], {"blockHash": true["hash"]}])
            if call.method == "eth_getLogs" and "toBlock" in params[0]:
                end = hex(min(int(params[0]["toBlock"], 16), int(true["number"], 16)))
                start = hex(min(int(params[0]["fromBlock"], 16), int(end, 16)))
                return scene.node.call(
                    call.method, [{**params[0], "fromBlock": start, "toBlock": end}]
                )
            return answer()

        return tell

    return of_scene


def later(scene: Scene, by: timedelta) -> str:
    return hex(to_timestamp(scene.now + by))


def logs(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[Scene], Tell]:
    """Change events, but not the one of the domain's making."""

    def made_up(told: list[dict[str, Any]]) -> Any:
        ours = [log["topics"][0] in (str(CERTIFICATE_ISSUED), str(BATCH_ISSUED)) for log in told]
        return change(told) if all(ours) else told

    return of("eth_getLogs", made_up)


def next_batch(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events with a certificate more than there is, in a batch of its own."""
    invented = []
    for kind, place in ((CERTIFICATE_ISSUED, 3), (BATCH_ISSUED, 2)):
        for log in [log for log in told if log["topics"][0] == str(kind)][-1:]:
            topics = list(log["topics"])
            topics[place] = f"0x{int(topics[place], 16) + 1:064x}"
            data = log["data"] if kind == BATCH_ISSUED else f"0x{'11' * 32}{log['data'][66:]}"
            invented.append({**log, "topics": topics, "data": data})
    return [*told, *invented]


def with_another_hash(log: dict[str, Any]) -> dict[str, Any]:
    if log["topics"][0] != str(CERTIFICATE_ISSUED):
        return log
    return {**log, "data": f"0x{'11' * 32}{log['data'][66:]}"}


def always(answer: object) -> Callable[[Scene], Tell]:
    return lambda _: lambda _call, _answer: answer


def refusing(*methods: str) -> Callable[[Scene], Tell]:
    """Refuse these methods, or all."""

    def tell(call: Call, answer: Callable[[], object]) -> object:
        if not methods or call.method in methods:
            raise RpcError("liar", call.method, -32601, "no such method")
        return answer()

    return lambda _: tell


TALES: dict[str, Callable[[Scene], Tell]] = {
    # Words of the contracts' storage.
    "a revocation is withheld": words(lambda s: {bitmap(s): forgotten(s)}),
    "a revocation is withheld, and its count": words(
        lambda s: {bitmap(s): forgotten(s), issuer(s): counting(-1)}
    ),
    "a revocation is invented": words(lambda s: {bitmap(s): lambda word: word | 1 << 1}),
    "all words are zero": words(lambda s: {bitmap(s): lambda _: 0, issuer(s): lambda _: 0}),
    "there is no CA": words(
        lambda s: {(s.domain.authorities, layout.authority_count_slot()): lambda _: 0}
    ),
    "there are CAs without end": words(
        lambda s: {(s.domain.authorities, layout.authority_count_slot()): lambda _: 2**255}
    ),
    # Proofs.
    "an account's proof is cut short": proofs(
        lambda told: {**told, "accountProof": told["accountProof"][:-1]}
    ),
    "words' proofs are cut short": storage(lambda item: {**item, "proof": item["proof"][:-1]}),
    "proofs are missing": storage(lambda item: {**item, "proof": []}),
    "proofs are of another contract": elsewhere(
        lambda s, asked: [str(s.domain.watchdogs), *asked[1:]]
    ),
    "proofs are of another slot": elsewhere(
        lambda s, asked: [asked[0], [shifted(slot) for slot in asked[1]], asked[2]]
    ),
    "proofs are of another block": elsewhere(lambda s, asked: [*asked[:2], at_earlier(s)]),
    "fewer words are proven": proofs(
        lambda told: {**told, "storageProof": told["storageProof"][:-1]}
    ),
    "proofs are refused": refusing("eth_getProof"),
    # Headers.
    "a header's state is another": lambda _: (
        lambda call, answer: (
            {**told, "stateRoot": NEVER}
            if isinstance(told := answer(), dict) and call.method in BLOCKS
            else told
        )
    ),
    "a header's hash is another": of("eth_getBlockByHash", lambda block: {**block, "hash": NEVER}),
    "a header and its state are an earlier block's": earlier_state,
    # Heads.
    "the head is old": no_longer,
    "the head is on a fork": newest(lambda s, true: {}),
    "the head and all that is final are on a fork": newest(lambda s, true: {}, TAGS),
    "the head is far ahead": newest(
        lambda s, true: {"number": hex(int(true["number"], 16) + 2 * LEAP)}
    ),
    "the head and all that is final are far ahead": newest(
        lambda s, true: {"number": hex(int(true["number"], 16) + 2 * LEAP)}, TAGS
    ),
    "the head is beyond all reach": newest(lambda s, true: {"number": hex(2**62)}),
    "the head's number is absurd": newest(lambda s, true: {"number": hex(2**70)}, TAGS),
    "the head is of tomorrow": newest(
        lambda s, true: {"timestamp": later(s, timedelta(days=1))}, TAGS
    ),
    "the head is of last year": newest(
        lambda s, true: {"timestamp": later(s, -timedelta(days=365))}, TAGS
    ),
    "nothing of late is final": lambda s: (
        lambda call, answer: (
            s.block(hex(s.domain.block.number)) if call.params[:1] == ["finalized"] else answer()
        )
    ),
    "the head is of no year": newest(lambda s, true: {"timestamp": hex(2**64 - 1)}, TAGS),
    "there are no blocks": lambda s: (
        lambda call, answer: None if call.method in BLOCKS else answer()
    ),
    "the chain is another": of("eth_chainId", lambda _: "0x46f"),
    # Events.
    "events are withheld": logs(lambda told: []),
    "a batch is invented": logs(next_batch),
    "certificates in events are others": logs(lambda told: [*map(with_another_hash, told)]),
    "events are told twice": logs(lambda told: told * 2),
    "events are told backwards": logs(lambda told: told[::-1]),
    "events are another contract's": logs(
        lambda told: [{**log, "address": "0x" + "77" * 20} for log in told]
    ),
    "the domain was never made": of("eth_getLogs", lambda told: []),
    # Everything.
    "everything is refused": refusing(),
    "everything is null": always(None),
    "everything is a number without end": always(10**4000),
}


# --- batches: how answers are put together -----------------------------------------------------

ARRANGEMENTS: dict[str, Arrange] = {
    "answers come twice": lambda answers: [*answers, *answers],
    "answers come in another order": lambda answers: answers[::-1],
    "an answer is missing": lambda answers: answers[:-1],
    "answers are to each other's questions": lambda answers: [
        {**other, "id": answer["id"]}
        for answer, other in zip(answers, [*answers[1:], *answers[:1]], strict=True)
    ],
    "answers are to nobody's questions": lambda answers: [{**a, "id": 10**9} for a in answers],
    "a batch is no list": lambda answers: answers[0],
}


# --- wires: how it is sent ---------------------------------------------------------------------

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def _huge(_question: Any, send: Callable[[bytes], None], _over: threading.Event) -> None:
    send(_HEAD + b"Content-Length: 100000000\r\n\r\n[")
    for _ in range(100):
        send(b" " * 1_000_000)


def _endless(_question: Any, send: Callable[[bytes], None], over: threading.Event) -> None:
    send(_HEAD + b"\r\n")
    while not over.is_set():
        send(b" " * 65536)


def _dripping(_question: Any, send: Callable[[bytes], None], over: threading.Event) -> None:
    send(_HEAD + b"Content-Length: 1000\r\n\r\n")
    while not over.wait(1.0):
        send(b" ")


def _silent(_question: Any, _send: Callable[[bytes], None], over: threading.Event) -> None:
    over.wait()


def _always(answer: bytes) -> Script:
    return lambda _question, send, _over: send(answer)


WIRES: dict[str, Script] = {
    "an answer is of 100 MB": _huge,
    "an answer never ends": _endless,
    "an answer comes by a byte a second": _dripping,
    "nothing is answered": _silent,
    "all answers are 429": _always(response(b"{}", "429 Too Many Requests")),
    "all answers are 500": _always(response(b"oh no", "500 Internal Server Error")),
    "answers are nested by the thousand": _always(response(b"[" * 100_000)),
    "answers are no JSON": _always(response(b"<html>Welcome to our hotel</html>")),
}

STALLING = {"an answer comes by a byte a second", "nothing is answered"}
"""The lies that have no end but the asker's deadline."""

BUSY = {"all answers are 429", "all answers are 500"}
"""The lies for which the same is asked again after a while."""

ENDLESS = {"the head is beyond all reach"}
"""The lies about a chain that nobody finishes searching."""

LIES = (*TALES, *ARRANGEMENTS, *WIRES)


# --- the endpoint ------------------------------------------------------------------------------


class LyingEndpoint:
    """A JSON-RPC endpoint in front of a real node, honest until it is told otherwise."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._over = threading.Event()
        self.stop_lying()
        self._server = RpcServer(self._serve)
        self.url = self._server.url

    def lie(self, name: str, scene: Scene) -> None:
        """Tell one of `LIES` from now on."""
        self.stop_lying()
        if name in TALES:
            self.tell = TALES[name](scene)
        elif name in ARRANGEMENTS:
            self.arrange = ARRANGEMENTS[name]
        else:
            self.wire = WIRES[name]

    def stop_lying(self) -> None:
        # What still drips must end, or the connection would be busy for ever.
        self._over.set()
        self._over = threading.Event()
        self.tell: Tell = truth
        self.arrange: Arrange = list
        self.wire: Script | None = None

    def close(self) -> None:
        self._over.set()
        self._server.close()

    def _serve(self, question: Any, send: Callable[[bytes], None], _over: threading.Event) -> None:
        if self.wire is not None:
            self.wire(question, send, self._over)
            # Nothing that was begun is finished: the connection is of no use to an honest one.
            raise ConnectionAbortedError
        send(response(json.dumps(self._answer(question)).encode()))

    def _answer(self, question: Any) -> Any:
        true = self._ask(question)
        if not isinstance(question, list):
            return self._told(question, true)
        by_id = {item["id"]: item for item in true}
        return self.arrange([self._told(one, by_id[one["id"]]) for one in question])

    def _told(self, question: dict[str, Any], true: dict[str, Any]) -> dict[str, Any]:
        call = Call(question["method"], question["params"])

        def answer() -> object:
            if "error" in true:
                error = true["error"]
                raise RpcError("node", call.method, error["code"], error["message"])
            return true["result"]

        try:
            return {"jsonrpc": "2.0", "id": question["id"], "result": self.tell(call, answer)}
        except RpcError as error:
            refusal = {"code": error.code, "message": error.rpc_message}
            return {"jsonrpc": "2.0", "id": question["id"], "error": refusal}

    def _ask(self, question: Any) -> Any:
        body = json.dumps(question).encode()
        request = urllib.request.Request(self._node, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)


@contextmanager
def lying_endpoint(node: str) -> Iterator[LyingEndpoint]:
    """Run one for as long as the block lasts."""
    endpoint = LyingEndpoint(node)
    try:
        yield endpoint
    finally:
        endpoint.close()
