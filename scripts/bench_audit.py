"""How many events an auditor replays in a second, and how much memory it takes, up to a million.

The chain is made up: a server in a process of its own answers for a domain with one CA whose
operator anchored batches of 1,000, one in a block, and makes each answer when it is asked for.
Measured is the auditor with all that it does (HTTP, JSON, decoding, rules, SQLite, the words of the
state), in a process of its own.

    python scripts/bench_audit.py --certificates 10000
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dpki.audit.index import Index
from dpki.audit.prove import expected_words
from dpki.audit.run import audit
from dpki.audit.state import Authority, BatchRecord, State
from dpki.chain import merkle
from dpki.chain.connect import connect
from dpki.chain.domain import DOMAIN_CREATED, Domain, registries_of
from dpki.keccak import keccak
from dpki.model import (
    Address,
    AuthorityId,
    AuthorityKind,
    AuthorityState,
    Block,
    DomainId,
    Entry,
    Hash32,
    from_timestamp,
)
from dpki.transactions import abi
from dpki.transactions.artifacts import load_artifact

COUNTS = (10_000, 1_000_000)
BATCH = 1000
START = 1_800_000_000
GOVERNOR, OPERATOR = Address(b"\x0a" * 20), Address(b"\x0b" * 20)
KEY = b"k" * 44
CA = AuthorityId(hashlib.sha256(KEY).digest())
LIFETIME = 60
CREATED, REGISTERED, FIRST = 1, 2, 3
"""Numbers of the blocks in which it begins."""


@dataclass(frozen=True)
class AuditFigure:
    """One audit: events replayed, seconds, and the most memory that the auditor took, in MB."""

    certificates: int
    events: int
    seconds: float
    memory: int


class Chain:
    """The chain that is made up."""

    def __init__(self, certificates: int) -> None:
        self.batches = -(-certificates // BATCH)
        self.last = FIRST + self.batches - 1
        home = Address(b"\x01" * 20)
        block = Block(CREATED, self.hash(CREATED), from_timestamp(START))
        self.domain = Domain(DomainId(1, home, block.hash), *registries_of(home), block)
        self._sent = {self.sent(number): number for number in range(CREATED, self.last + 1)}
        self._context = merkle.leaf_context(1, self.domain.certificates, CA)
        self._topics = [
            str(abi.find_event("CertificateRegistry", name).topic)
            for name in ("CertificateIssued", "BatchIssued")
        ]
        names = ("TrustDomain", "AuthorityRegistry", "CertificateRegistry", "DeviceRegistry")
        homes = (home, *registries_of(home))
        self._codes = {
            str(address).lower(): f"0x{load_artifact(name).runtime.hex()}"
            for address, name in zip(homes, (*names, "WatchdogRegistry"), strict=True)
        }
        self._words = {
            (str(word.contract).lower(), word.slot): word.value
            for word in expected_words(self.domain, self._state(), {}, self._book())
        }

    @staticmethod
    def hash(number: int) -> Hash32:
        """Return a block's hash."""
        return Hash32(keccak(b"block" + number.to_bytes(8)))

    @staticmethod
    def sent(number: int) -> str:
        """Return the hash of a block's one transaction."""
        return f"0x{keccak(b'sent' + number.to_bytes(8)).hex()}"

    def _book(self) -> Index:
        """Return a book with nothing in it but batches."""
        book = Index(Path(tempfile.mkdtemp()) / "made-up.sqlite", self.domain.id)
        with book.transaction():
            for number in range(self.batches):
                word = merkle.commitment(self._root(number), BATCH)
                book.put_batch(BatchRecord(0, 1 + BATCH * number, BATCH, word, LIFETIME))
        return book

    def _state(self) -> State:
        authority = Authority(
            CA,
            0,
            AuthorityKind.SSH_USER,
            KEY,
            Hash32(b"\x42" * 32),
            AuthorityId.zero(),
            START + REGISTERED,
            OPERATOR,
            LIFETIME,
            1 + BATCH * self.batches,
            state=AuthorityState.ACTIVE,
        )
        return State(GOVERNOR, is_created=True, is_founded=True, authorities={CA: authority})

    # -- answers -----------------------------------------------------------------------------------

    def _entry(self, number: int, serial: int) -> Entry:
        end = from_timestamp(START + FIRST + number + 600)
        hash = Hash32(keccak(serial.to_bytes(8)))
        return Entry(hash, Address.zero(), end, Hash32.zero())

    def _root(self, number: int) -> Hash32:
        first = 1 + BATCH * number
        return merkle.Tree(
            [
                merkle.leaf(self._context, serial, self._entry(number, serial))
                for serial in range(first, first + BATCH)
            ]
        ).root

    def _logs(self, block: int) -> list[dict[str, Any]]:
        if block == CREATED:
            parts = b"".join(bytes(12) + part for part in registries_of(self.domain.id.address))
            created = [str(DOMAIN_CREATED), f"0x{bytes(12).hex()}{GOVERNOR.hex()}"]
            guardian = str(abi.find_event("TrustDomain", "GuardianChanged").topic)
            nobody = f"0x{bytes(32).hex()}"
            return [
                self._log(block, 0, self.domain.id.address, created, parts),
                self._log(block, 1, self.domain.id.address, [guardian, nobody, nobody], b""),
            ]
        if block == REGISTERED:
            registered = abi.find_event("AuthorityRegistry", "AuthorityRegistered")
            opened = abi.find_event("CertificateRegistry", "IssuerOpened")
            data = abi.encode(["bytes", "bytes32"], [KEY, b"\x42" * 32])
            about = [str(registered.topic), str(CA), f"0x{1:064x}", f"0x{0:064x}"]
            operator = f"0x{bytes(12).hex()}{OPERATOR.hex()}"
            lifetime = LIFETIME.to_bytes(32)
            return [
                self._log(block, 0, self.domain.authorities, about, data),
                self._log(
                    block,
                    1,
                    self.domain.certificates,
                    [str(opened.topic), str(CA), operator],
                    lifetime,
                ),
            ]
        if not FIRST <= block <= self.last:
            return []
        number, found = block - FIRST, []
        first = 1 + BATCH * number
        for index in range(BATCH):
            entry = self._entry(number, first + index)
            end = START + FIRST + number + 600
            topics = [self._topics[0], str(CA), f"0x{0:064x}", f"0x{first + index:064x}"]
            data = entry.certificate_hash + end.to_bytes(32) + entry.locator
            found.append(self._log(block, index, self.domain.certificates, topics, data))
        topics = [self._topics[1], str(CA), f"0x{first:064x}"]
        data = BATCH.to_bytes(32) + self._root(number)
        found.append(self._log(block, BATCH, self.domain.certificates, topics, data))
        return found

    def _log(
        self, block: int, index: int, contract: Address, topics: list[str], data: bytes
    ) -> dict[str, Any]:
        return {
            "address": f"0x{contract.hex()}",
            "topics": topics,
            "data": f"0x{data.hex()}",
            "blockNumber": hex(block),
            "blockHash": str(self.hash(block)),
            "transactionHash": self.sent(block),
            "logIndex": hex(index),
            "removed": False,
        }

    def answer(self, method: str, params: list[Any]) -> Any:
        """Return the answer to a JSON-RPC question."""
        match method:
            case "eth_chainId":
                return "0x1"
            case "eth_getLogs":
                return self._find_logs(params[0])
            case "eth_getBlockByNumber":
                tag = params[0] in ("latest", "safe", "finalized")
                return self._show(self.last if tag else int(params[0], 16))
            case "eth_getBlockByHash":
                return self._show(CREATED)
            case "eth_getTransactionByHash":
                return self._transaction(params[0])
            case "eth_getCode":
                return self._codes.get(params[0].lower(), "0x")
            case "eth_getStorageAt":
                word = self._words.get((params[0].lower(), int(params[1], 16)), 0)
                return f"0x{word:064x}"
        raise ValueError(method)

    def _show(self, number: int) -> dict[str, Any]:
        return {
            "number": hex(number),
            "hash": str(self.hash(number)),
            "timestamp": hex(START + number),
        }

    def _find_logs(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        if "blockHash" in query:
            return self._logs(CREATED)[:1]
        blocks = range(int(query["fromBlock"], 16), int(query["toBlock"], 16) + 1)
        if len(blocks) > 10 and blocks.start >= FIRST:
            raise ValueError("too much at once")
        return [log for block in blocks for log in self._logs(block)]

    def _transaction(self, hash: str) -> dict[str, Any]:
        number = self._sent[hash]
        sender, to = {
            CREATED: (GOVERNOR, None),
            REGISTERED: (GOVERNOR, self.domain.authorities),
        }.get(number, (OPERATOR, self.domain.certificates))
        return {
            "hash": hash,
            "blockHash": str(self.hash(number)),
            "from": f"0x{sender.hex()}",
            "to": None if to is None else f"0x{to.hex()}",
        }


def serve(certificates: int) -> None:
    """Answer for the chain until somebody ends the process; print its URL and domain first."""
    chain = Chain(certificates)

    def answered(question: dict[str, Any]) -> dict[str, Any]:
        try:
            result = chain.answer(question["method"], question["params"])
        except ValueError as error:
            refusal = {"code": -32005, "message": str(error)}
            return {"jsonrpc": "2.0", "id": question["id"], "error": refusal}
        return {"jsonrpc": "2.0", "id": question["id"], "result": result}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told = [answered(q) for q in asked] if isinstance(asked, list) else answered(asked)
            body = json.dumps(told, separators=(",", ":")).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port} {chain.domain.id}", flush=True)
    # Ends with whoever started it.
    threading.Thread(target=_end_with_stdin, args=[server], daemon=True).start()
    server.serve_forever()


