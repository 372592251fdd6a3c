"""Measure what docs/benchmarks.md says, and write it: command, date, machine, medians.

`scripts/bench` runs this. Gas is exact and the same everywhere; times belong to the machine that
they were taken on, which is why a peer is measured in the same run.
"""

from __future__ import annotations

import argparse
import os
import pickle
import platform
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dpki.certificates.keys import authority_id, spki_of
from dpki.chain.domain import Domain, fetch_domain
from dpki.chain.rpc import Endpoint
from dpki.config.admin import Home
from dpki.devices.document import make_key_document
from dpki.devices.enrollment import make_enrollment_request
from dpki.devices.keys import generate_device_keys
from dpki.devnet.accounts import development_wallet
from dpki.devnet.devnet import Devnet, Ipfs
from dpki.devnet.softhsm import create_softhsm, create_token
from dpki.model import Address, AuthorityId, AuthorityKind, Entry, Hash32
from dpki.signer.pin import pin_from_file
from dpki.signer.uri import Pkcs11Uri
from dpki.transactions.deploy import deploy_domain
from dpki.transactions.wallet import create_keystore, load_wallet
from dpki.transactions.writer import DomainWriter
from scripts.bench_agent import agent_section, measure_agents
from scripts.bench_audit import audits_section, measure_audits
from scripts.bench_commands import (
    commands_section,
    measure_commands,
    measure_verify,
)
from scripts.bench_council import RoundFigure, council_section, measure_rounds, rounds_over
from scripts.bench_enrolment import (
    enrolment_section,
    measure_documents,
    measure_enrolments,
    measure_hosts,
)
from scripts.bench_krl import KrlFigure, krl_section, measure_krls
from scripts.bench_login import logins_section, measure_logins
from scripts.bench_polling import measure_polls, polls_section
from scripts.bench_proofs import measure_proofs, proofs_section
from scripts.bench_signing import Rate, measure_signing, signing_table
from scripts.bench_worst_day import measure_worst_day, worst_day_section
from scripts.players import SSHD_REFUSES, Story, open_story
from scripts.stage import dpki_command
from scripts.story import STEPS

REPORT = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
MEASURED = REPORT.parent.parent / ".build" / "bench.pickle"
T = TypeVar("T")
LIFETIME = timedelta(days=30)
BATCH = 100


@dataclass(frozen=True)
class Gas:
    """Gas that one thing took, and what it may take at most."""

    what: str
    used: int
    goal: int | None = None


@dataclass(frozen=True)
class Timing:
    """Wall times of one thing, in seconds."""

    what: str
    seconds: tuple[float, ...]
    goal: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.seconds)


# --- gas -----------------------------------------------------------------------------------------


