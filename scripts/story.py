"""The whole story, step by step: from an HSM over a chain and IPFS into a real sshd, and back.

`scripts/demo_story.py` plays it for people, `tests/e2e` as tests. Every claim is checked in both
directions: what must be let in is let in, and what must be refused is refused, for the reason
that is told. Nothing here is a part of dpki: the steps drive the `dpki` command, and a second
opinion (ssh, ssh-keygen, the chain itself) says whether it is true.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from scripts.players import CLIENT_REFUSES, SSHD_REFUSES, Story, require
from scripts.stage import Client, free_port

Player = TypeVar("Player", bound=Story)


@dataclass(frozen=True)
class Step(Generic[Player]):
    """One arrow of a story."""

    name: str
    title: str
    play: Callable[[Player], None]


# --- a domain -----------------------------------------------------------------------------------


def start_devnet(story: Story) -> None:
    """Start a chain, two IPFS nodes and a token."""
    folder = story.stage.directory / "devnet"
    story.stage.devnet = folder
    rules = ["--optimism"] if story.optimism else []
    wanted = "required" if story.ipfs else "optional"
    story.admin("devnet", "up", "--dir", folder, "--ipfs", wanted, *rules)
    story.admin("devnet", "status", "--dir", folder)


def initialise(story: Story) -> None:
    """Write the administrator's configuration, wallet and journal; never over an existing one."""
    story.passphrase.touch(0o600)
    story.passphrase.write_text(secrets.token_urlsafe(24))
    folder = story.stage.directory / "devnet"
    arguments = ["init", "--devnet", str(folder), "--passphrase", f"file:{story.passphrase}"]
    story.admin(*arguments)
    before = (story.home / "config.toml").read_bytes()
    story.admin(*arguments, expect=2)
    require(
        (story.home / "config.toml").read_bytes() == before,
        "a second init changed the configuration",
    )
    configuration = story.configuration()
    story.rpc = configuration["chain"]["rpc"][0]
    rules = ", OP-stack rules" if story.optimism else ""
    story.facts["chain"] = story.stage.rpc(story.rpc, "web3_clientVersion") + rules
    story.uses_ipfs = bool(configuration["store"]["ipfs"])
    story.facts["storage"] = "IPFS (Kubo)" if story.uses_ipfs else "directory store, no IPFS"


def deploy(story: Story) -> None:
    """Create the trust domain in exactly one transaction."""
    before = story.stage.transactions(story.rpc)
    document = story.admin("deploy")
    sent = story.stage.transactions(story.rpc)[len(before) :]
    story.domain = document["domain"]
    require(len(sent) == 1, f"deploying took {len(sent)} transactions instead of one")
    story.facts["domain"] = story.domain
    claim = "A trust domain is one transaction, found by its id alone"
    story.holds(claim, "1 transaction deployed and wired four contracts")
    altered = story.domain[:-1] + ("0" if story.domain[-1] != "0" else "1")
    wanted = ("--domain", altered, "--rpc", story.rpc, "--out", "x", "--krl", "y")
    story.stranger("ssh", "known-hosts", *wanted, expect=5)
    story.refused(claim, "an id with one digit changed: nobody shows such a domain, exit status 5")


def create_authorities(story: Story) -> None:
    """Make two CA keys in the token, unreadable even with the PIN, and register them."""
    validity = ["--max-validity", "30d"]
    user = story.admin(
        "ca", "create", "user-ca", "--kind", "ssh-user", "--key-type", "p256", *validity
    )
    host = story.admin(
        "ca", "create", "host-ca", "--kind", "ssh-host", "--key-type", "ed25519", *validity
    )
    story.user_ca, story.host_ca = user["ca"], host["ca"]
    claim = "CA keys are born in the HSM and cannot leave it"
    found = story.theft("inspect", "user-ca", "host-ca")
    for label, key in found.items():
        require(key["signs"], f"{label} does not sign")
        require(
            key["sensitive"] and key["local"] and not key["extractable"],
            f"{label} can leave: {key}",
        )
        require(key["read"] == "refused", f"the token handed out {label}'s private key")
    story.holds(claim, "user-ca (P-256) and host-ca (Ed25519) sign inside the token")
    story.refused(claim, "asked with the right PIN, the token refuses to show either private key")


