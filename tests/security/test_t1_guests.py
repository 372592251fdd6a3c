"""T1: a guest of five minutes leaves himself no way back in.

Inside, he may write whatever the account may write. What lets somebody in lies outside: it is the
agent's. Each way is shown to work where strict mode is not, so that its failure means something.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from dpki.agent.decide import decide
from dpki.certificates.keys import public_key_line
from dpki.certificates.principals import account_principal
from dpki.certificates.profile import END_SESSIONS
from dpki.model import Address
from scripts.stage import Outcome
from tests.device import DEVICE, Device, open_device
from tests.world import Ca

OTHER = Address(b"\xbb" * 20)


@pytest.fixture
def device() -> Iterator[Device]:
    with open_device() as made:
        yield made


def grant(device: Device, *extensions: str) -> Path:
    """Give somebody the account on this device, as `dpki ssh grant` does."""
    principal = account_principal(device.stage.account, DEVICE)
    certificate, key = device.sign(principal=principal, extensions=("permit-pty", *extensions))
    device.anchor(certificate)
    device.update()
    return key


def inside(device: Device, key: Path, command: str, *options: str) -> Outcome:
    """Run a command in a session, with more of ssh's options."""
    server, client = device.meet(key)
    ssh, *words = device.stage.ssh_command(server, client, command)
    return device.stage.run([ssh, *options, *words], expect=None)


def refused(device: Device, key: Path, *, with_certificate: bool = True) -> bool:
    outcome = device.login(key, with_certificate=with_certificate)
    assert outcome.status in (0, 255), outcome.describe()
    return "Permission denied" in outcome.stderr


class TestWhereItCounts:
    def test_on_its_device_and_its_account(self, device: Device) -> None:
        assert device.login(grant(device)).stdout == "logged-in\n"

    @pytest.mark.parametrize(
        "principal",
        [
            account_principal("root-of-something-else", DEVICE),
            f"device:0x{DEVICE.hex()}",
            account_principal("{account}", OTHER),
            account_principal("{account}", DEVICE) + "0",
            "{account}",
        ],
    )
    def test_nowhere_else(self, device: Device, principal: str) -> None:
        name = principal.replace("{account}", device.stage.account)
        certificate, key = device.sign(principal=name)
        device.anchor(certificate)
        device.update()
        assert refused(device, key)

    def test_not_by_a_ca_that_has_nothing_to_say_about_the_account(self, device: Device) -> None:
        """It is of this domain, its operator anchors, and no account of this device names it."""
        stranger = Ca.users()
        stranger.registered_at = device.users.registered_at
        device.others.append(stranger)
        plan = device.plan()
        assert stranger.id in {a.id for a in plan.index.authorities}
        assert stranger.id not in {access.authority for access in plan.index.access}

    def test_a_device_that_names_nobody_lets_nobody_in(self, device: Device) -> None:
        closed = replace(device.config, accounts={})
        observation = device.observation()
        assert decide(closed, DEVICE, observation, device.now).index.access == ()


class TestWaysBack:
    """The account's own configuration names files that a guest can write."""

    @pytest.fixture
    def home(self, device: Device) -> Path:
        home = device.stage.directory / "home" / ".ssh"
        home.mkdir(parents=True)
        with device.main_config.open("a") as main:
            main.write(
                f"AuthorizedKeysFile {home}/authorized_keys\n"
                f"AuthorizedPrincipalsFile {home}/principals\n"
                f"TrustedUserCAKeys {home}/ca.pub\n"
                f"RevokedKeys {home}/revoked\n"
                "PermitUserRC yes\nPermitUserEnvironment yes\n"
            )
        return home

    def start(self, device: Device) -> None:
        device.server = device.stage.start_sshd("device", [], include=device.main_config)

    def test_none_of_the_files_is_asked(self, device: Device, home: Path) -> None:
        key = grant(device)
        self.start(device)
        own = Ca.users()
        _, way_back = device.sign(own, principal=device.stage.account)
        line = way_back.with_name(f"{way_back.name}.pub").read_text().strip()
        ca_line = device.stage.directory / "own-ca.pub"
        ca_line.write_text(public_key_line(own.blob) + "\n")
        script = "; ".join(
            [
                f"echo {shlex.quote(line)} > {home}/authorized_keys",
                f"(echo -n 'cert-authority '; cat {ca_line}) >> {home}/authorized_keys",
                f"echo {device.stage.account} > {home}/principals",
                f"cp {ca_line} {home}/ca.pub",
                f": > {home}/revoked",
            ]
        )
        assert inside(device, key, script).status == 0
        assert (home / "authorized_keys").read_text().count("\n") == 2
        device.users.revoked.add(1)
        device.update()
        assert refused(device, key)
        assert refused(device, way_back, with_certificate=False)
        assert refused(device, way_back)
        # They are ways in, where strict mode does not stand before them.
        device.stage.stop_sshd(device.server)  # type: ignore[arg-type]
        device.drop_in.unlink()
        certificate = next(device.files.glob("host-*-cert.pub"))
        plain = f"HostKey {str(certificate).removesuffix('-cert.pub')}"
        certified = f"HostCertificate {certificate}"
        device.server = device.stage.start_sshd(
            "open", [plain, certified], include=device.main_config
        )
        assert not refused(device, way_back, with_certificate=False)
        assert not refused(device, way_back)


class TestWhatAGrantDoesNotGive:
    def test_no_forwarding_and_no_agent(self, device: Device) -> None:
        key = grant(device)
        back = ("-o", "ExitOnForwardFailure=yes", "-R", "127.0.0.1:0:127.0.0.1:1")
        agent = device.stage.directory / "agent"
        started = subprocess.Popen(["ssh-agent", "-D", "-a", agent], stdout=subprocess.DEVNULL)
        try:
            shown = inside(
                device, key, "echo ${SSH_AUTH_SOCK:-no-agent}", "-o", f"ForwardAgent={agent}"
            )
        finally:
            started.kill()
            started.wait()
        assert shown.stdout == "no-agent\n", shown.describe()
        outcome = inside(device, key, "echo in", *back)
        assert outcome.status == 255
        assert "forwarding failed" in outcome.stderr
        asked_for = grant(device, "permit-port-forwarding")
        assert inside(device, asked_for, "echo in", *back).stdout == "in\n"

    def test_a_connection_that_is_kept_for_more_sessions_ends_too(self, device: Device) -> None:
        """ControlMaster: further sessions over one connection ask sshd for nothing."""
        key = grant(device, END_SESSIONS)
        server, client = device.meet(key)
        words = device.stage.ssh_command(server, client, "echo in")
        socket = device.stage.directory / "m"
        shared = ("-o", f"ControlPath={socket}")
        told = ["-o", "PermitLocalCommand=yes", "-o", "LocalCommand=echo listening"]
        process = subprocess.Popen(
            [words[0], *shared, *told, "-o", "ControlMaster=yes", "-N", *words[1:-1]],
            env=device.stage.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n"
            assert inside(device, key, "echo in", *shared).stdout == "in\n"
            device.now += timedelta(hours=2)
            assert device.update().ended
            assert process.wait(20) != 0
            again = inside(device, key, "echo in", *shared)
            assert "Permission denied" in again.stderr
        finally:
            process.kill()
            process.communicate()
