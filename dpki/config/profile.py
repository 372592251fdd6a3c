"""A CA's profile: `profiles/<CA's name>.toml` in the admin's home says what it may issue.

What is not written there is not allowed. A CA without such a file has the default profile: any
principal, a terminal for users, nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dpki.certificates.key_id import KEY_ID_PARTS
from dpki.certificates.profile import KEY_TYPES, SSH_KINDS, PrincipalRule, Profile
from dpki.config.durations import format_duration, parse_duration
from dpki.config.toml import Table, Value, dump_toml, load_table, parse_table
from dpki.errors import ConfigError, UsageError
from dpki.model import AuthorityKind

VERSION = 1
_KINDS = {kind.label: kind for kind in SSH_KINDS}


def load_profile(path: Path) -> Profile | None:
    """Load a CA's profile; None where it has none, which only a file that isn't there says.

    Raises:
        ConfigError: It is unsafe, unreadable or malformed; the message names the file and the key.
    """
    try:
        os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"could not read {path}: {error.strerror}") from error
    return _parse(load_table(path, version=VERSION, missing="it is a link that leads nowhere"))


def parse_profile(data: bytes, path: Path) -> Profile:
    """Parse the content of a profile's file; `path` is for messages.

    Raises:
        ConfigError: It is malformed, or allows what makes no sense.
    """
    return _parse(parse_table(data, path, version=VERSION))


def dump_profile(profile: Profile) -> str:
    """Return the text of a profile's file; the same profile always gives the same text."""
    values: dict[str, Value] = {
        "version": VERSION,
        "kind": profile.kind.label,
        "maximum_validity": format_duration(profile.maximum_validity),
        "extensions": sorted(profile.extensions),
        "key_types": sorted(profile.key_types),
        "key_id": profile.key_id,
        "reason_required": profile.reason_required,
        **({} if profile.overlap is None else {"overlap": format_duration(profile.overlap)}),
        "principals": {"allow": profile.principals.allow, "deny": profile.principals.deny},
        "critical_options": {
            name: _option_value(name, value) for name, value in sorted(profile.critical_options)
        },
    }
    return dump_toml(values)


def _option_value(name: str, value: str) -> Value:
    if name == "verify-required":
        return True
    return value.split(",") if name == "source-address" else value


def _parse(table: Table) -> Profile:
    kind = table.parsed("kind", _parse_kind)
    longest = table.parsed("maximum_validity", parse_duration)
    profile = Profile(kind, longest, principals=_parse_principals(table.table("principals")))
    extensions = table.texts("extensions", ())
    key_types = table.texts("key_types", tuple(KEY_TYPES))
    key_id = table.texts("key_id", KEY_ID_PARTS)
    reason_required = table.flag("reason_required", False)
    overlap = table.parsed("overlap", parse_duration) if "overlap" in table else None
    options = _parse_options(table.table("critical_options"))
    # One by one, so that each mistake is told by the key that it stands under.
    with table.blame("extensions"):
        profile = replace(profile, extensions=_distinct(extensions))
    with table.blame("key_types"):
        profile = replace(profile, key_types=_distinct(key_types))
    with table.blame("key_id"):
        profile = replace(profile, key_id=key_id)
    with table.blame("reason_required"):
        profile = replace(profile, reason_required=reason_required)
    with table.blame("overlap"):
        profile = replace(profile, overlap=overlap)
    with table.blame("critical_options"):
        profile = replace(profile, critical_options=options)
    table.close()
    if not profile.key_types:
        raise table.error("key_types", "is empty, so the CA could issue nothing")
    return profile


def _parse_kind(text: str) -> AuthorityKind:
    if text not in _KINDS:
        raise UsageError(f"{text[:40]!r} is not {' or '.join(_KINDS)}")
    return _KINDS[text]


def _parse_principals(table: Table) -> PrincipalRule:
    allow, deny = table.texts("allow"), table.texts("deny", ())
    with table.blame("allow"):
        rule = PrincipalRule(allow)
    with table.blame("deny"):
        rule = replace(rule, deny=deny)
    table.close()
    if not rule.allow:
        raise table.error("allow", "names no principal, so the CA could issue nothing")
    return rule


def _parse_options(table: Table) -> tuple[tuple[str, str], ...]:
    options = []
    if "force-command" in table:
        options.append(("force-command", table.text("force-command")))
    if "source-address" in table:
        options.append(("source-address", ",".join(table.texts("source-address"))))
    if table.flag("verify-required", False):
        options.append(("verify-required", ""))
    table.close()
    return tuple(options)


def _distinct(values: Sequence[str]) -> frozenset[str]:
    for value in values:
        if values.count(value) > 1:
            raise UsageError(f"{value[:60]!r} is given twice")
    return frozenset(values)