def _end_with_stdin(server: ThreadingHTTPServer) -> None:
    sys.stdin.read()
    server.shutdown()


def follow(url: str, domain: str) -> None:
    """Audit, and print what it took."""
    domain_id = DomainId.parse(domain)
    with tempfile.TemporaryDirectory() as folder, connect([url], domain_id) as (reader, found):
        started = time.perf_counter()
        with Index(Path(folder) / "index.sqlite", domain_id) as index:
            report = audit(reader, found, index)
        seconds = time.perf_counter() - started
    # Not ru_maxrss, which begins with what the process that started this one had.
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) // 1024
    print(json.dumps({"events": sum(report.counts.values()), "seconds": seconds, "memory": peak}))


def measure_audits(counts: Sequence[int] = COUNTS) -> list[AuditFigure]:
    """Audit domains with so many certificates, each in a process of its own.

    Raises:
        CalledProcessError: An audit failed.
    """
    figures = []
    for count in counts:
        command = [sys.executable, __file__, "--serve", "--certificates", str(count)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdin is not None
            assert server.stdout is not None
            url, domain = server.stdout.readline().split()
            done = subprocess.run(
                [sys.executable, __file__, "--follow", url, domain],
                check=True,
                capture_output=True,
                text=True,
            )
            server.stdin.close()
        took = json.loads(done.stdout)
        figures.append(AuditFigure(count, took["events"], took["seconds"], took["memory"]))
    return figures


def audits_section(figures: Sequence[AuditFigure]) -> list[str]:
    """Return the report's part about audits."""
    return [
        "## Audits",
        "",
        (
            "`dpki audit run` from the first block on, over a made-up chain with one CA and batches"
            " of 1,000, one in a block: everything that the auditor does, against a server that"
            " makes each answer when it is asked for (`scripts/bench_audit.py`), on the same"
            " machine. Memory is the auditor's process at its largest."
        ),
        "",
        "| certificates | events | time | events per second | memory |",
        "|---:|---:|---:|---:|---:|",
        *(
            f"| {f.certificates:,} | {f.events:,} | {f.seconds:.1f} s |"
            f" {f.events / f.seconds:,.0f} | {f.memory} MB |"
            for f in figures
        ),
        "",
    ]


def main() -> None:
    """Measure, and print the section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--certificates", type=int, help="how many; default: as in the report")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--follow", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.certificates)
    elif arguments.follow:
        follow(*arguments.follow)
    else:
        counts = (arguments.certificates,) if arguments.certificates else COUNTS
        print("\n".join(audits_section(measure_audits(counts))))


if __name__ == "__main__":
    main()