def enroll_device(story: Story) -> None:
    """The device makes keys and a request; the administrator enrols it by it, unaltered."""
    story.gate.start_sshd()
    rescue = story.make_key(story.laptop / "break-glass")
    story.gate.initialise(
        *("--domain", story.domain, "--rpc", story.rpc),
        *story.storage_options(),
        *("--allow", f"{story.stage.account}={story.user_ca}/ops"),
        *("--break-glass", f"{rescue}.pub"),
    )
    request = story.gate.request
    claim = "Only a device's own signature enrols it"
    altered = story.stage.directory / "altered.request"
    data = bytearray(request.read_bytes())
    data[-1] ^= 1
    altered.write_bytes(data)
    sent = len(story.stage.transactions(story.rpc))
    story.admin("device", "enroll", altered, "--name", "gate-1", expect=3)
    require(
        len(story.stage.transactions(story.rpc)) == sent, "an altered request reached the chain"
    )
    story.refused(claim, "a request with one bit changed: exit status 3, no transaction")
    story.admin("device", "enroll", request, "--name", "gate-1")
    listed = story.admin("device", "list")
    require(
        story.gate.address.lower() in json.dumps(listed).lower(),
        "the device is not listed as enrolled",
    )
    story.holds(claim, f"{story.gate.address} is enrolled")


def issue_certificates(story: Story) -> None:
    """Issue the device's host certificate, sealed, and an engineer's for her existing key."""
    story.issue_host()
    alice = story.make_key(story.laptop / "alice")
    claim = "Principals hold no comma, space or wildcard"
    sent = len(story.stage.transactions(story.rpc))
    for name in ("", "ops,root", "ops root", "*"):
        story.issue_user(alice, "alice", principal=name, expect=2)
    require(len(story.stage.transactions(story.rpc)) == sent, "a bad principal reached the chain")
    story.refused(claim, "empty, 'ops,root', 'ops root', '*': exit status 2, no transaction")
    story.issue_user(alice, "alice")
    shown = story.stage.run(["ssh-keygen", "-L", "-f", f"{alice}-cert.pub"]).stdout
    require(
        "ops" in shown and "permit-pty" in shown, f"not the certificate that was asked for\n{shown}"
    )
    story.holds(claim, "'ops' is in alice's certificate, as ssh-keygen reads it")


# --- a login ------------------------------------------------------------------------------------


def before_the_agent(story: Story) -> None:
    """Before dpki, the device's sshd does not know alice, and her ssh does not know it."""
    alice = story.laptop / "alice"
    story.known_hosts("now")
    story.expect_no_login(story.engineer(alice), CLIENT_REFUSES)
    story.refused(HOST_CLAIM, "the device's plain host key, before the agent ran")
    known = story.laptop / "plain-known-hosts"
    known.write_text(f"{story.gate.host} {Path(f'{story.gate.plain_host_key}.pub').read_text()}")
    blind = Client(alice, Path(f"{alice}-cert.pub"), known, None, story.gate.host)
    story.expect_no_login(blind, SSHD_REFUSES)
    story.refused(LOGIN_CLAIM, "alice's certificate, before the agent ran")


