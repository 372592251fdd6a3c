"""Where the keys of CAs are, and how that shows: a key in a file is weaker than one in a token."""

from __future__ import annotations

from dataclasses import replace

from dpki.cli.output import Output
from dpki.cli.session import Desk
from dpki.config.admin import key_uri


def choose_key(desk: Desk, name: str, key: str | None) -> Desk:
    """Return the desk at which a CA's key is where `--key` says; nothing is written.

    Args:
        key: What was typed; None for what is configured.

    Raises:
        ConfigError: It is no URI of a key, or the configuration names another one.
    """
    if key is None:
        return desk
    from dpki.config.admin import with_key
    from dpki.signer.uri import parse_key_uri

    return replace(desk, config=with_key(desk.home, desk.config, name, parse_key_uri(key)))


def describe_key(desk: Desk, name: str | None) -> dict[str, object]:
    """Return where a CA's key is and how it is protected: `token`, or `file (weaker)`."""
    from dpki.signer.uri import FileUri

    if name is None:
        return {"key": None, "protection": "-"}
    uri = key_uri(desk.home, desk.config, name)
    return {
        "key": str(uri),
        "protection": "file (weaker)" if isinstance(uri, FileUri) else "token",
    }


def say_where(output: Output, desk: Desk, name: str) -> dict[str, object]:
    """Tell where a new CA's key is, with a warning where it is in a file; return it as data."""
    from dpki.signer.uri import FileUri

    uri = key_uri(desk.home, desk.config, name)
    if isinstance(uri, FileUri):
        from dpki.signer.file import WEAKER

        output.say(f"warning: {WEAKER}")
    output.say(f"its key: {uri}")
    return describe_key(desk, name)
