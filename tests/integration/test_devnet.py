"""The development network: real Anvil, Kubo and SoftHSM, and that nothing of them stays behind."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.bundle.cid import cid_of, digest_of
from dpki.chain import decode
from dpki.chain.rpc import Endpoint, fetch_block
from dpki.devnet import devnet as module
from dpki.devnet.devnet import TOKEN_LABEL, Devnet, Ipfs, down, up
from dpki.devnet.softhsm import create_softhsm, create_token
from dpki.devnet.state import DevnetState, load_state
from dpki.errors import ServiceFailed, UsageError
from dpki.http import Deadline, HttpClient
from tests.soft_tokens import SoftHsmFolder


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devnet]:
    with Devnet(tmp_path_factory.mktemp("devnet")) as devnet:
        yield devnet


def ask(method: str, url: str, content: bytes = b"", kind: str = "") -> tuple[int, bytes]:
    client = HttpClient()
    try:
        response = client.request(
            method,
            url,
            headers={"Content-Type": kind} if kind else {},
            content=content,
            deadline=Deadline(timedelta(seconds=20)),
            limit=1 << 20,
        )
        return response.status, response.body
    finally:
        client.close()


def put(api: str, data: bytes) -> None:
    boundary = "b0undary"
    disposition = 'Content-Disposition: form-data; name="file"; filename="f"'
    body = (
        f"--{boundary}\r\n{disposition}\r\n\r\n".encode()
        + data
        + f"\r\n--{boundary}--\r\n".encode()
    )
    url = f"{api}/api/v0/block/put?cid-codec=raw&mhtype=sha2-256&pin=true"
    status, _ = ask("POST", url, body, f"multipart/form-data; boundary={boundary}")
    assert status == 200


class TestRunning:
    def test_the_chain_is_anvil_s(self, running: Devnet) -> None:
        with Endpoint(running.state.rpc) as endpoint:
            assert (
                decode.quantity(endpoint.call("eth_chainId"), "") == running.state.chain_id == 31337
            )
            assert "anvil" in str(endpoint.call("web3_clientVersion"))
            for account in running.state.accounts:
                balance = decode.quantity(endpoint.call("eth_getBalance", [account, "latest"]), "")
                assert balance == 10_000 * 10**18

    def test_what_is_put_on_one_node_is_read_from_the_other_s_gateway(
        self, running: Devnet
    ) -> None:
        first, second = running.state.ipfs
        data = os.urandom(2000)
        put(first.api, data)
        status, body = ask("GET", f"{second.gateway}/ipfs/{cid_of(digest_of(data))}?format=raw")
        assert (status, body) == (200, data)

    def test_content_that_nobody_has_is_not_waited_for_by_the_node(self, running: Devnet) -> None:
        """Offline reading of one node only: that the nodes know nobody else."""
        for node in running.state.ipfs:
            status, body = ask("POST", f"{node.api}/api/v0/swarm/peers")
            assert status == 200
            assert body.count(b'"Addr"') == 1
            assert b"/ip4/127.0.0.1/" in body
            _, body = ask("POST", f"{node.api}/api/v0/bootstrap/list")
            assert b"/ip4" not in body
            assert b"/dnsaddr" not in body

    def test_everything_listens_on_loopback_only(self, running: Devnet) -> None:
        pids = [child for process in running.state.processes for child in family(process.pid)]
        found = [address for pid in pids for address in listening(pid)]
        assert len(found) >= 7
        assert set(found) == {"127.0.0.1"}

    def test_the_token_opens_with_its_pin(self, running: Devnet, tmp_path: Path) -> None:
        token = running.state.token
        assert token is not None
        assert token.pin_file.stat().st_mode & 0o777 == 0o600
        # In a process of its own: SoftHSM reads its configuration once.
        program = (
            "import pkcs11, sys; from pathlib import Path; "
            "token = pkcs11.lib(sys.argv[1]).get_token(token_label=sys.argv[2]); "
            "token.open(user_pin=Path(sys.argv[3]).read_text()).close(); print('open')"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(token.module), token.label, str(token.pin_file)],
            env={**os.environ, **token.environment},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "open\n"

    def test_every_process_has_a_private_log(self, running: Devnet) -> None:
        logs = sorted(path.name for path in running.state.logs.iterdir())
        assert logs == ["anvil.log", "kubo-0.log", "kubo-1.log"]
        assert all(p.stat().st_mode & 0o777 == 0o600 for p in running.state.logs.iterdir())


class TestOptions:
    @pytest.mark.parametrize(("optimism", "rules"), [(False, "Prague"), (True, "Jovian")])
    def test_by_whose_rules(self, tmp_path: Path, optimism: bool, rules: str) -> None:
        """Jovian is the OP stack's."""
        with Devnet(tmp_path, ipfs=Ipfs.OFF, token=False, optimism=optimism) as devnet:
            assert devnet.state.optimism == optimism
            assert (devnet.state.ipfs, devnet.state.token) == ((), None)
            with Endpoint(devnet.state.rpc) as endpoint:
                info = endpoint.call("anvil_nodeInfo")
                assert isinstance(info, dict)
                assert info["hardFork"] == rules

    def test_a_block_time(self, tmp_path: Path) -> None:
        with (
            Devnet(tmp_path, ipfs=Ipfs.OFF, token=False, block_time=1) as devnet,
            Endpoint(devnet.state.rpc) as endpoint,
        ):
            until(lambda: fetch_block(endpoint, 1) is not None)

    def test_without_kubo(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DPKI_KUBO", "/nowhere/ipfs")
        with Devnet(tmp_path, ipfs=Ipfs.OPTIONAL, token=False) as devnet:
            assert devnet.state.ipfs == ()
            assert "Kubo, the IPFS node, is not installed" in devnet.missing
            assert "has no IPFS" in devnet.missing
        with pytest.raises(ServiceFailed, match="Kubo") as caught:
            Devnet(tmp_path, token=False).start()
        assert "DPKI_KUBO" in caught.value.hint
        assert "dist.ipfs.tech" in caught.value.hint

    def test_only_while_it_runs(self, tmp_path: Path) -> None:
        with pytest.raises(ServiceFailed, match="not running"):
            _ = Devnet(tmp_path).state


class TestEnd:
    def test_nothing_is_left_after_the_block(self, tmp_path: Path) -> None:
        with Devnet(tmp_path) as devnet:
            family_of = everybody(devnet.state)
            assert all(alive(pid) for pid in family_of)
        assert not any(alive(pid) for pid in family_of)

    def test_nothing_is_left_when_something_does_not_start(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started: list[int] = []
        original = module.start_nodes

        def remember(*args: object, **kwargs: object) -> object:
            nodes = original(*args, **kwargs)  # type: ignore[arg-type]
            started.extend(node.identity.pid for node in nodes)
            return nodes

        monkeypatch.setattr(module, "start_nodes", remember)
        monkeypatch.setenv("DPKI_ANVIL", "false")
        with pytest.raises(ServiceFailed, match="Anvil ended while starting"):
            Devnet(tmp_path).start()
        assert len(started) == 2
        assert not any(alive(pid) for pid in started)

    def test_nothing_is_left_of_a_parent_that_was_killed(self, tmp_path: Path) -> None:
        program = (
            "import sys, time; from pathlib import Path; from dpki.devnet.devnet import Devnet; "
            "devnet = Devnet(Path(sys.argv[1])); state = devnet.start(); "
            "print(*[p.pid for p in state.processes], flush=True); time.sleep(600)"
        )
        parent = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert parent.stdout is not None
        supervisors = [int(pid) for pid in parent.stdout.readline().split()]
        pids = [pid for supervisor in supervisors for pid in family(supervisor)]
        assert len(pids) == 6
        parent.kill()
        parent.wait()
        parent.stdout.close()
        until(lambda: not any(alive(pid) for pid in pids))


class TestDetached:
    def test_up_and_down(self, tmp_path: Path) -> None:
        state, missing = up(tmp_path)
        try:
            assert missing == ""
            assert load_state(tmp_path) == state
            pids = everybody(state)
            with pytest.raises(UsageError, match=r"runs in .* already"):
                up(tmp_path)
            with Endpoint(state.rpc) as endpoint:
                endpoint.call("eth_chainId")
        finally:
            stopped = down(tmp_path)
        assert sorted(stopped) == ["Anvil", "Kubo (kubo-0)", "Kubo (kubo-1)"]
        assert not any(alive(pid) for pid in pids)
        with pytest.raises(UsageError, match="no devnet"):
            down(tmp_path)

    def test_it_outlives_who_started_it(self, tmp_path: Path) -> None:
        program = (
            "import sys; from pathlib import Path; from dpki.devnet.devnet import Ipfs, up; "
            "up(Path(sys.argv[1]), ipfs=Ipfs.OFF)"
        )
        subprocess.run([sys.executable, "-W", "error", "-c", program, str(tmp_path)], check=True)
        state = load_state(tmp_path)
        assert state is not None
        with Endpoint(state.rpc) as endpoint:
            endpoint.call("eth_chainId")
        assert down(tmp_path) == ("Anvil",)

    def test_token_and_content_are_taken_up_again(self, tmp_path: Path) -> None:
        first, _ = up(tmp_path)
        assert first.token is not None
        pin, data = first.token.pin_file.read_text(), b"kept"
        put(first.ipfs[0].api, data)
        down(tmp_path)
        second, _ = up(tmp_path)
        try:
            assert second.token == first.token
            assert first.token.pin_file.read_text() == pin
            assert tokens(first.token.environment["SOFTHSM2_CONF"]).count(TOKEN_LABEL) == 1
            url = f"{second.ipfs[1].gateway}/ipfs/{cid_of(digest_of(data))}?format=raw"
            assert ask("GET", url) == (200, data)
        finally:
            down(tmp_path, remove=True)
        assert not tmp_path.exists()

    def test_a_process_that_died_does_not_hold_up_the_rest(self, tmp_path: Path) -> None:
        state, _ = up(tmp_path)
        anvil = next(p for p in state.processes if p.name == "Anvil")
        os.kill(anvil.pid, signal.SIGKILL)
        until(lambda: not alive(anvil.pid))
        assert "Anvil" not in down(tmp_path)
        assert not any(alive(process.pid) for process in state.processes)


class TestSoftHsm:
    def test_the_pin_is_in_nobody_s_arguments(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A program of the same name writes down its arguments, and does the work."""
        real = subprocess.run(
            ["which", "softhsm2-util"], capture_output=True, text=True, check=True
        )
        spy = tmp_path / "bin" / "softhsm2-util"
        spy.parent.mkdir()
        spy.write_text(
            f'#!/bin/sh\necho "$@" >> {tmp_path}/arguments\nexec {real.stdout.strip()} "$@"\n'
        )
        spy.chmod(0o700)
        monkeypatch.setenv("PATH", f"{spy.parent}:{os.environ['PATH']}")
        hsm = create_softhsm(tmp_path / "hsm")
        token = create_token(hsm, "secret keeper", tmp_path / "pin", pin="9472-hunter")
        assert (tmp_path / "arguments").read_text() == "--init-token --free --label secret keeper\n"
        assert token.pin_file.read_text() == "9472-hunter"
        assert "secret keeper" in tokens(str(hsm.configuration))

    @pytest.mark.parametrize(("label", "pin"), [("x", "123"), ("x" * 33, "12345678")])
    def test_what_it_refuses(self, tmp_path: Path, label: str, pin: str) -> None:
        hsm = create_softhsm(tmp_path / "hsm")
        with pytest.raises(ServiceFailed, match="could not initialise") as caught:
            create_token(hsm, label, tmp_path / "pin", pin=pin)
        assert pin not in caught.value.message.replace(label, "")
        assert not (tmp_path / "pin").exists()

    def test_several_tokens(self, tmp_path: Path, softhsm: SoftHsmFolder) -> None:
        hsm = create_softhsm(tmp_path / "hsm")
        for label in ("one", "two"):
            create_token(hsm, label, tmp_path / label)
        assert {"one", "two"} <= set(tokens(str(hsm.configuration)))


def tokens(configuration: str) -> list[str]:
    """Return the labels that softhsm2-util shows."""
    shown = subprocess.run(
        ["softhsm2-util", "--show-slots"],
        env={**os.environ, "SOFTHSM2_CONF": configuration},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [line.split(":", 1)[1].strip() for line in shown.splitlines() if "Label:" in line]


def family(pid: int) -> list[int]:
    """Return a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def everybody(state: DevnetState) -> list[int]:
    return [pid for process in state.processes for pid in family(process.pid)]


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat[stat.rindex(")") + 2] != "Z"


def listening(pid: int) -> list[str]:
    """Return the addresses that a process listens on, from /proc (proc(5), net/tcp)."""
    sockets = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            sockets.add(str(entry.readlink()))
    found = []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            is_listening = fields[3] == "0A" or table.startswith("udp")
            if is_listening and f"socket:[{fields[9]}]" in sockets:
                raw = bytes.fromhex(fields[1].split(":")[0])
                found.append(".".join(map(str, raw[::-1])) if len(raw) == 4 else raw.hex())
    return found


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.01)


def test_the_cid_is_the_digest() -> None:
    """So that the tests above read what they put."""
    assert digest_of(b"kept") == hashlib.sha256(b"kept").digest()