def measure_gas() -> list[Gas]:
    """Measure on a fresh chain; every transaction is what the product itself sends."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Devnet(Path(folder), ipfs=Ipfs.OFF, token=False) as devnet,
        Endpoint(devnet.state.rpc) as endpoint,
    ):
        return gas_of_everything(endpoint, devnet.state.chain_id)


def gas_of_everything(endpoint: Endpoint, chain_id: int) -> list[Gas]:
    """Deploy a domain and do everything in it once."""
    wallet = development_wallet(0, chain_id=chain_id)
    governor = wallet.address
    id, deployed = deploy_domain(endpoint, wallet, governor=governor, registrars=[governor])
    domain = fetch_domain(endpoint, id)
    writer = DomainWriter(endpoint, domain, wallet)
    keys = Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
    spkis = [spki_of(key.public_key()) for key in keys]
    registered = [
        writer.register_authority(
            AuthorityKind.SSH_USER,
            spki,
            Hash32(secrets.token_bytes(32)),
            operator=governor,
            maximum_lifetime=LIFETIME,
        ).gas_used
        for spki in spkis
    ]
    ca = authority_id(spkis[0])
    # The first batch of a CA writes into a word that is not zero already, as does every later one.
    single = writer.issue(ca, 1, entries(1)).gas_used
    single_again = writer.issue(ca, 2, entries(1)).gas_used
    hundred = writer.issue(ca, 3, entries(BATCH)).gas_used
    first = writer.revoke(ca, [5]).gas_used
    after = writer.revoke(ca, [6]).gas_used
    enrolled, updated = gas_of_device(writer, domain)
    return [
        Gas("certificate, issued alone", max(single, single_again), 60_000),
        Gas(f"certificate, each in a batch of {BATCH}", -(-hundred // BATCH), 6_200),
        Gas("revocation, first in a word of 256 serials", first, 54_000),
        Gas("revocation, after that", after, 37_000),
        Gas("trust domain, deployed", deployed.gas_used),
        Gas("CA, registered (Ed25519)", registered[0]),
        Gas("CA, registered (P-256)", registered[1]),
        Gas("device, enrolled", enrolled),
        Gas("device, key document updated", updated),
        Gas("everything of a CA before a serial, revoked", gas_of_watermark(writer, ca)),
    ]


def gas_of_device(writer: DomainWriter, domain: Domain) -> tuple[int, int]:
    """Enrol a device and update its keys."""
    device = generate_device_keys()
    deadline = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    gas = []
    for nonce, send in enumerate((writer.enroll_device, writer.update_device)):
        document = make_key_document(device, nonce)
        request = make_enrollment_request(
            device, domain.id, domain.devices, document, deadline, nonce
        )
        sent = send(device.address, document.digest, deadline, request.signature)
        gas.append(sent.gas_used)
    return gas[0], gas[1]


def gas_of_watermark(writer: DomainWriter, ca: AuthorityId) -> int:
    """Revoke a hundred certificates by one word."""
    return writer.revoke_below(ca, BATCH).gas_used


def entries(count: int) -> list[Entry]:
    """Make entries like those of devices: nothing in them is zero."""
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=8)
    return [
        Entry(
            Hash32(secrets.token_bytes(32)),
            Address(secrets.token_bytes(20)),
            until,
            Hash32(secrets.token_bytes(32)),
        )
        for _ in range(count)
    ]


# --- time ----------------------------------------------------------------------------------------


def measure_start(rounds: int) -> list[Timing]:
    """Time `dpki --help` and, in turn with it, a Python that does nothing."""
    commands = {"help": [dpki_command(), "--help"], "python": [sys.executable, "-c", "pass"]}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds + 1):
        for name, command in commands.items():
            seconds[name].append(timed(partial(run_quietly, command)))
    # The first of each warms the page cache.
    return [
        Timing("`dpki --help`", tuple(seconds["help"][1:]), 0.25),
        Timing("`python -c pass`, in turn with it", tuple(seconds["python"][1:]), note="peer"),
    ]


def measure_flows(rounds: int) -> list[Timing]:
    """Time from a command's start to what it brings about, over the whole path."""
    until_login = [step.name for step in STEPS].index("login")
    issue, revoke, sign = [], [], []
    with open_story() as story:
        for step in STEPS[: until_login + 1]:
            step.play(story)
        harden_wallet(story)
        local_ca = story.make_key(story.thief / "local-ca")
        for number in range(rounds):
            key = story.make_key(story.laptop / f"bench-{number}")
            sign.append(timed(partial(sign_locally, story, local_ca, key)))
            issue.append(timed(partial(issue_and_install, story, key)))
            story.expect_login(story.engineer(key))
            revoke.append(timed(partial(revoke_and_refuse, story, key)))
    return [
        Timing("issue → installed: `dpki ssh issue`, then `dpki agent once`", tuple(issue)),
        Timing(
            "`ssh-keygen -s` with a key in a file",
            tuple(sign),
            note="peer of the signing alone: no HSM, no anchor, no delivery",
        ),
        Timing(
            "revoke → refused: `dpki ssh revoke`, `dpki agent once`, `ssh` refused",
            tuple(revoke),
        ),
    ]


def harden_wallet(story: Story) -> None:
    """Encrypt the devnet's wallet as hard as a real one, which every writing command pays for."""
    keystore = Home(story.home).keystore
    source = pin_from_file(story.passphrase)
    wallet = load_wallet(keystore, source)
    keystore.unlink()
    create_keystore(keystore, source, wallet=wallet)