def run_agent(story: Story) -> None:
    """The agent fetches the bundle, checks it against the chain, installs, reloads sshd."""
    story.gate.agent_once()
    require(story.gate.drop_in.exists(), "the agent wrote no drop-in for sshd")
    effective = story.gate.effective_configuration()
    for option in (
        "trustedusercakeys",
        "revokedkeys",
        "authorizedprincipalscommand",
        "hostcertificate",
    ):
        require(
            effective.get(option, "none") != "none",
            f"sshd's effective configuration has no {option}",
        )
    claim = "The agent installs strict mode and repeats itself without harm"
    story.holds(claim, "sshd -T shows CA keys, KRL, login command and host certificate")
    installed = story.gate.installed()
    story.gate.agent_once()
    story.expect_unchanged(installed, "a second run")
    story.holds(claim, "a second run changed nothing")
    configuration = story.gate.directory / "device.toml"
    true = configuration.read_text()
    configuration.write_text(true.replace(story.rpc, f"http://127.0.0.1:{free_port()}"))
    story.gate.agent_once(expect=5)
    configuration.write_text(true)
    story.expect_unchanged(installed, "a chain out of reach")
    story.refused(claim, "with the chain out of reach: exit status 5, nothing changed")


LOGIN_CLAIM = "sshd lets in anchored, unrevoked certificates of the domain's user CA"
HOST_CLAIM = "ssh trusts anchored, unrevoked host certificates of the domain's host CA"


def log_in(story: Story) -> None:
    """Alice logs in with @cert-authority and her certificate; everything less is refused."""
    alice = story.laptop / "alice"
    story.expect_login(story.engineer(alice))
    story.holds(LOGIN_CLAIM, "alice, right after the agent ran")
    story.holds(HOST_CLAIM, f"{story.gate.host}, by its certificate")
    story.expect_no_login(story.client(alice), SSHD_REFUSES)
    story.refused(LOGIN_CLAIM, "alice's key without the certificate")
    mallory = story.make_key(story.thief / "mallory")
    story.self_sign(mallory, story.make_key(story.thief / "ca"), host=False)
    story.expect_no_login(story.engineer(mallory), SSHD_REFUSES)
    story.refused(LOGIN_CLAIM, "a certificate by somebody's own CA")
    other = Client(alice, Path(f"{alice}-cert.pub"), *story.known_hosts("now"), "gate-2.example")
    story.expect_no_login(other, CLIENT_REFUSES)
    story.refused(HOST_CLAIM, "the same host under another name")
    key = story.make_key(story.thief / "host-key")
    story.self_sign(key, story.thief / "ca", host=True)
    impostor = story.stage.start_sshd(
        "impostor", [f"HostKey {key}", f"HostCertificate {key}-cert.pub"]
    )
    story.expect_no_login(story.engineer(alice), CLIENT_REFUSES, server=impostor)
    story.refused(HOST_CLAIM, "a host certificate by somebody's own CA")
    story.stage.stop_sshd(impostor)
    claim = "A break-glass key under no CA still gets in"
    story.expect_login(story.client(story.laptop / "break-glass"))
    story.holds(claim, "the key named at device init")
    story.expect_no_login(story.client(mallory), SSHD_REFUSES)
    story.refused(claim, "any other bare key")


VERIFY_CLAIM = "Anybody can check, with the domain id and an endpoint alone"


def verify_as_a_stranger(story: Story) -> None:
    """Somebody with an empty home asks whether alice's certificate is good."""
    alice = story.laptop / "alice"
    certificate, proof = Path(f"{alice}-cert.pub"), Path(f"{alice}-cert.proof")
    require(story.verify(certificate, 0, proof=proof) == "valid", "not valid with the proof file")
    lonely = story.thief / "copy-cert.pub"
    shutil.copy(certificate, lonely)
    require(story.verify(lonely, 0) == "valid", "not valid without the proof file")
    host = story.gate.drop_in_option("HostCertificate")
    require(story.verify(host, 0) == "valid", "the host certificate is not valid")
    story.holds(VERIFY_CLAIM, "alice's and the host's: valid, with and without the proof file")
    story.verify(Path(f"{story.thief / 'mallory'}-cert.pub"), 3)
    story.refused(VERIFY_CLAIM, "a certificate of somebody's own CA: exit status 3")
    claim = "'No' and 'could not check' never look alike"
    nowhere = f"http://127.0.0.1:{free_port()}"
    story.stranger("verify", certificate, "--domain", story.domain, "--rpc", nowhere, expect=5)
    story.holds(claim, "endpoint down: exit status 5")
    story.refused(claim, "foreign certificate: exit status 3")


