"""A profile in plain words: what it allows, and what of that is dangerous. Pure.

The dangers are OpenSSH's own warnings (ssh_config(5), sshd(8), PROTOCOL.certkeys) and what the
rest of dpki can't protect against.
"""

from __future__ import annotations

import ipaddress
from datetime import timedelta

from dpki.certificates.keys import is_security_key
from dpki.certificates.principals import matches
from dpki.certificates.profile import END_SESSIONS, KEY_TYPES, USER_EXTENSIONS, Profile
from dpki.model import AuthorityKind

LONG_FOR_USERS = timedelta(hours=24)
LONG_FOR_HOSTS = timedelta(days=90)

_MEANING = {
    "no-touch-required": "use a FIDO key without touching it",
    "permit-X11-forwarding": "forward X11",
    "permit-agent-forwarding": "forward their SSH agent",
    "permit-port-forwarding": "forward ports",
    "permit-pty": "have a terminal",
    "permit-user-rc": "run ~/.ssh/rc at login",
}
_DANGER = {
    "no-touch-required": "malware on the holder's machine can use the FIDO key unnoticed",
    "permit-X11-forwarding": "whoever is root on the host can read and type into the holder's X11",
    "permit-agent-forwarding": "whoever is root on the host can log in elsewhere as the holder",
    "permit-port-forwarding": "the holder can reach everything that the host can, past firewalls",
    "permit-user-rc": "whoever can write the account's ~/.ssh/rc runs commands at each login",
}


def explain(profile: Profile) -> tuple[str, ...]:
    """Return what certificates by this profile allow, in sentences, and nothing else is allowed."""
    is_user = profile.kind is AuthorityKind.SSH_USER
    whom, who = ("people", "log in as") if is_user else ("hosts", "be the host")
    allowed = ", ".join(profile.principals.allow)
    lines = [
        f"signs certificates for {whom}, valid for at most {_span(profile.maximum_validity)}",
        f"holders may {who}: {allowed or 'nobody'}"
        + (f"; never: {', '.join(profile.principals.deny)}" if profile.principals.deny else ""),
    ]
    granted = sorted(profile.extensions & USER_EXTENSIONS)
    lines += [f"holders may {_MEANING[name]}" for name in granted]
    if END_SESSIONS in profile.extensions:
        lines.append("their sessions end with their certificates")
    denied = sorted(USER_EXTENSIONS - profile.extensions - {"no-touch-required"})
    if is_user and denied:
        lines.append(f"holders may not {', '.join(_MEANING[name] for name in denied)}")
    options = dict(profile.critical_options)
    if "force-command" in options:
        lines.append(f"whatever holders ask for, this runs: {options['force-command']}")
    if "source-address" in options:
        lines.append(f"holders may come only from {options['source-address']}")
    elif is_user:
        lines.append("holders may come from any address")
    if profile.requires_verification:
        lines.append("each use asks for the FIDO token's PIN or fingerprint")
    if profile.overlap is not None:
        span = _span(profile.overlap)
        lines.append(f"devices keep the certificate before a new one in use for {span}")
    lines.append(_explain_keys(profile))
    lines.append(_explain_key_id(profile))
    return tuple(lines)


def find_dangers(profile: Profile) -> tuple[str, ...]:
    """Return what is dangerous about a profile, worst first; nothing where nothing is."""
    dangers = [*_of_principals(profile), *_of_addresses(profile)]
    options = dict(profile.critical_options)
    if "SSH_ORIGINAL_COMMAND" in options.get("force-command", ""):
        dangers.append("force-command runs what the client sends: it forces little")
    if "force-command" in options and "permit-port-forwarding" in profile.extensions:
        dangers.append("force-command does not keep the holder from forwarding ports")
    dangers += [f"{name}: {_DANGER[name]}" for name in sorted(profile.extensions & set(_DANGER))]
    is_user = profile.kind is AuthorityKind.SSH_USER
    long = LONG_FOR_USERS if is_user else LONG_FOR_HOSTS
    if profile.maximum_validity > long:
        dangers.append(
            f"a stolen key stays useful for up to {_span(profile.maximum_validity)}, unless the"
            f" theft is noticed; {_span(long)} is long enough"
        )
    for part in ("domain", "ca"):
        if part not in profile.key_id:
            dangers.append(
                f"key ids don't say which {part} a certificate is of: logs are ambiguous"
            )
    return tuple(dangers)


def _span(time: timedelta) -> str:
    """Return a time in the largest unit that divides it."""
    seconds = int(time.total_seconds())
    units = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
    size, unit = next((size, unit) for size, unit in units if seconds % size == 0)
    return f"{seconds // size} {unit}{'' if seconds == size else 's'}"


def _explain_keys(profile: Profile) -> str:
    usable = {
        kind
        for kind in profile.key_types
        if not profile.requires_verification or is_security_key(kind)
    }
    if usable == KEY_TYPES:
        return "certifies keys of every type that OpenSSH takes"
    return f"certifies keys of type {', '.join(sorted(usable)) or '(none)'} only"


def _explain_key_id(profile: Profile) -> str:
    text = f"logs name holders by {'/'.join(part for part in profile.key_id if part != 'reason')}"
    if profile.reason_required:
        return f"{text}, and a reason must be given"
    return f"{text}, and the reason if one is given" if "reason" in profile.key_id else text


def _of_principals(profile: Profile) -> list[str]:
    rule, dangers = profile.principals, []
    if not rule.allow:
        dangers.append("no principal is allowed: nothing can be issued")
    if profile.kind is AuthorityKind.SSH_USER:
        if rule.allows("root"):
            dangers.append("holders may be root, wherever a device maps that principal")
        for pattern in rule.allow:
            if "*" in pattern and len(pattern.replace("*", "")) < 2:
                dangers.append(f"the pattern {pattern} allows any principal: name those you mean")
            elif "*" in pattern and matches(pattern, "device:0x" + "0" * 40):
                dangers.append(f"the pattern {pattern} allows every device's own principal")
        return dangers
    for pattern in rule.allow:
        if "*" in pattern and "." not in pattern.rpartition("*")[2].strip("."):
            dangers.append(f"the pattern {pattern} lets the CA speak for hosts of any domain")
    return dangers


def _of_addresses(profile: Profile) -> list[str]:
    value = dict(profile.critical_options).get("source-address", "")
    networks = [ipaddress.ip_network(text) for text in value.split(",") if text]
    wide = [network for network in networks if network.prefixlen == 0]
    return [f"source-address {network} is every address there is" for network in wide]
