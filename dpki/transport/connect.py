"""From what people write to the transport that it names."""

from __future__ import annotations

from pathlib import Path

from dpki.errors import UsageError
from dpki.signer.pin import pin_source
from dpki.transport.address import Broker, SshAddress
from dpki.transport.base import Transport


def open_transport(text: str, broker: Broker | None, ssh_config: Path | None = None) -> Transport:
    """Return the transport that somebody named.

    Args:
        text: `broker` for the configured one, `ssh://…`, or the absolute path of a folder.
        ssh_config: OpenSSH's configuration file for it; None for the user's own.

    Raises:
        UsageError: It is none of these, or no broker is configured.
    """
    if text == "broker":
        if broker is None:
            raise UsageError("no broker is configured", hint="name one in the table [broker]")
        return open_broker(broker)
    if text.startswith("ssh://"):
        from dpki.transport.ssh import SshTransport

        return SshTransport(SshAddress.parse(text), ssh_config)
    if text.startswith("/"):
        from dpki.transport.directory import DirectoryTransport

        return DirectoryTransport(Path(text))
    raise UsageError(
        f"{text[:120]!r} is no way for messages",
        hint="write broker, ssh://USER@HOST/FOLDER, or the absolute path of a folder",
    )


def open_broker(broker: Broker) -> Transport:
    """Return the transport through a broker; its client is loaded only here."""
    from dpki.transport.mqtt import MqttTransport

    return MqttTransport(broker.address, broker.user, pin_source(broker.password), broker.authority)
