"""What goes wrong in the soak: gateway, endpoint, device, and somebody with an editor."""

from __future__ import annotations

import http.server
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dpki.agent.once import run_once
from dpki.bundle.cid import digest_of_cid
from dpki.chain.rpc import Call
from dpki.errors import DpkiError
from dpki.store.directory import DirectoryStore
from scripts.soak_device import Device
from tests.relay import Relay, honest

GATEWAY_FAULTS = ("slow", "huge", "wrong", "gone")


class Gateway:
    """An IPFS gateway over a folder, as good or as bad as it is told.

    Attributes:
        mood: One of `GATEWAY_FAULTS`, or nothing.
    """

    def __init__(self, folder: Path) -> None:
        self.mood = ""
        self._store = DirectoryStore(folder)
        self._over = threading.Event()
        gateway = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with suppress(OSError):
                    gateway._answer(self)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """End it."""
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        mood = self.mood
        if mood == "gone":
            request.connection.close()
            return
        try:
            cid = request.path.split("?")[0].rpartition("/")[2]
            content = self._store.fetch(digest_of_cid(cid), timedelta(seconds=10))
        except DpkiError:
            request.send_error(404)
            return
        if mood == "wrong":
            content = bytes([content[0] ^ 1]) + content[1:]
        request.send_response(200)
        request.send_header("Content-Type", "application/vnd.ipld.raw")
        if mood == "huge":
            request.end_headers()
            while not self._over.is_set() and self.mood == "huge":
                request.wfile.write(bytes(1 << 16))
            return
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        for start in range(len(content)):
            if mood == "slow" and self.mood == "slow" and self._over.wait(1):
                return
            if mood != "slow":
                request.wfile.write(content[start:])
                return
            request.wfile.write(content[start : start + 1])


def absurd_head(call: Call, answer: object) -> object:
    """Lie that the chain is far ahead."""
    if call.method == "eth_getBlockByNumber" and isinstance(answer, dict):
        return answer | {"number": hex(2**62), "timestamp": hex(2**33)}
    return answer


def other_fork(call: Call, answer: object) -> object:
    """Tell of blocks with hashes that nobody knows."""
    if call.method == "eth_getBlockByNumber" and isinstance(answer, dict):
        return answer | {"hash": "0x" + "66" * 32}
    return answer


def nothing_there(call: Call, answer: object) -> object:
    """Tell that everything which is stored is zero, and that there are no events."""
    if call.method == "eth_getStorageAt":
        return "0x" + "00" * 32
    return [] if call.method == "eth_getLogs" else answer


def back_in_time(relay: Relay, blocks: int) -> Callable[[Call, object], object]:
    """Return what takes an older block for the newest."""
    found: Any = relay.chain.call("eth_blockNumber")
    old = hex(max(int(found, 16) - blocks, 1))

    def tell(call: Call, answer: object) -> object:
        if call.method == "eth_blockNumber":
            return old
        if call.method == "eth_getBlockByNumber" and call.params[0] in ("latest", "safe"):
            return relay.chain.call(call.method, [old, *call.params[1:]])
        return answer

    return tell