# --- rotation and revocation --------------------------------------------------------------------


def rotate_on_device(story: Story) -> None:
    """The next of the keys that the device made when it was set up; the old one is revoked."""
    rotate(story, "device", "born on the device")


def rotate_by_admin(story: Story) -> None:
    """The administrator makes the next host key pair and sends it sealed for this device alone."""
    rotate(story, "admin", "made by the administrator, sealed for the device")


def rotate(story: Story, keygen: str, origin: str) -> None:
    """Replace the device's host key and certificate, revoke the old, see who trusts which."""
    alice = story.engineer(story.laptop / "alice")
    old_key, old_public = story.keep_host_key(f"old-{keygen}"), story.gate.host_public_key()
    impostor = story.stage.start_sshd(
        f"old-{keygen}", [f"HostKey {old_key}", f"HostCertificate {old_key}-cert.pub"]
    )
    story.known_hosts("now")
    story.expect_trusted_host(alice, impostor)
    story.admin(
        *(
            "ssh",
            "rotate",
            "--device",
            "gate-1",
            "--ca",
            "host-ca",
            "--keygen",
            keygen,
            "--for",
            "8h",
            "--revoke-old",
        )
    )
    story.gate.agent_once()
    require(story.gate.host_public_key() != old_public, "the host key is still the old one")
    story.known_hosts("now")
    story.expect_login(alice)
    claim = f"Host keys rotate: {origin}"
    story.holds(claim, "the new key and certificate are trusted")
    story.expect_no_login(alice, "revoked", server=impostor)
    require(
        story.verify(Path(f"{old_key}-cert.pub"), 3) == "revoked", "verify does not say revoked"
    )
    story.refused(claim, "the old pair on a second sshd: ssh refuses it, verify says revoked")
    story.stage.stop_sshd(impostor)


def revoke_engineer(story: Story) -> None:
    """Alice's laptop is lost: her certificate is revoked; a new key gets a new one."""
    alice = story.laptop / "alice"
    certificate = Path(f"{alice}-cert.pub")
    story.expect_login(story.engineer(alice))
    story.admin("ssh", "revoke", "--certificate", certificate)
    story.gate.agent_once()
    story.expect_no_login(story.engineer(alice), SSHD_REFUSES)
    require(story.verify(certificate, 3) == "revoked", "verify does not say revoked")
    claim = "A revoked certificate is refused, its successor is not"
    story.refused(claim, "alice's at sshd; verify says revoked, exit status 3")
    story.admin("ssh", "revoke", "--certificate", certificate, expect=1)
    successor = story.make_key(story.laptop / "alice-2")
    story.issue_user(successor, "alice")
    story.gate.agent_once()
    story.expect_login(story.engineer(successor))
    story.expect_no_login(story.engineer(alice), SSHD_REFUSES)
    story.holds(claim, "alice's new key logs in, with its own certificate")


# --- two thefts ---------------------------------------------------------------------------------