def issue_and_install(story: Story, key: Path) -> None:
    """Issue a user certificate and run the agent."""
    story.issue_user(key, "bench")
    story.gate.agent_once()


def revoke_and_refuse(story: Story, key: Path) -> None:
    """Revoke a user certificate, run the agent, and see the login refused."""
    story.admin("ssh", "revoke", "--certificate", f"{key}-cert.pub")
    story.gate.agent_once()
    story.expect_no_login(story.engineer(key), SSHD_REFUSES)


def sign_locally(story: Story, authority: Path, key: Path) -> None:
    """Do what ssh-keygen alone can do."""
    story.self_sign(key, authority, host=False)
    Path(f"{key}-cert.pub").unlink()


def timed(action: Callable[[], None]) -> float:
    """Return how many seconds the action took."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def run_quietly(command: Sequence[str]) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)


# --- the report ----------------------------------------------------------------------------------


def measure_keys(rounds: int) -> list[Rate]:
    """Measure signing in a token of its own."""
    with tempfile.TemporaryDirectory() as folder:
        hsm = create_softhsm(Path(folder))
        # Read when the module is loaded, which nothing in this process has done before.
        os.environ.update(hsm.environment)
        pin_file = Path(folder) / "pin"
        token = create_token(hsm, "bench", pin_file)
        return measure_signing(Pkcs11Uri(token.label), pin_file.read_text().strip(), rounds)


def report(
    gas: Sequence[Gas],
    rounds: Sequence[RoundFigure],
    timings: Sequence[Timing],
    rates: Sequence[Rate],
    krls: Sequence[KrlFigure],
    parts: Sequence[str],
    today: datetime,
) -> str:
    """Return the text of docs/benchmarks.md."""
    chain = subprocess.run(["anvil", "--version"], capture_output=True, text=True, check=True)
    by_name = {row.what: row.used for row in gas}
    alone, each = (list(by_name.values())[index] for index in (0, 1))
    first, after = (list(by_name.values())[index] for index in (2, 3))
    start, python = timings[0].median, timings[1].median
    lines = [
        "# Benchmarks",
        "",
        f"Written by `scripts/bench` on {today:%Y-%m-%d}. Do not edit: run it again.",
        "",
        (
            f"Machine: {os.cpu_count()} cores, {platform.machine()}, {platform.system()}; Python"
            f" {platform.python_version()}; {chain.stdout.splitlines()[0].strip()}."
        ),
        "",
        "## Gas",
        "",
        (
            "On a fresh Anvil with Prague's rules, from the receipts: the whole transaction, its"
            " 21,000 and its calldata included. On an OP-stack chain the fee for the layer below"
            " comes on top."
        ),
        "",
        "| what | gas | at most |",
        "|---|---:|---:|",
        *(f"| {g.what} | {g.used:,} | {f'{g.goal:,}' if g.goal else ''} |" for g in gas),
        "",
        "Beside others, as their figures were published; they were not measured here:",
        "",
        "| | first | after |",
        "|---|---:|---:|",
        f"| dpki, a certificate issued (alone; each of {BATCH}) | {alone:,} | {each:,} |",
        f"| dpki, a certificate revoked | {first:,} | {after:,} |",
        ("| the published DPKI contract for Lisk | 164,000 | 55,800 |"),
        (
            "| did:ethr ([ethr-did-registry](https://github.com/uport-project/ethr-did-registry)) |"
            " 51,500 | 34,400 |"
        ),
        "",
        (
            "Each records something else and promises something else: an order of magnitude, not"
            " a race."
        ),
        "",
        *council_section(rounds),
        *signing_table(rates),
        "## Time",
        "",
        (
            "Wall time, medians. Chain, IPFS nodes and sshd are on loopback and the chain mines at"
            " once: what a real chain's blocks and the real IPFS network take comes on top. Every"
            " writing command opens an encrypted wallet (scrypt with n = 2^18)."
        ),
        "",
        "| what | median | lowest to highest | runs | at most | |",
        "|---|---:|---:|---:|---:|---|",
        *(row(timing) for timing in timings),
        "",
        f"`dpki --help` takes {start / python:.1f} times as long as a Python that does nothing.",
        "",
        *krl_section(krls),
        *parts,
    ]
    return "\n".join(lines)


def row(timing: Timing) -> str:
    """Return one line of the table of times."""
    spread = f"{min(timing.seconds):.3f} to {max(timing.seconds):.3f} s"
    goal = f"{timing.goal:g} s" if timing.goal else ""
    cells = [timing.what, f"{timing.median:.3f} s", spread, len(timing.seconds), goal, timing.note]
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def missed(gas: Sequence[Gas], timings: Sequence[Timing], rates: Sequence[Rate]) -> list[str]:
    """Return what is over its goal, a sentence each."""
    over = [f"{g.what}: {g.used:,} gas" for g in gas if g.goal and g.used > g.goal]
    over += [
        f"signing with {r.key_type.value}: only {r.token:,.0f} a second"
        for r in rates
        if r.goal and r.token < r.goal
    ]
    return over + [f"{t.what}: {t.median:.3f} s" for t in timings if t.goal and t.median > t.goal]


class Measured:
    """What was measured so far: kept, because all of it takes more than half an hour."""

    def __init__(self, path: Path, *, resume: bool) -> None:
        self._path = path
        self._values: dict[str, Any] = {}
        if resume and path.exists():
            self._values = pickle.loads(path.read_bytes())

    def once(self, what: str, measure: Callable[[], T]) -> T:
        """Return what was measured; measure it, if that is still to be done."""
        if what not in self._values:
            print(f"{datetime.now(UTC):%H:%M:%S} measuring: {what}", file=sys.stderr)
            self._values[what] = measure()
            self._path.parent.mkdir(exist_ok=True)
            self._path.write_bytes(pickle.dumps(self._values))
        value: T = self._values[what]
        return value


def sections(today: datetime) -> list[tuple[str, Callable[[], list[str]]]]:
    """Return what has a chapter of its own: its title, and what measures and writes it."""
    return [
        ("The worst day", lambda: worst_day_section(measure_worst_day(), today)),
        (
            "The agent",
            lambda: agent_section(measure_agents(samples=100, agents=200, idle=60), today),
        ),
        ("Logins", lambda: logins_section(measure_logins())),
        ("Proofs", lambda: proofs_section(*measure_proofs())),
        ("Polls", lambda: polls_section(measure_polls())),
        (
            "Enrolling",
            lambda: enrolment_section(measure_enrolments(), measure_documents(), measure_hosts()),
        ),
        ("Audits", lambda: audits_section(measure_audits())),
        ("Commands", lambda: commands_section(measure_commands(), measure_verify())),
    ]


def main() -> int:
    """Measure and write the report; exit status 1 when something is over its goal."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often to time each flow")
    parser.add_argument("--out", type=Path, default=REPORT, help="where to write the report")
    parser.add_argument("--resume", action="store_true", help="go on where it broke off")
    arguments = parser.parse_args()
    measured = Measured(MEASURED, resume=arguments.resume)
    today = measured.once("date", lambda: datetime.now(UTC))
    gas, rounds = measured.once("gas", measure_gas), measured.once("council", measure_rounds)
    timings = measured.once("starts", lambda: measure_start(2 * arguments.rounds + 1))
    timings = timings + measured.once("flows", lambda: measure_flows(arguments.rounds))
    rates = measured.once("keys", lambda: measure_keys(arguments.rounds))
    krls = measured.once("revocation lists", measure_krls)
    parts: list[str] = []
    failed: list[str] = []
    for title, section in sections(today):
        try:
            parts += measured.once(title, section)
        except Exception as error:  # noqa: BLE001 - the others are worth having
            parts += [f"## {title}", "", "Could not be measured.", ""]
            failed.append(f"{title}: {type(error).__name__}: {error}")
    text = report(gas, rounds, timings, rates, krls, parts, today)
    arguments.out.write_text(text)
    print(text)
    over = missed(gas, timings, rates) + rounds_over(rounds)
    for sentence in over:
        print(f"over its goal: {sentence}", file=sys.stderr)
    for sentence in failed:
        print(f"could not be measured: {sentence}", file=sys.stderr)
    return 1 if over or failed else 0


if __name__ == "__main__":
    sys.exit(main())