@dataclass
class Faults:
    """Everything that can go wrong, and be healed.

    Attributes:
        steady: A device that is never ended, and has to do with bad servers only.
        troubled: One that everything happens to.
    """

    chance: random.Random
    relay: Relay
    gateway: Gateway
    steady: Device
    troubled: Device
    is_stopped: bool = False
    is_full: bool = False
    good_settings: str = ""
    good_main: str = ""

    def happen(self) -> str:
        """Let something go wrong; return what."""
        kinds: list[Callable[[], str]] = [
            self.endpoint,
            self.endpoint,
            self.at_the_gateway,
            self.kill,
            self.kill,
            self.hold,
            self.full_disk,
            self.bad_settings,
            self.clock,
            self.tamper,
            self.tamper,
            self.settings_of_others,
        ]
        return self.chance.choice(kinds)()

    @property
    def chain_is_reachable(self) -> bool:
        """Whether agents hear the truth of the chain."""
        return not (self.relay.is_gone or self.relay.hangs) and self.relay.tell is honest

    def endpoint(self) -> str:
        """Let the endpoint fail, in one way or another."""
        self._heal_endpoint()
        kind = self.chance.choice(["gone", "hangs", "absurd head", "back in time", "fork", "empty"])
        if kind == "gone":
            self.relay.is_gone = True
        elif kind == "hangs":
            self.relay.hangs = True
        else:
            self.relay.tell = {
                "absurd head": absurd_head,
                "back in time": back_in_time(self.relay, self.chance.randint(2, 12)),
                "fork": other_fork,
                "empty": nothing_there,
            }[kind]
        return f"the endpoint: {kind}"

    def at_the_gateway(self) -> str:
        """Let the gateway fail."""
        self.gateway.mood = self.chance.choice(GATEWAY_FAULTS)
        return f"the gateway: {self.gateway.mood}"

    def kill(self) -> str:
        """Kill the troubled agent at whatever it is doing, and start it again."""
        # Not always right after what happened last.
        time.sleep(self.chance.random())
        self.troubled.stop(signal.SIGKILL)
        # What runs keeps its settings when new ones are wrong; nothing starts with wrong ones.
        self._mend_settings()
        self.troubled.start()
        self.is_stopped = self.is_full = False
        return "the agent was killed and started"

    def hold(self) -> str:
        """Stop the troubled agent in its tracks."""
        self.troubled.tell(signal.SIGSTOP)
        self.is_stopped = True
        return "the agent was stopped (SIGSTOP)"

    def full_disk(self) -> str:
        """Let the troubled agent write nothing."""
        self.troubled.refuse_writing(refused=True)
        self.is_full = True
        return "the agent's disk takes nothing"

    def bad_settings(self) -> str:
        """Break the troubled device's settings, and have them read."""
        path = self.troubled.site.folder / "device.toml"
        if not self.good_settings:
            self.good_settings = path.read_text()
            path.write_text(self.good_settings + '\ntypo = "yes\n')
        self.troubled.tell(signal.SIGHUP)
        return "device.toml has an error, SIGHUP"

    def clock(self) -> str:
        """Start the troubled device anew with another idea of now."""
        jump = self.chance.choice([timedelta(days=-20000), timedelta(days=20000), timedelta(1)])
        self.troubled.stop()
        self._mend_settings()
        with suppress(DpkiError):
            run_once(self.troubled.site.folder, now=datetime.now(UTC) + jump)
        self.troubled.start()
        self.is_stopped = self.is_full = False
        return f"the clock jumped by {jump.days} days and back"

    def tamper(self) -> str:
        """Change a file behind the troubled agent's back."""
        files, config = self.troubled.site.files, self.troubled.site.config.sshd
        path = self.chance.choice(
            [
                files.krl,
                files.login_index,
                files.user_authorities,
                files.login_command,
                config.drop_in,
            ]
        )
        how = self.chance.choice(["emptied", "removed", "spoilt", "made writable"])
        self.troubled.was_tampered = True
        with suppress(OSError):
            if how == "emptied":
                path.write_bytes(b"")
            elif how == "removed":
                path.unlink()
            elif how == "spoilt":
                path.write_bytes(path.read_bytes()[:-7] + b"garbage")
            else:
                path.chmod(0o666)
        return f"{path.name} was {how}"

    def settings_of_others(self) -> str:
        """Put a setting of somebody else's before the agent's, in sshd's own configuration."""
        main = self.troubled.site.config.sshd.config
        if not self.good_main:
            self.good_main = main.read_text()
            main.write_text(f"AuthorizedKeysFile /tmp/somebody-elses\n{self.good_main}")
        return "somebody else's AuthorizedKeysFile stands before the agent's settings"

    def restore_settings(self) -> None:
        """Mend the troubled device's settings, and have them read."""
        if self._mend_settings():
            self.troubled.tell(signal.SIGHUP)

    def _mend_settings(self) -> bool:
        """Mend the troubled device's settings; return whether they were wrong."""
        were_wrong = bool(self.good_settings)
        if were_wrong:
            (self.troubled.site.folder / "device.toml").write_text(self.good_settings)
            self.good_settings = ""
        return were_wrong

    def heal(self, *, drift: bool = False) -> None:
        """Let everything be well again.

        Args:
            drift: Leave what somebody else set in sshd's configuration.
        """
        self._heal_endpoint()
        self.gateway.mood = ""
        self.restore_settings()
        if self.good_main and not drift:
            self.troubled.site.config.sshd.config.write_text(self.good_main)
            self.good_main = ""
        if self.is_full:
            self.troubled.refuse_writing(refused=False)
        if self.is_stopped:
            self.troubled.tell(signal.SIGCONT)
        self.is_full = self.is_stopped = False

    def _heal_endpoint(self) -> None:
        self.relay.is_gone = self.relay.hangs = False
        self.relay.tell = honest
        # What it was asked in an hour would fill the memory.
        self.relay.server.questions.clear()
        self.relay.server.headers.clear()
