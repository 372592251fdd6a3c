"""Addresses of services in a configuration: endpoints and gateways."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from dpki.errors import UsageError

HTTP = ("http", "https")
SOCKETS = ("ws", "wss")


def verify_url(text: str, *, schemes: tuple[str, ...] = HTTP) -> str:
    """Return `text`, a URL of one of the schemes without user, password or fragment.

    A user or password would be a secret in a configuration file and, sooner or later, in a log
    (claim T10). An access key that a provider put into the path or query can't be told from
    one: such a URL belongs into a file that only its owner reads, which these are.

    Raises:
        UsageError: It is something else.
    """
    try:
        parts = urlsplit(text)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_valid = urlsplit(""), False
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            "a URL holds a user or password",
            hint="leave them out: use an endpoint that needs none, or a local proxy",
        )
    is_plain = text.isascii() and text.isprintable() and " " not in text
    if (
        parts.scheme not in schemes
        or not parts.hostname
        or parts.fragment
        or not port_is_valid
        or not is_plain
    ):
        raise UsageError(
            f"{text[:120]!r} is not an {schemes[0]} or {schemes[1]} URL",
            hint=f"it reads like {schemes[1]}://rpc.example.org or {schemes[0]}://127.0.0.1:8545",
        )
    return text


def verify_urls(texts: Iterable[str], *, schemes: tuple[str, ...] = HTTP) -> tuple[str, ...]:
    """Return URLs that are each valid and all different, in their order.

    Raises:
        UsageError: One is no URL, or stands there twice.
    """
    urls = tuple(verify_url(text, schemes=schemes) for text in texts)
    for url in urls:
        if urls.count(url) > 1:
            raise UsageError(f"{url} stands there twice", hint="name each address once")
    return urls
