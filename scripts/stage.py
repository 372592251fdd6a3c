"""The stage that the story plays on: a folder, processes, real sshd and ssh, and a sure end.

Everything lives under one fresh folder; every process that is started here carries that folder's
name in its environment, so that the end of the play can find even what a killed parent left
behind.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SSHD = "/usr/sbin/sshd"
MARK = "DPKI_STAGE"
"""Environment variable that marks every process of a stage."""
PERSONAL = ("DPKI_HOME", "SSH_", "SOFTHSM2_CONF", "IPFS_PATH")
"""Beginnings of environment variables of somebody's own set-up; they do not come along."""
COMMAND_DEADLINE = 90.0
"""Seconds after which a command counts as hung."""


class StepFailed(Exception):
    """Something did not go as told; the text says what, with the output of the command."""


@dataclass(frozen=True)
class Outcome:
    """What a finished command left."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str

    def describe(self) -> str:
        """Return the command, its exit status and what it printed."""
        parts = [f"$ {shlex.join(self.argv)}", f"exit status {self.status}"]
        parts += [text.rstrip() for text in (self.stdout, self.stderr) if text.strip()]
        return "\n".join(parts)


@dataclass(frozen=True)
class Client:
    """Somebody who logs in: a key, perhaps a certificate, and whom they trust.

    Attributes:
        key: Private key file; None to offer none at all.
        certificate: Certificate file; None to offer the bare key.
        known_hosts: The only known_hosts file that is asked.
        krl: RevokedHostKeys file, or None.
        name: What the host is looked up as, and what its certificate's principals must hold.
        agent: Socket of the ssh-agent that has the private half where `key` is a public one.
    """

    key: Path | None
    certificate: Path | None
    known_hosts: Path
    krl: Path | None
    name: str
    agent: Path | None = None


@dataclass
class Sshd:
    """A real sshd on loopback, in the foreground of its own session."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def starts(self) -> int:
        """How often it began to listen."""
        return self.log.read_text().count("Server listening on") if self.log.exists() else 0


