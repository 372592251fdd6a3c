"""The worst day, step by step: a CA's key and its operator's wallet are stolen.

`scripts/rehearse` plays it for people, `tests/e2e` as a test; docs/runbook-compromise.md tells what
is done and why. Nothing here is a part of dpki: the steps drive the `dpki` command, and a second
opinion (ssh, the chain itself) says whether it is true.
"""

from __future__ import annotations

import secrets
import shutil
import time

from scripts.emergency import DEPUTIES, MEMBERS, ROOTS, WorstDay
from scripts.players import SSHD_REFUSES, require
from scripts.stage import Client
from scripts.story import Step, initialise, start_devnet

OUT = "Whoever stole CA key and operator wallet is out everywhere once a third says so"
BACK = "The fleet moves to the new CA without a visit to any device"
FOR_EVER = "What the thief has is worth nothing, for ever"

# --- before -----------------------------------------------------------------------------------


def found_domain(day: WorstDay) -> None:
    """Deploy a domain with a user CA whose key lies in a file, where it can be stolen."""
    day.domain = day.admin("deploy")["domain"]
    day.facts["domain"] = day.domain
    key = ["--key", f"file:{day.authority_key}", "--key-type", "p256"]
    day.user_ca = day.admin("ca", "create", "users", "--kind", "ssh-user", *key)["ca"]
    day.host_ca = day.admin("ca", "create", "hosts", "--kind", "ssh-host", "--key-type", "ed25519")[
        "ca"
    ]
    if day.standby:
        day.spare = day.make_account(day.home, "operator-2")
        day.admin("wallet", "use", "keystore")
        day.successor = replace_authority(day)


def replace_authority(day: WorstDay) -> str:
    """Have the admin's home, while it governs, register a successor that stands by."""
    made = day.admin("ca", "rotate", "users", "users-2", "--operator", day.spare)
    return str(made["ca"])


def hand_over(day: WorstDay) -> None:
    """Found the council and hand the domain over to it; the admin is no member."""
    for name in MEMBERS:
        day.furnish(name)
    seats = [word for name in ROOTS for word in ("--root", day.account(name))]
    seats += [word for name in DEPUTIES for word in ("--intermediate", day.account(name))]
    day.council = day.admin("council", "init", *seats, "--guardian-only")["council"]
    day.admin("domain", "governor", day.council)
    waits = day.pending(day.member("root-1", "domain", "governor", "--accept"))
    day.decide(waits, "root-1", "root-2", "root-3", "deputy-1")
    governor = day.member("deputy-2", "domain", "show")["governor"]
    require(
        governor == {"address": day.council, "is": "council"}, f"not governed by it: {governor}"
    )


def set_up_devices(day: WorstDay) -> None:
    """Enrol the devices; their agents follow successors, and a break-glass key gets in."""
    rescue = day.make_key(day.laptop / "break-glass")
    for gate in day.gates:
        gate.start_sshd()
        gate.initialise(
            *("--domain", day.domain, "--rpc", day.rpc, *day.storage_options()),
            *("--allow", f"{day.stage.account}={day.user_ca}/ops", "--follow-successors"),
            *("--break-glass", f"{rescue}.pub"),
        )
        day.admin("device", "enroll", gate.request, "--name", gate.name)
        day.admin("ssh", "issue", "--ca", "hosts", "--device", gate.name, "--hostname", gate.host)


def let_people_in(day: WorstDay) -> None:
    """Certify the people, and see them log in everywhere; then the admin makes a backup."""
    for key in day.crew():
        day.make_key(key)
        day.admin(
            *("ssh", "issue", "--ca", "users", "--key", f"{key}.pub", "--identity", key.name),
            *("--principal", "ops", "--for", "8h"),
        )
    day.agents()
    for key in day.crew():
        day.expect_everywhere(key)
    secret = day.stage.directory / "backup.passphrase"
    secret.touch(0o600)
    secret.write_text(secrets.token_urlsafe(24))
    day.admin("backup", day.backup, "--passphrase", f"file:{secret}")


