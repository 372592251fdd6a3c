"""What stands before every option that anybody else chooses, as ssh itself reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dpki.strict_ssh import STRICT, _strict_where_known, ssh_command


def test_without_anything_else() -> None:
    words = ssh_command()
    assert words[0] == "ssh"
    assert "-F" not in words
    assert tuple(words[2::2])[: len(STRICT)] == STRICT


@pytest.mark.parametrize("is_known", [True, False])
def test_an_option_of_some_only_is_given_to_those(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_known: bool
) -> None:
    """Debian's ssh and others let Kerberos stand in for a host key; OpenSSH's own ends at it."""
    ssh = tmp_path / "ssh"
    name = "gssapikeyexchange" if is_known else "gssapiauthentication"
    ssh.write_text(f"#!/bin/sh\nprintf 'host host.invalid\\n{name} no\\n'\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    _strict_where_known.cache_clear()
    assert ("GSSAPIKeyExchange=no" in ssh_command()) is is_known
    ssh.unlink()
    _strict_where_known.cache_clear()


def test_without_ssh_nothing_more_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    _strict_where_known.cache_clear()
    assert ssh_command()[0] == "ssh"
    _strict_where_known.cache_clear()


def test_neither_a_file_nor_further_options_weaken_it(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "Host *\nStrictHostKeyChecking no\nForwardAgent yes\nPermitLocalCommand yes\n"
        "LocalCommand id\nBatchMode no\nUpdateHostKeys yes\nRequestTTY force\n"
        "VerifyHostKeyDNS yes\nNoHostAuthenticationForLocalhost yes\nControlPath /tmp/shared\n"
        "ControlMaster auto\nGSSAPIDelegateCredentials yes\n"
        # Of some distributions' alone.
        "IgnoreUnknown GSSAPIKeyExchange\nGSSAPIKeyExchange yes\n"
    )
    weaker = [f"{name}=yes" for name in ("ForwardX11", "UpdateHostKeys", "PermitLocalCommand")]
    command = [*ssh_command(config, [*weaker, "Port=2222"]), "-G", "host.invalid"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    assert said["port"] == "2222"
    wanted = {
        "stricthostkeychecking": "true",
        "batchmode": "yes",
        "updatehostkeys": "false",
        "forwardagent": "no",
        "forwardx11": "no",
        "permitlocalcommand": "no",
        "requesttty": "false",
        "clearallforwardings": "yes",
        "verifyhostkeydns": "false",
        "nohostauthenticationforlocalhost": "no",
        "controlmaster": "false",
        "gssapidelegatecredentials": "no",
    }
    assert {name: said[name] for name in wanted} == wanted
    assert said.get("controlpath", "none") == "none"
    assert said.get("gssapikeyexchange", "no") == "no"
