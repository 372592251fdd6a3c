"""A device as SSH client: what its agent installed for the account that logs in elsewhere."""

from __future__ import annotations

import os
import pwd
import shlex
from collections.abc import Iterable
from datetime import datetime
from importlib.resources import as_file
from importlib.resources import files as package_files

from dpki.agent.client_files import ClientFiles
from dpki.agent.host_index import COMMAND
from dpki.agent.sshd import run_checked, verify_krl
from dpki.certificates.ssh import SshCertificate, parse_ssh_certificate
from dpki.chain.snapshot import Snapshot
from dpki.config.outbound import Outbound
from dpki.doctor.finding import AS_ROOT, Finding, Level, attempt
from dpki.doctor.paths import judge, judge_folders, look_above, look_at
from dpki.errors import DpkiError

_PART = "client certificate"
_ISSUE = "the admin: dpki ssh issue --ca CA --device NAME --principal PRINCIPAL"


def look_at_outbound(
    outbound: Outbound, snapshot: Snapshot | None, now: datetime, *, mend: str
) -> list[Finding]:
    """Return how everything stands that the account's ssh reads.

    Args:
        snapshot: The domain as it is; None where it can't be had.
        mend: What has the agent install it anew.
    """
    files, where = ClientFiles(outbound.directory), str(outbound.directory)
    ours = (0, os.geteuid())
    try:
        owner = pwd.getpwnam(outbound.account).pw_uid
    except KeyError:
        said = f"there is no user {outbound.account} here, who should log in elsewhere"
        account = f"useradd --create-home {shlex.quote(outbound.account)}"
        return [Finding("ssh client's account", Level.PROBLEM, said, "/etc/passwd", account)]
    public = {
        "KRL": files.krl,
        "CA list": files.known_hosts,
        "settings": files.config,
        "host lookup": files.lookup,
        "host index": files.index,
    }
    findings = [
        judge_folders("ssh client's folder", look_above(outbound.directory), ours),
        *(
            judge(f"ssh client's {part}", look_at(path), mode=0o644, owners=ours, missing=mend)
            for part, path in public.items()
        ),
        attempt("ssh client's KRL", lambda: _verify(files), where=str(files.krl), mend=mend),
        attempt(
            "ssh client's host lookup", lambda: _ask(files), where=str(files.lookup), mend=mend
        ),
    ]
    try:
        certificates = list(_certificates(files))
    except DpkiError as error:
        return [*findings, Finding(_PART, Level.PROBLEM, error.message, where, mend)]
    except PermissionError:
        said = "this user can't see it"
        return [*findings, Finding(_PART, Level.COULD_NOT_CHECK, said, where, AS_ROOT)]
    for name, _ in certificates:
        line, key = look_at(files.certificate(name)), look_at(files.key(name))
        findings += [
            judge(f"{_PART}'s file", line, mode=0o644, owners=ours, missing=mend),
            judge("client key's file", key, mode=0o600, owners=(owner,), missing=mend),
        ]
    held = (certificate for _, certificate in certificates)
    return [*findings, judge_client(held, snapshot, now, where=where, mend=mend)]


def judge_client(
    certificates: Iterable[SshCertificate],
    snapshot: Snapshot | None,
    now: datetime,
    *,
    where: str,
    mend: str,
) -> Finding:
    """Return how long the device still gets in elsewhere: by the certificate that lasts longest.

    Args:
        snapshot: The domain as it is; None where it can't be had: then only time is judged.
    """
    held = sorted(certificates, key=lambda certificate: certificate.valid_before)
    if not held:
        said = "there is none yet: this device gets in nowhere"
        return Finding(_PART, Level.WARNING, said, where, _ISSUE)
    good = [one for one in held if _counts(one, snapshot)]
    if not good:
        said = "it was revoked, or its CA is not trusted any more: this device gets in nowhere"
        return Finding(_PART, Level.PROBLEM, said, where, mend)
    newest = good[-1]
    said = f"serial {newest.serial}, valid until {newest.valid_before:%Y-%m-%d %H:%M:%S} UTC"
    if now >= newest.valid_before:
        return Finding(_PART, Level.PROBLEM, f"{said}: it has expired", where, _ISSUE)
    if newest.valid_before - now < (newest.valid_before - newest.valid_after) / 3:
        soon = f"{said}: less than a third of its time is left"
        return Finding(_PART, Level.WARNING, soon, where, _ISSUE)
    return Finding(_PART, Level.OK, said, where)


def _counts(certificate: SshCertificate, snapshot: Snapshot | None) -> bool:
    if snapshot is None:
        return True
    authority = snapshot.authorities.get(certificate.authority_id)
    return (
        authority is not None
        and authority.state.is_trusted
        and not authority.is_revoked(certificate.serial)
    )


def _certificates(files: ClientFiles) -> Iterable[tuple[str, SshCertificate]]:
    for path in sorted(files.directory.glob("client-*-cert.pub")):
        name = path.name.removeprefix("client-").removesuffix("-cert.pub")
        yield name, parse_ssh_certificate(path.read_bytes())


def _ask(files: ClientFiles) -> str:
    """Ask for the CAs as ssh does: by the system's Python, which has to have SQLite.

    With our own script: who may have put another one there is judged elsewhere, and we may be root.
    """
    with as_file(package_files("dpki.agent").joinpath(COMMAND)) as script:
        lookup = ["/usr/bin/python3", "-I", "-S", "-E", str(script), str(files.index)]
        run_checked([*lookup, "ORDER", "host.invalid", "NONE"], "it answers nothing")
    return "it answers"


def _verify(files: ClientFiles) -> str:
    try:
        verify_krl(files.krl)
    except OSError as error:
        raise DpkiError(f"it can't be read: {error.strerror}") from error
    return "ssh can read it"