# --- the day ----------------------------------------------------------------------------------


def steal(day: WorstDay) -> None:
    """The thief copies key and wallet, anchors a certificate of his own, and logs in everywhere."""
    day.stolen_at = time.monotonic()
    day.thief.mkdir()
    shutil.copy(day.authority_key, day.thief / "ca.pem")
    made = day.forge(day.make_key(day.thief / "mallory"), day.user_ca)
    require(bool(made["anchored"]), f"the theft failed: {made['why']}")
    day.agents()
    day.expect_everywhere(day.thief / "mallory")
    for key in day.crew():
        kept = day.thief / key.name
        for suffix in ("", ".pub", "-cert.pub"):
            shutil.copy(f"{key}{suffix}", f"{kept}{suffix}")


def notice(day: WorstDay) -> None:
    """The admin sees a serial on chain that his journal does not know."""
    shown = day.admin("ca", "show", "users")
    require(shown["elsewhere"] == 1, f"the journal misses nothing: {shown['elsewhere']}")
    day.holds(OUT, "noticed: dpki ca show tells of 1 certificate that the journal does not hold")


def suspend(day: WorstDay) -> None:
    """One root sounds the alarm, another member joins: more than a third, and it is suspended."""
    waits = day.pending(day.member("root-2", "ca", "suspend", day.user_ca))
    joined = day.member("deputy-1", "ca", "suspend", day.user_ca)
    require(joined["state"] == "suspended", f"round {waits} left it {joined['state']}")
    day.moments["suspended on chain"] = day.now()


def lock_out(day: WorstDay) -> None:
    """Every agent acts on it: the thief is out. So is everybody else, but for the break-glass."""
    day.agents()
    day.expect_nowhere(day.thief / "mallory", SSHD_REFUSES)
    day.moments["thief out of every device"] = day.now()
    day.refused(OUT, f"his certificate, at {len(day.gates)} sshd")
    day.expect_nowhere(day.crew()[0], SSHD_REFUSES)
    late = day.forge(day.make_key(day.thief / "late"), day.user_ca)
    require(not late["anchored"], "a suspended CA issued")
    day.refused(OUT, f"anchoring another: {late['why']}")
    for gate in day.gates:
        bare = day.client(day.laptop / "break-glass")
        glass = Client(bare.key, None, bare.known_hosts, bare.krl, gate.host)
        day.expect_login(glass, server=gate.server)
    day.holds(OUT, "meanwhile the break-glass key gets in at each of them")


def retire(day: WorstDay) -> None:
    """The council retires the CA, raises the watermark, and takes the registrar's role away."""
    following = day.member("root-2", "ca", "show", day.user_ca)["next_serial"]
    waits = day.member(
        *("root-2", "council", "propose", f"ca retire {day.user_ca}"),
        f"ssh revoke {day.user_ca} --below {following}",
        f"domain registrar {day.admin('wallet', 'show')['account']} --remove",
    )
    day.decide(day.pending(waits), "root-2", "root-3", "deputy-1", "deputy-2")
    shown = day.member("root-2", "ca", "show", day.user_ca)
    require(shown["state"] == "retired", f"it is {shown['state']}")
    require(shown["revoked_below"] == following, f"the watermark is at {shown['revoked_below']}")
    day.moments["retired for ever"] = day.now()


def replace_key(day: WorstDay) -> None:
    """On another machine, from the backup: a new CA key and a new operator, by the council."""
    secret = day.stage.directory / "backup.passphrase"
    day.stage.dpki("restore", day.backup, "--home", day.recovery, "--passphrase", f"file:{secret}")
    if day.standby:
        return
    day.spare = day.make_account(day.recovery, "operator-2")
    day.at(day.recovery, "wallet", "use", day.token_key("root-1"))
    made = day.at(day.recovery, "ca", "rotate", "users", "users-2", "--operator", day.spare)
    day.successor = made["ca"]
    day.decide(day.pending(made), "root-1", "root-2", "root-3", "deputy-1")


