"""What `dpki device enroll --ssh` does, step by step, on many hosts at a time.

Only ssh runs beside each other; the journal, the wallet and the token are this thread's alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import dpki
from dpki.cli.host_wish import HostWishes
from dpki.cli.issuing import (
    describe_released,
    device_snapshot,
    make_bench,
    newest_of,
    report,
    request_for_device,
)
from dpki.cli.output import Output, say_receipt
from dpki.cli.session import Desk, now, open_desk, open_writer
from dpki.cli.spending import turn
from dpki.cli.ssh_devices import named_wish
from dpki.cli.wish import IssueWish
from dpki.devices.enrollment import EnrollmentRequest, parse_request
from dpki.errors import DpkiError
from dpki.files import load_bounded
from dpki.issuance.enrolment import Enrolment, enroll_devices, rehearse_enrolments
from dpki.issuance.index import NamedDevice
from dpki.issuance.selection import parse_labels
from dpki.issuance.workflow import issue_batch, resume
from dpki.locks import hold
from dpki.model import DeviceState
from dpki.remote.scripts import FINISH, INSTALL, LONG, SET_UP, SHORT
from dpki.remote.ssh import RemoteHost
from dpki.remote.survey import SCRIPT, Survey, missing, parse_survey
from dpki.remote.wheel import build_wheel, wheel_name

_WHEEL_LIMIT = 64 << 20
_KEY_LIMIT = 64 << 10
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class _Found:
    """A host that has what it needs."""

    host: RemoteHost
    survey: Survey

    def program(self, target: Path) -> str:
        return self.survey.program(dpki.__version__) or str(target / "bin" / "dpki")


def enroll_hosts(
    output: Output,
    home: Path | None,
    wishes: HostWishes,
    *,
    pin: str | None,
    passphrase: str | None,
    dry_run: bool,
) -> None:
    """Set hosts up and enrol them; doing it again does what is left.

    Raises:
        UsageError: Something makes no sense; no host was asked.
        DpkiError: Some hosts failed; all others are done.
    """
    wishes.verify()
    with open_desk(home) as desk:
        job = _Job(output, desk, wishes)
        found = job.survey()
        if dry_run:
            job.tell(found)
            return
        requests = job.prepare(found)
        with hold(desk.home.work_lock, turn(output)):
            devices = job.enroll(requests, passphrase) if requests else {}
            issued = job.issue(list(devices.values()), pin, passphrase) if devices else []
        job.start({host: found[host] for host in devices})
        job.finish(devices, issued)


class _Job:
    """One run of it."""

    def __init__(self, output: Output, desk: Desk, wishes: HostWishes) -> None:
        self._output, self._desk, self._wishes = output, desk, wishes
        self._ca = None if wishes.ca is None else desk.index.find_authority(wishes.ca)
        self._failed: dict[str, str] = {}

    def survey(self) -> dict[str, _Found]:
        """Look at every host, change nothing, and say all that is missing."""
        wishes, needs = self._wishes, self._wishes.needs
        words = [str(wishes.install_directory), str(needs.config), str(wishes.directory)]

        def look(host: str) -> Survey:
            return parse_survey(
                RemoteHost(host, wishes.connection).run(SCRIPT, words, deadline=SHORT)
            )

        found = {}
        for host, survey in self._each("looking at hosts", look, wishes.hosts):
            lacks = missing(survey, needs, now())
            if lacks:
                self._fail(host, "; ".join(lacks))
                continue
            prefix = "sudo -n " if survey.uid != 0 and survey.has_sudo else ""
            found[host] = _Found(RemoteHost(host, wishes.connection, prefix), survey)
        return found

    def tell(self, found: dict[str, _Found]) -> None:
        """Tell what would be done; nothing was changed anywhere.

        Raises:
            DpkiError: Some hosts lack something.
        """
        rows = []
        for host, one in found.items():
            is_there = one.survey.program(dpki.__version__) is not None
            steps = [] if is_there else [f"install dpki in {self._wishes.install_directory}"]
            steps += [] if one.survey.is_set_up else ["make its keys"]
            steps += [f"enrol it as {self._wishes.name_of(host)}, unless it is", "start its agent"]
            rows.append({"host": host, "would": steps})
            self._output.say(f"{host}: would {', '.join(steps)}")
        document = {"dry_run": True, "hosts": rows, "failed": dict(self._failed)}
        if not self._failed:
            self._output.result(document, len(rows))
        self._raise("nothing was changed anywhere")

    def prepare(self, found: dict[str, _Found]) -> dict[str, bytes]:
        """Install dpki where it is missing, have the devices make keys; return their requests."""
        wishes = self._wishes
        lacking = any(o.survey.program(dpki.__version__) is None for o in found.values())
        source = self._source() if lacking else ("", "", b"")
        options = self._init_options()
        key = b""
        if wishes.break_glass is not None:
            key = load_bounded(wishes.break_glass, limit=_KEY_LIMIT)

        def set_up(host: str) -> bytes:
            one = found[host]
            if one.survey.program(dpki.__version__) is None:
                spec, name, content = source
                words = [str(one.survey.python), str(wishes.install_directory), spec, name]
                one.host.run(INSTALL, words, given=content, deadline=LONG)
            program = one.program(wishes.install_directory)
            words = [program, str(wishes.directory), "key" if key else "", *options]
            return one.host.run(SET_UP, words, given=key, deadline=SHORT)

        return dict(self._each("setting hosts up", set_up, found))

    def enroll(self, requests: dict[str, bytes], passphrase: str | None) -> dict[str, NamedDevice]:
        """Enrol what is not enrolled yet, a hundred in a transaction."""
        desk, wishes, output = self._desk, self._wishes, self._output
        labels = parse_labels(wishes.labels, wishes.fleet)
        writer = open_writer(desk, passphrase, output)
        due: dict[str, Enrolment] = {}
        addresses = {}
        for host, request in self._parsed(requests).items():
            try:
                known = desk.index.device_at(request.device)
                if known is None or not self._is_active(known):
                    wish = Enrolment(request, wishes.name_of(host), labels)
                    # Each by itself: one that is refused holds no other up.
                    rehearse_enrolments(desk.reader, writer, desk.index, [wish], now())
                    due[host] = wish
            except DpkiError as error:
                self._fail(host, error.message)
            else:
                addresses[host] = request.device
        if due:
            with output.working("enrolling"):
                done = enroll_devices(desk.reader, writer, desk.index, [*due.values()], now())
            for receipt in dict.fromkeys(one.receipt for one in done):
                say_receipt(output, receipt)
        found = {host: desk.index.device_at(address) for host, address in addresses.items()}
        return {host: device for host, device in found.items() if device is not None}

    def issue(
        self, devices: list[NamedDevice], pin: str | None, passphrase: str | None
    ) -> list[dict[str, object]]:
        """Issue host certificates to those that have none; one transaction."""
        desk, wishes, output = self._desk, self._wishes, self._output
        if wishes.ca is None or self._ca is None:
            return []
        ca = self._ca
        newest = newest_of(desk, [ca], devices)
        due = [
            device
            for device in devices
            if device.address not in newest or newest[device.address].valid_before <= now()
        ]
        if not due:
            return []
        wish = IssueWish(
            wishes.ca, None, wishes.hostnames, "device", None, None, (), wishes.lifetime, "", None
        )
        snapshot = device_snapshot(desk, due)
        writer = open_writer(desk, passphrase, output)
        with output.steps() as progress:
            bench = make_bench(desk, writer, wishes.ca, ca, pin, output, progress)
            report(output, resume(bench))
            requests = [
                request_for_device(desk, named_wish(wish, one), ca, one, snapshot) for one in due
            ]
            outcome = issue_batch(bench, requests)
        report(output, outcome)
        return [describe_released(released) for released in outcome.issued]

    def start(self, found: dict[str, _Found]) -> None:
        """Bring each device up to date, and make its agent a service."""
        wishes = self._wishes

        def finish(host: str) -> bytes:
            one = found[host]
            service = "service" if wishes.service else ""
            words = [one.program(wishes.install_directory), str(wishes.directory), service]
            return one.host.run(FINISH, words, deadline=SHORT)

        for host, _ in self._each("starting agents", finish, found):
            self._output.notice(f"{host} is done")

    def finish(self, devices: dict[str, NamedDevice], issued: list[dict[str, object]]) -> None:
        """Tell what was done.

        Raises:
            DpkiError: Some hosts failed.
        """
        done = {host: device for host, device in devices.items() if host not in self._failed}
        for host, device in done.items():
            self._output.say(f"{host} is {device.name}, device {device.address}")
        self._raise(f"{len(done)} hosts are done")
        rows = [
            {"host": host, "name": device.name, "device": str(device.address)}
            for host, device in done.items()
        ]
        addresses = "\n".join(str(device.address) for device in done.values())
        self._output.result({"devices": rows, "issued": issued}, addresses)

    def _parsed(self, answers: dict[str, bytes]) -> dict[str, EnrollmentRequest]:
        """Return the hosts' requests, without those of hosts that are one device."""
        requests = {}
        for host, data in answers.items():
            try:
                requests[host] = parse_request(data)
            except DpkiError as error:
                self._fail(host, error.message)
        count = Counter(request.device for request in requests.values())
        for host in [host for host, request in requests.items() if count[request.device] > 1]:
            self._fail(
                host,
                "it is the same device as another of the hosts: one was copied, or lies; remove"
                f" {self._wishes.directory} on the copy",
            )
            del requests[host]
        return requests

    def _is_active(self, device: NamedDevice) -> bool:
        snapshot = device_snapshot(self._desk, [device])
        return snapshot.devices[device.address].state is DeviceState.ACTIVE

    def _source(self) -> tuple[str, str, bytes]:
        """Return what pip takes there, a file's name, and that file's content to be copied."""
        spec = self._wishes.install_from
        if spec is None:
            return "-", wheel_name(), build_wheel()
        path = Path(spec)
        if path.is_file():
            return "-", path.name, load_bounded(path, limit=_WHEEL_LIMIT)
        return spec, "", b""

    def _init_options(self) -> list[str]:
        wishes, config = self._wishes, self._desk.config
        many = {
            "rpc": wishes.rpc or config.chain.rpc,
            "gateway": wishes.gateways or config.store.gateways,
            "allow": wishes.allow,
        }
        words = ["--domain", str(self._desk.domain.id)]
        words += [w for key, values in many.items() for v in values for w in (f"--{key}", v)]
        words += [w for key, value in wishes.options.items() for w in (f"--{key}", value)]
        return words + (["--console-access"] if wishes.console_access else [])

    def _each(
        self, doing: str, act: Callable[[str], _Answer], hosts: Iterable[str]
    ) -> list[tuple[str, _Answer]]:
        """Do something on each host, so many at a time; return the answers in the hosts' order."""
        wanted = list(hosts)
        answers: dict[str, _Answer] = {}
        with (
            self._output.working(doing),
            ThreadPoolExecutor(max_workers=self._wishes.jobs) as pool,
        ):
            waiting = {pool.submit(act, host): host for host in wanted}
            try:
                for number, future in enumerate(as_completed(waiting), start=1):
                    host = waiting[future]
                    try:
                        answers[host] = future.result()
                    except DpkiError as error:
                        self._fail(host, error.message.removeprefix(f"{host}: "))
                    self._output.notice(f"{doing}: {number} of {len(wanted)}")
            finally:
                # After Ctrl-C: those whose turn has not come are left alone.
                pool.shutdown(wait=False, cancel_futures=True)
        return [(host, answers[host]) for host in wanted if host in answers]

    def _fail(self, host: str, why: str) -> None:
        self._failed[host] = why
        self._output.say(f"{host}: {why}")

    def _raise(self, done: str) -> None:
        if self._failed:
            lines = "; ".join(f"{host}: {why}" for host, why in self._failed.items())
            raise DpkiError(
                f"{done}, and {len(self._failed)} hosts failed: {lines}",
                hint="mend that, and run the command again: it does what is left",
            )
