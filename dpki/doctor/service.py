"""The agent as a service of the device: whether it runs, set up as it would be now."""

from __future__ import annotations

import os
import shlex

from dpki.agent import disk
from dpki.agent.host import Host
from dpki.agent.unit import NAME, render_unit
from dpki.doctor.finding import AS_ROOT, Finding, Level, from_error
from dpki.doctor.paths import Kind, judge, look_at
from dpki.errors import DpkiError, ServiceFailed

_PART = "agent's service"


def look_at_service(host: Host) -> list[Finding]:
    """Return whether the unit is there, is what installing would write, and runs."""
    where, mend = str(host.unit), f"dpki agent install --dir {shlex.quote(str(host.directory))}"
    facts = look_at(host.unit)
    if facts.kind is Kind.MISSING:
        said = "there is none: nothing looks after this device unless somebody starts it"
        return [Finding(_PART, Level.WARNING, said, where, mend)]
    owners = (0, os.geteuid())
    found = judge("agent's unit file", facts, mode=0o644, owners=owners, missing=mend)
    try:
        wanted = render_unit(host.program, host.directory, host.config)
    except DpkiError as error:
        return [found, from_error(_PART, error, where=where)]
    is_same = disk.read(host.unit) == wanted
    try:
        is_up = host.systemd.is_in_service(NAME)
    except ServiceFailed as error:
        return [found, Finding(_PART, Level.COULD_NOT_CHECK, error.message, where, AS_ROOT)]
    return [found, judge_service(is_same=is_same, is_up=is_up, where=where, mend=mend)]


def judge_service(*, is_same: bool, is_up: bool, where: str, mend: str) -> Finding:
    """Return how the service stands.

    Args:
        is_same: Whether its unit is what installing would write.
        is_up: Whether it runs, and systemd starts it at each boot.
        mend: What installs it.
    """
    if not is_up:
        said = "it does not run, or not from boot on, and without it nobody gets in before long"
        return Finding(_PART, Level.PROBLEM, said, where, mend)
    if not is_same:
        said = (
            "its unit is not what this dpki would write for this device.toml: one of them was"
            " changed since, so the agent may lack a right that it needs, or somebody changed it"
        )
        return Finding(_PART, Level.WARNING, said, where, mend)
    return Finding(_PART, Level.OK, "it runs and starts at boot, with the unit of this dpki", where)