@dataclass
class Stage:
    """One play's folder and processes. Use `open_stage`, which also ends it."""

    directory: Path
    account: str = field(default_factory=getpass.getuser)
    servers: list[Sshd] = field(default_factory=list)
    devnet: Path | None = None

    # --- commands -------------------------------------------------------------------------------

    def environment(self, **extra: str) -> dict[str, str]:
        """Return a command's environment: the caller's, with a HOME of its own, no dpki or ssh."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(PERSONAL)}
        home = self.directory / "nobody-home"
        home.mkdir(exist_ok=True)
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        kept |= {"HOME": str(home), "XDG_CACHE_HOME": cache, MARK: str(self.directory)}
        return kept | extra

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        expect: int | None = 0,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Outcome:
        """Run a command to its end.

        Args:
            expect: The exit status that the story tells; None to accept any.

        Raises:
            StepFailed: Another exit status, or no end within the deadline.
        """
        command = tuple(str(part) for part in argv)
        process = subprocess.Popen(
            command,
            env=dict(env) if env is not None else self.environment(),
            cwd=cwd or self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the play alone, which ends things in order
        )
        try:
            stdout, stderr = process.communicate(timeout=COMMAND_DEADLINE)
        except subprocess.TimeoutExpired:
            stop(process)
            raise StepFailed(
                f"$ {shlex.join(command)}\nno end after {COMMAND_DEADLINE:.0f} s"
            ) from None
        except BaseException:
            stop(process)
            raise
        outcome = Outcome(command, process.returncode, stdout, stderr)
        with (self.directory / "transcript.log").open("a") as transcript:
            transcript.write(outcome.describe() + "\n\n")
        if expect is not None and outcome.status != expect:
            raise StepFailed(f"expected exit status {expect}\n{outcome.describe()}")
        return outcome

    def dpki(
        self,
        *arguments: str | Path,
        expect: int | None = 0,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> dict[str, Any]:
        """Run the real `dpki … --json` and return its document.

        Raises:
            StepFailed: Another exit status than `expect`, or no JSON on stdout.
        """
        outcome = self.run([dpki_command(), *arguments, "--json"], expect=expect, env=env, cwd=cwd)
        try:
            document = json.loads(outcome.stdout)
        except json.JSONDecodeError:
            raise StepFailed(f"no JSON document on stdout\n{outcome.describe()}") from None
        return document if isinstance(document, dict) else {"items": document}

    def make_key(self, path: Path, kind: str = "ed25519") -> Path:
        """Make an ordinary SSH key pair with ssh-keygen; return the private key's path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", path.name, "-f", path])
        return path

    # --- sshd and ssh ---------------------------------------------------------------------------

    def start_sshd(self, name: str, lines: Sequence[str], *, include: Path | None = None) -> Sshd:
        """Start a real sshd on a free loopback port; it is listening when this returns.

        Args:
            name: Names its files.
            lines: What its configuration says beyond where it listens.
            include: A drop-in that is read first, whether or not it exists yet.
        """
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(
                mode=0o755, exist_ok=True
            )  # sshd's privilege separation needs it
        folder = self.directory / f"sshd-{name}"
        folder.mkdir()
        port = free_port()
        config, log = folder / "sshd_config", folder / "log"
        config.write_text(
            "\n".join(
                [
                    *([f"Include {include}"] if include else []),
                    f"Port {port}",
                    "ListenAddress 127.0.0.1",
                    f"PidFile {folder / 'pid'}",
                    "UsePAM no",
                    "StrictModes no",  # the stage's folder may lie under a sticky /tmp
                    "PasswordAuthentication no",
                    "KbdInteractiveAuthentication no",
                    "LogLevel VERBOSE",
                    *lines,
                    "",
                ]
            )
        )
        self.run([SSHD, "-t", "-f", config])
        with log.open("ab") as errors:  # where the login command says why it refuses
            process = subprocess.Popen(
                [SSHD, "-D", "-f", config, "-E", log],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        server = Sshd(process, port, log)
        self.servers.append(server)
        self.wait_listening(server)
        return server

    def wait_listening(self, server: Sshd, starts: int = 1) -> None:
        """Return once the server listens for the `starts`-th time; a SIGHUP makes it start again.

        Asked of its log, because while a SIGHUP is under way the old listener still answers.

        Raises:
            StepFailed: It died, or does not listen within ten seconds.
        """
        until = time.monotonic() + 10
        while time.monotonic() < until and server.process.poll() is None:
            if server.starts >= starts:
                return
            time.sleep(0.01)
        log = server.log.read_text() if server.log.exists() else "no log"
        raise StepFailed(f"sshd does not listen\n{log}")

    def ssh(self, server: Sshd, client: Client, *, account: str | None = None) -> Outcome:
        """Log in and say a word; return what came of it, whatever it was."""
        return self.run(self.ssh_command(server, client, "echo logged-in", account), expect=None)

    def ssh_command(
        self, server: Sshd, client: Client, command: str, account: str | None = None
    ) -> list[str | Path]:
        """Return the words of an ssh that runs a command there, and reads no file but its own."""
        options = {
            "UserKnownHostsFile": client.known_hosts,
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "UpdateHostKeys": "no",
            "HostKeyAlias": client.name,
            "IdentitiesOnly": "yes",
            "IdentityAgent": client.agent or "none",
            "PreferredAuthentications": "publickey",
            "BatchMode": "yes",
            "ConnectTimeout": "10",
            "RevokedHostKeys": client.krl or "none",
        }
        key = client.key
        if client.certificate:
            options["CertificateFile"] = client.certificate
        elif key:
            key = self.bare_copy(key)
        argv: list[str | Path] = ["ssh", "-F", "none", "-p", str(server.port)]
        argv += ["-i", key or "none"]
        for name, value in options.items():
            argv += ["-o", f"{name}={value}"]
        return [*argv, f"{account or self.account}@127.0.0.1", command]

    def bare_copy(self, key: Path) -> Path:
        """Copy a key to where no certificate lies beside it, which ssh would offer unasked."""
        folder = self.directory / "bare"
        folder.mkdir(exist_ok=True)
        copy = folder / key.name
        copy.unlink(missing_ok=True)
        copy.touch(0o600)
        copy.write_bytes(key.read_bytes())
        return copy

    def stop_sshd(self, server: Sshd) -> None:
        """Stop one of the servers."""
        stop(server.process)
        self.servers.remove(server)

    # --- the chain, asked directly --------------------------------------------------------------

    def rpc(self, url: str, method: str, *params: object) -> Any:
        """Ask a JSON-RPC endpoint without any of dpki's own code: the story's second opinion."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = json.load(response)
        if "error" in answer:
            raise StepFailed(f"{method}: {answer['error']}")
        return answer["result"]

    def transactions(self, url: str) -> list[str]:
        """Return the hashes of all transactions on a development chain, oldest first."""
        head = int(self.rpc(url, "eth_blockNumber"), 16)
        return [
            transaction
            for number in range(head + 1)
            for transaction in self.rpc(url, "eth_getBlockByNumber", hex(number), False)[
                "transactions"
            ]
        ]

    # --- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop everything that was started here. Never raises for what is already gone."""
        for server in self.servers:
            stop(server.process)
        if self.devnet is not None and self.devnet.exists():
            with contextlib.suppress(StepFailed):
                self.run([dpki_command(), "devnet", "down", "--dir", self.devnet], expect=None)
        stop_marked(self.directory)


@contextlib.contextmanager
def open_stage(*, keep: bool = False) -> Iterator[Stage]:
    """Make a fresh stage and end it, whatever happens inside.

    The folder can be entered by everybody, because sshd asks its login command as an unprivileged
    user; what is private in it has its own permissions.

    Args:
        keep: Leave the folder for a look.
    """
    directory = Path(tempfile.mkdtemp(prefix="dpki-story-")).resolve()
    directory.chmod(0o755)
    stage = Stage(directory)
    try:
        yield stage
    finally:
        stage.close()
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)


def dpki_command() -> str:
    """Return the `dpki` command of the running Python's environment."""
    return str(Path(sys.executable).parent / "dpki")


def free_port() -> int:
    """Return a loopback TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def stop(process: subprocess.Popen[Any], *, grace: float = 10.0) -> None:
    """End a child: politely first, by force after `grace` seconds."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def marked_processes(directory: Path) -> list[int]:
    """Return the ids of living processes of a stage in `directory`, whoever their parent is."""
    mark = f"{MARK}={directory}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            title = (entry / "cmdline").read_bytes()
            # sshd writes its title over its environment; a listener's names its configuration.
            is_server = title.startswith(b"sshd:") and str(directory).encode() in title
            if not is_server and mark not in (entry / "environ").read_bytes().split(b"\0"):
                continue
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:  # gone meanwhile, or somebody else's
            continue
        if state != "Z":
            found.append(int(entry.name))
    return found


def stop_marked(directory: Path, *, grace: float = 5.0) -> None:
    """End what a stage in `directory` still has running, politely first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + grace
        for pid in marked_processes(directory):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        while marked_processes(directory) and time.monotonic() < until:
            time.sleep(0.05)
        if not marked_processes(directory):
            return