def steal_wallet(story: Story) -> None:
    """A thief with all but the HSM anchors certificates of his own making."""
    claim = "A stolen operator wallet without the HSM opens nothing"
    honest = story.engineer(story.laptop / "alice-2")
    loot = story.thief / "wallet"
    loot.mkdir()
    installed = story.gate.installed()
    sent = len(story.stage.transactions(story.rpc))
    made = story.theft("wallet", story.gate.request, loot)["certificates"]
    require(
        len(story.stage.transactions(story.rpc)) == sent + 2, "the thief did not anchor two batches"
    )
    report = story.gate.agent_once(expect=5)
    require(bool(report["problems"]), "the agent has nothing to say about the thief's bundles")
    story.expect_unchanged(installed, "what the thief sent")
    story.refused(claim, "his host key pairs, in well-formed bundles: the agent rejects them")
    for name, verdict in (("user", "unknown"), ("user-forged", "refused"), ("host", "unknown")):
        found = story.verify(Path(made[name]), 3)
        require(
            found == verdict,
            f"verify says {found!r} of the thief's {name} certificate, not {verdict!r}",
        )
    story.refused(claim, "anchored on chain, yet verify: exit status 3")
    story.known_hosts("now")
    for name in ("user", "user-forged"):
        story.expect_no_login(story.engineer(loot / name), SSHD_REFUSES)
    story.refused(claim, "his user certificates at sshd")
    key = loot / "host"
    server = story.stage.start_sshd("theft", [f"HostKey {key}", f"HostCertificate {key}-cert.pub"])
    story.expect_no_login(honest, CLIENT_REFUSES, server=server)
    story.stage.stop_sshd(server)
    story.refused(claim, "his host certificate at ssh")
    story.expect_login(honest)
    story.holds(claim, "meanwhile alice logs in to the true host")


def steal_signature(story: Story) -> None:
    """A thief gets the HSM to sign, but has no wallet to anchor with."""
    claim = "A signature of the real CA key that was never anchored opens nothing"
    honest = story.engineer(story.laptop / "alice-2")
    anchored = serial_of(story, Path(f"{story.laptop / 'alice-2'}-cert.pub"))
    story.known_hosts("now")
    for serial in ("next", anchored):
        mallory = story.make_key(story.thief / f"signature-{serial}")
        sent = len(story.stage.transactions(story.rpc))
        made = story.theft("signature", mallory, serial)
        require(made["signed_by"] == story.user_ca, "not the real CA's signature")
        require(len(story.stage.transactions(story.rpc)) == sent, "something was anchored")
        story.gate.agent_once(expect=None)
        verdict = story.verify(Path(f"{mallory}-cert.pub"), 3)
        require(verdict == "not anchored", f"verify says {verdict!r}")
        story.expect_no_login(story.engineer(mallory), SSHD_REFUSES)
    require("not anchored" in story.sshd_log(), "the login command did not say why")
    story.refused(
        claim, "with the next serial, and with alice's: verify says not anchored, exit status 3"
    )
    story.refused(claim, "sshd knows the CA, but the login command does not know the certificate")
    story.expect_login(honest)
    story.holds(claim, "meanwhile alice logs in")


def serial_of(story: Story, certificate: Path) -> str:
    """Return a certificate's serial as ssh-keygen reads it."""
    shown = story.stage.run(["ssh-keygen", "-L", "-f", certificate]).stdout
    (line,) = (line for line in shown.splitlines() if "Serial:" in line)
    return line.split()[-1]


STEPS = (
    Step("devnet", "dpki devnet up: a chain, IPFS and an HSM token", start_devnet),
    Step("init", "dpki init", initialise),
    Step("deploy", "dpki deploy: the trust domain, one transaction", deploy),
    Step("authorities", "dpki ca create: two CAs, keys in the HSM", create_authorities),
    Step("enrol", "dpki device init and enroll", enroll_device),
    Step("issue", "dpki ssh issue: host and user certificate", issue_certificates),
    Step("before", "sshd before the agent: nobody trusts anybody", before_the_agent),
    Step("agent", "dpki agent once: fetch, verify, install", run_agent),
    Step("login", "ssh with @cert-authority, both directions", log_in),
    Step("verify", "dpki verify, as a stranger", verify_as_a_stranger),
    Step("rotate-device", "dpki ssh rotate: host key born on the device", rotate_on_device),
    Step("rotate-admin", "dpki ssh rotate: host key made by the admin", rotate_by_admin),
    Step("revoke", "dpki ssh revoke: the engineer's", revoke_engineer),
    Step("theft-wallet", "theft: operator wallet without the HSM", steal_wallet),
    Step("theft-signature", "theft: CA signature without an anchor", steal_signature),
)
