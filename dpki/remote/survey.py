"""What is found on a host before anything is changed there, and what is missing. Pure.

`SCRIPT` only looks: it runs with nothing but a POSIX shell, and answers in lines `word=value`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path

from dpki.errors import MalformedInput

SURVEY_LIMIT = 16 << 10
OLDEST_PYTHON = (3, 11)
OLDEST_SSHD = (8, 2)
"""The first OpenSSH with certificates of security keys; see `doctor.programs`."""
ROOM_KILOBYTES = 300 << 10
"""What dpki and its libraries take on a device, and as much again while they are unpacked."""
CLOCK_SKEW = timedelta(minutes=4)
"""Certificates begin five minutes before they are issued."""

SCRIPT = r"""
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"; LC_ALL=C; export PATH LC_ALL
echo "uid=$(id -u)"
if [ "$(id -u)" != 0 ] && sudo -n true 2>/dev/null; then echo sudo=yes; fi
for p in python3.14 python3.13 python3.12 python3.11 python3; do
  v=$("$p" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
  echo "python=$p $v"
  "$p" -c 'import ensurepip, venv' 2>/dev/null && echo "venv=$p"
done
[ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1 && echo systemd=yes
s=$(command -v sshd) && echo "sshd=$("$s" -V 2>&1 | grep -o 'OpenSSH_[0-9]*\.[0-9]*' | head -n 1)"
if [ -r "$2" ]; then
  echo config=yes
  sed -n 's/^[[:space:]]*[Ii][Nn][Cc][Ll][Uu][Dd][Ee][[:space:]=]*/include=/p' "$2" | head -n 20
fi
d=$1; while [ ! -d "$d" ]; do d=$(dirname "$d"); done
echo "room=$(df -Pk "$d" | awk 'NR == 2 { print $4 }')"
echo "clock=$(date -u +%s)"
for p in "$1/bin/dpki" "$(command -v dpki)"; do
  [ -x "$p" ] && echo "dpki=$p $("$p" --version 2>/dev/null)"
done
[ -e "$3/device.toml" ] && echo set_up=yes
exit 0
"""
"""Its arguments: where dpki goes, sshd's configuration, the device's folder."""

_LINE = re.compile(r"([a-z_]{2,10})=([ -~]{0,400})")


@dataclass(frozen=True)
class Survey:
    """What was found.

    Attributes:
        pythons: Python programs with their versions, the newest first.
        with_venv: Those of them that can make a virtual environment.
        sshd: The version of sshd; None where there is none.
        includes: What sshd's configuration includes; None where there is no such file.
        room: Kilobytes free where dpki goes.
        clock: The host's time.
        programs: Each `dpki` that is there, with the version that it says.
        is_set_up: Whether the device has its configuration already.
    """

    uid: int
    has_sudo: bool
    pythons: tuple[tuple[str, tuple[int, int]], ...]
    with_venv: frozenset[str]
    has_systemd: bool
    sshd: tuple[int, int] | None
    includes: tuple[str, ...] | None
    room: int
    clock: datetime
    programs: tuple[tuple[str, str], ...]
    is_set_up: bool

    @property
    def python(self) -> str | None:
        """The Python that dpki can be installed with; None where there is none."""
        for program, version in self.pythons:
            if version >= OLDEST_PYTHON and program in self.with_venv:
                return program
        return None

    def program(self, version: str) -> str | None:
        """Return the path of dpki in this version; None where it has to be installed."""
        for path, said in self.programs:
            if said == f"dpki {version}":
                return path
        return None


@dataclass(frozen=True)
class Needs:
    """What the host is to have.

    Attributes:
        version: The dpki that is wanted.
        service: Whether the agent becomes a service of systemd.
        drop_in: The file that sshd's configuration must include.
    """

    version: str
    drop_in: Path
    config: Path
    service: bool = True


def parse_survey(data: bytes) -> Survey:
    """Parse a host's answer.

    Raises:
        MalformedInput: It is too long, or no such answer.
    """
    if len(data) > SURVEY_LIMIT:
        raise MalformedInput("the host's answer is too long")
    found: dict[str, list[str]] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        # A login shell may greet: what is no answer is nothing.
        match = _LINE.fullmatch(line.rstrip())
        if match is not None:
            found.setdefault(match[1], []).append(match[2])
    sshd = re.fullmatch(r"OpenSSH_(\d{1,3})\.(\d{1,3})", _first(found, "sshd"))
    return Survey(
        uid=_number(found, "uid"),
        has_sudo="sudo" in found,
        pythons=tuple(_python(text) for text in found.get("python", ())),
        with_venv=frozenset(found.get("venv", ())),
        has_systemd="systemd" in found,
        sshd=None if sshd is None else (int(sshd[1]), int(sshd[2])),
        includes=tuple(found.get("include", ())) if "config" in found else None,
        room=_number(found, "room"),
        clock=_time(_number(found, "clock")),
        programs=tuple(_program(text) for text in found.get("dpki", ())),
        is_set_up="set_up" in found,
    )


def missing(survey: Survey, needs: Needs, now: datetime) -> tuple[str, ...]:
    """Return everything that is missing, in words, with what mends it."""
    lacks = []
    if survey.uid != 0 and not survey.has_sudo and needs.service:
        lacks.append("the account is not root, and may not use sudo without a password")
    if survey.program(needs.version) is None:
        if survey.python is None:
            lacks.append(_lacking_python(survey))
        if survey.room < ROOM_KILOBYTES:
            lacks.append(f"only {survey.room >> 10} MB are free, of {ROOM_KILOBYTES >> 10}")
    if needs.service and not survey.has_systemd:
        lacks.append("systemd does not run there; --no-service leaves the agent to you")
    if survey.sshd is None:
        lacks.append("there is no sshd of OpenSSH")
    elif survey.sshd < OLDEST_SSHD:
        have, want = (".".join(map(str, v)) for v in (survey.sshd, OLDEST_SSHD))
        lacks.append(f"sshd is of OpenSSH {have}, and {want} or later is needed")
    if survey.includes is None:
        lacks.append(f"{needs.config} can't be read")
    elif not any(_covers(line, needs) for line in survey.includes):
        line = f"Include {needs.drop_in.parent}/*.conf"
        lacks.append(f"{needs.config} does not include {needs.drop_in}: its first line is {line}")
    if abs(survey.clock - now) > CLOCK_SKEW:
        off = (survey.clock - now).total_seconds()
        lacks.append(f"its clock is {abs(off):.0f} s {'ahead' if off > 0 else 'behind'}")
    return tuple(lacks)


def _lacking_python(survey: Survey) -> str:
    if any(version >= OLDEST_PYTHON for _, version in survey.pythons):
        return "its Python can't make virtual environments: install python3-venv"
    newest = max((version for _, version in survey.pythons), default=None)
    have = "none" if newest is None else ".".join(map(str, newest))
    return f"Python 3.11 or later is needed, and there is {have}"


def _covers(line: str, needs: Needs) -> bool:
    """Whether an Include line covers the drop-in; relative to /etc/ssh (sshd_config(5))."""
    for word in line.split():
        pattern = word.strip('"')
        if not pattern.startswith("/"):
            pattern = f"/etc/ssh/{pattern}"
        if fnmatchcase(str(needs.drop_in), pattern):
            return True
    return False


def _first(found: dict[str, list[str]], word: str) -> str:
    return found.get(word, [""])[0]


def _number(found: dict[str, list[str]], word: str) -> int:
    text = _first(found, word)
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise MalformedInput(f"the host does not say its {word}")
    return int(text)


def _time(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise MalformedInput("the host's time is none") from error


def _python(text: str) -> tuple[str, tuple[int, int]]:
    match = re.fullmatch(r"(python3[.0-9]{0,4}) (\d{1,3})\.(\d{1,3})", text)
    if match is None:
        raise MalformedInput("the host's Python says no version")
    return match[1], (int(match[2]), int(match[3]))


def _program(text: str) -> tuple[str, str]:
    path, _, said = text.partition(" ")
    return path, said.strip()