def replace_wallet(day: WorstDay) -> None:
    """The other rights of the stolen wallet go to the new one: host CA's operator, registrar."""
    waits = day.member(
        *("root-3", "council", "propose", f"ca operator {day.host_ca} {day.spare}"),
        f"domain registrar {day.spare}",
    )
    day.decide(day.pending(waits), "root-3", "root-1", "root-2", "deputy-2")
    day.at(day.recovery, "wallet", "use", day.token_key("operator-2"))


def reissue(day: WorstDay) -> None:
    """Everybody who held a living certificate gets one of the new CA, in one transaction."""
    words = ("ssh", "rotate", "--from", "users", "--ca", "users-2", "--despite-watermark")
    done = day.at(day.recovery, *words)
    issued = [one["certificate"] for one in done["issued"]]
    require(len(issued) == day.people, f"{len(issued)} were issued again, not {day.people}")
    day.holds(BACK, f"{len(issued)} people got certificates; the thief, in no journal, got none")


def move_over(day: WorstDay) -> None:
    """The agents follow the succession; people log in with their new certificates everywhere."""
    day.agents()
    for key in day.crew():
        day.expect_everywhere(key)
    day.moments["everybody back"] = day.now()
    day.holds(BACK, f"{day.people} people log in at {len(day.gates)} devices, by new certificates")


def try_everything(day: WorstDay) -> None:
    """The thief tries all that he has, and all that he still could make."""
    for name in ("mallory", "late"):
        day.expect_nowhere(day.thief / name, SSHD_REFUSES)
    day.refused(FOR_EVER, "his certificates, anchored or not, at every sshd")
    for key in day.crew():
        day.expect_nowhere(day.thief / key.name, SSHD_REFUSES)
    day.refused(BACK, "the old CA's certificates, everybody's, though their keys are still good")
    for ca, what in ((day.user_ca, "the retired CA"), (day.successor, "its successor")):
        key = day.make_key(day.thief / f"late-{ca[2:8]}")
        made = day.forge(key, ca)
        require(not made["anchored"], f"the stolen wallet anchored at {what}")
        day.expect_nowhere(key, SSHD_REFUSES)
        day.refused(FOR_EVER, f"anchoring at {what}: {made['why'].partition(';')[0]}")
    made = day.forge(day.make_key(day.thief / "host"), day.host_ca)
    require(not made["anchored"], "the stolen wallet anchored at the host CA")
    day.refused(FOR_EVER, "anchoring at the host CA")
    day.admin("device", "retire", day.gate.name, "--yes", expect=4)
    day.refused(FOR_EVER, "retiring a device with the stolen wallet: exit status 4")
    verdict = day.verify(day.thief / "mallory-cert.pub", 3)
    day.holds(FOR_EVER, f"a stranger's dpki verify says {verdict!r} of his first certificate")


BEFORE: tuple[Step[WorstDay], ...] = (
    Step("devnet", "a chain, IPFS and an HSM token", start_devnet),
    Step("init", "the administrator's home", initialise),
    Step("domain", "a domain, a user CA and a host CA", found_domain),
    Step("council", "a council of five governs and guards it", hand_over),
    Step("devices", "devices with sshd, enrolled", set_up_devices),
    Step("people", "people log in; a backup", let_people_in),
)
"""What is there when it happens."""

DAY: tuple[Step[WorstDay], ...] = (
    Step("theft", "stolen: CA key and operator wallet; the thief is in", steal),
    Step("noticed", "a certificate that no journal knows", notice),
    Step("suspended", "more than a third suspend the CA", suspend),
    Step("locked-out", "agents run: the thief is out everywhere", lock_out),
    Step("retired", "council: retire, watermark, registrar removed", retire),
    Step("replaced", "from the backup: new key and operator, by the council", replace_key),
    Step("roles", "council: host CA's operator and registrar", replace_wallet),
    Step("reissued", "everybody's certificate again, in bulk", reissue),
    Step("moved", "agents move over, people log in", move_over),
    Step("refused", "the thief tries everything that he has", try_everything),
)
"""What is timed."""
