"""What stands before every option that anybody else chooses, as ssh itself reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from dpki.strict_ssh import STRICT, ssh_command


def test_without_anything_else() -> None:
    words = ssh_command()
    assert words[0] == "ssh"
    assert "-F" not in words
    assert tuple(words[2::2]) == STRICT


def test_neither_a_file_nor_further_options_weaken_it(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "Host *\nStrictHostKeyChecking no\nForwardAgent yes\nPermitLocalCommand yes\n"
        "LocalCommand id\nBatchMode no\nUpdateHostKeys yes\nRequestTTY force\n"
        "VerifyHostKeyDNS yes\nNoHostAuthenticationForLocalhost yes\nControlPath /tmp/shared\n"
        "ControlMaster auto\nGSSAPIDelegateCredentials yes\n"
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
