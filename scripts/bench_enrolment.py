"""Enrolling: devices a second and gas each, key documents' sizes, and hosts over SSH."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dpki.chain.domain import Domain
from dpki.chain.rpc import Endpoint
from dpki.devices.document import make_key_document
from dpki.devices.enrollment import EnrollmentRequest, encode_request, make_enrollment_request
from dpki.devices.keys import generate_device_keys
from dpki.devices.prekeys import PrekeySecret
from dpki.devnet.anvil import Anvil
from dpki.issuance.database import Database
from dpki.issuance.enrolment import Enrolment, enroll_devices
from dpki.issuance.index import Index
from scripts.bench_proofs import deploy_chain
from scripts.players import Story, open_story
from scripts.stage import dpki_command
from scripts.story import STEPS

SIZES = (0, 16, 128)
"""Prekeys in a key document."""


@dataclass(frozen=True)
class EnrolmentFigure:
    """Devices enrolled from requests, with so many in a transaction."""

    batch: int
    count: int
    seconds: float
    gas: int


@dataclass(frozen=True)
class DocumentFigure:
    """Bytes of a key document and of its request."""

    prekeys: int
    document: int
    request: int


@dataclass(frozen=True)
class HostsFigure:
    """Hosts enrolled side by side by one command."""

    count: int
    seconds: float


def measure_enrolments(singles: int = 20, batch: int = 100) -> list[EnrolmentFigure]:
    """Measure enrolling from requests, one by one and a hundred in a transaction."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Anvil(Path(folder)) as anvil,
        Endpoint(anvil.url) as endpoint,
    ):
        chain = deploy_chain(anvil.url, endpoint)
        now = datetime.now(UTC)
        index = Index(Database(Path(folder) / "home" / "journal.db", chain.domain.id))
        figures = []
        for size, rounds in ((1, singles), (batch, 2)):
            gas, seconds = 0, 0.0
            for number in range(rounds):
                wishes = [_wish(chain.domain, now, f"d-{size}-{number}-{i}") for i in range(size)]
                began = time.perf_counter()
                done = enroll_devices(endpoint, chain.writer, index, wishes, now)
                seconds += time.perf_counter() - began
                gas += sum(r.gas_used for r in {one.receipt for one in done} if r is not None)
            figures.append(EnrolmentFigure(size, size * rounds, seconds, gas // (size * rounds)))
        return figures


def measure_documents() -> list[DocumentFigure]:
    """Measure key documents and requests with so many prekeys."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Anvil(Path(folder)) as anvil,
        Endpoint(anvil.url) as endpoint,
    ):
        domain = deploy_chain(anvil.url, endpoint).domain
    requests = [_request(domain, datetime.now(UTC), count) for count in SIZES]
    return [
        DocumentFigure(count, len(request.document), len(encode_request(request)))
        for count, request in zip(SIZES, requests, strict=True)
    ]


def measure_hosts(counts: Sequence[int] = (1, 20)) -> list[HostsFigure]:
    """Measure `dpki device enroll --ssh` with real sshds, whose hosts are mount namespaces.

    dpki is there already: installing it is the index's and the disk's time.
    """
    with open_story() as story:
        for step in STEPS[: [step.name for step in STEPS].index("enrol")]:
            step.play(story)
        return [_measure_hosts(story, count) for count in counts]


def enrolment_section(
    enrolments: Sequence[EnrolmentFigure],
    documents: Sequence[DocumentFigure],
    hosts: Sequence[HostsFigure],
) -> list[str]:
    """Return the lines of the report."""
    return [
        "## Enrolling",
        "",
        "From requests that are there (16 one-time keys each), every possession checked:",
        "",
        "| requests in a transaction | devices a second | gas each |",
        "|---|---|---|",
        *(f"| {f.batch} | {f.count / f.seconds:.1f} | {f.gas:,} |" for f in enrolments),
        "",
        "| one-time keys | key document | request |",
        "|---|---|---|",
        *(f"| {f.prekeys} | {f.document:,} bytes | {f.request:,} bytes |" for f in documents),
        "",
        (
            "`dpki device enroll --ssh … --ca host-ca`, from the first look to agents that ran;"
            " all of them here, each an sshd on loopback with a mount namespace of its own,"
            " where dpki was installed:"
        ),
        "",
        "| hosts | time |",
        "|---|---|",
        *(f"| {f.count} | {f.seconds:.1f} s |" for f in hosts),
        "",
    ]


def _measure_hosts(story: Story, count: int) -> HostsFigure:
    stage = story.stage
    key, known = stage.directory / f"hosts-{count}-key", stage.directory / f"hosts-{count}-known"
    stage.make_key(key)
    place = stage.directory / "host"
    (place / "bin").mkdir(parents=True, exist_ok=True)
    names = [f"host-{count}-{number}" for number in range(1, count + 1)]
    config = []
    for name in names:
        own = stage.directory / name
        (own / "conf.d").mkdir(parents=True)
        (own / "bin").mkdir()
        (own / "bin" / "dpki").symlink_to(dpki_command())
        (own / "sshd_config").write_text(f"Include {place}/conf.d/*.conf\nUsePAM no\n")
        host_key = stage.make_key(own / "host-key")
        inside = f'mount --bind {own} {place} && eval "$SSH_ORIGINAL_COMMAND"'
        lines = [f"HostKey {host_key}", f"AuthorizedKeysFile {key}.pub", f"SetEnv HOME={own}"]
        server = stage.start_sshd(name, [*lines, f"ForceCommand unshare -m sh -c '{inside}'"])
        config += [f"Host {name}", "HostName 127.0.0.1", f"Port {server.port}"]
        config += [f"User {stage.account}", f"IdentityFile {key}", f"UserKnownHostsFile {known}"]
        with known.open("a") as lines_of:
            lines_of.write(f"[127.0.0.1]:{server.port} {host_key.with_suffix('.pub').read_text()}")
    file = stage.directory / f"hosts-{count}-config"
    file.write_text("\n".join(config) + "\n")
    words: list[str | Path] = [
        *("device", "enroll", "--ssh", *names, "--ssh-config", str(file), "--dir", f"{place}/dpki"),
        *("--install-dir", str(place), "--no-service", "--console-access", "--ca", "host-ca"),
        *("--hostname", "{name}.example", "--init-option", f"sshd-config={place}/sshd_config"),
        *("--init-option", f"sshd-dir={place}/sshd", "--init-option", "reload=none"),
        *("--init-option", f"drop-in={place}/conf.d/10-dpki.conf"),
    ]
    for folder in story.configuration()["store"].get("directories", ()):
        words += ["--init-option", f"directory={folder}"]
    began = time.perf_counter()
    story.admin(*words)
    return HostsFigure(count, time.perf_counter() - began)


def _wish(domain: Domain, now: datetime, name: str) -> Enrolment:
    return Enrolment(_request(domain, now, 16), name)


def _request(domain: Domain, now: datetime, prekeys: int) -> EnrollmentRequest:
    supply = tuple(PrekeySecret.generate(number) for number in range(1, prekeys + 1))
    keys = replace(generate_device_keys(), prekeys=supply)
    document = make_key_document(keys)
    deadline = now + timedelta(days=1)
    return make_enrollment_request(keys, domain.id, domain.devices, document, deadline)
