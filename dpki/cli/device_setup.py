"""Setting up a device: what `dpki device init` and `dpki device rekey` do."""

from __future__ import annotations

import os
import pwd
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dpki.agent.follow import KEYS
from dpki.chain.connect import connect_agreed
from dpki.chain.domain import Domain
from dpki.chain.snapshot import DeviceRecord, fetch_snapshot
from dpki.cli.options import argument
from dpki.config import device as device_config
from dpki.config.device import (
    Access,
    DeviceConfig,
    dump_device_config,
    load_device_config,
    parse_allowances,
    parse_device_config,
    save_device_config,
)
from dpki.config.finality import Finality
from dpki.config.outbound import Outbound
from dpki.config.presets import PRESETS
from dpki.config.sshd import CommandHook, ReloadHook, Sshd, parse_hook
from dpki.config.urls import verify_urls
from dpki.config.values import (
    verify_account,
    verify_break_glass,
    verify_host_pattern,
    verify_secret_source,
)
from dpki.devices.document import make_key_document
from dpki.devices.enrollment import (
    EnrollmentRequest,
    encode_request,
    make_enrollment_request,
    parse_request,
)
from dpki.devices.keys import DeviceKeys, generate_device_keys, load_device_keys, save_device_keys
from dpki.devices.prekeys import add_prekeys
from dpki.devices.request_text import TEXT_LIMIT
from dpki.errors import CheckedFalse, ConfigError, MalformedInput, UsageError
from dpki.files import (
    PUBLIC,
    load_bounded,
    make_private_directory,
    verify_writable,
    write_atomic,
)
from dpki.model import DeviceState, DomainId
from dpki.transport.address import Broker, BrokerAddress

REQUEST_LIFETIME = timedelta(days=7)
"""How long an admin may take to relay a request."""

TO_RELAY = timedelta(hours=1)
"""A request that counts no longer than this is taken for one that has expired."""

REQUEST = "enroll.request"
"""Where a device's request lies, in its folder."""

KEPT_HOST_KEYS = 4
"""SSH host keys in a key document, the newest: older ones have been replaced long since."""

_LINE_LIMIT = 16 * 1024


@dataclass(frozen=True)
class Wishes:
    """What was asked for on the command line."""

    domain: str
    rpc: tuple[str, ...]
    quorum: int | None
    gateways: tuple[str, ...]
    directories: tuple[Path, ...]
    allow: tuple[str, ...]
    successors: bool
    break_glass: Path | None
    console_access: bool
    sshd_directory: Path | None
    sshd_config: Path | None
    drop_in: Path | None
    reload: str | None
    broker: Broker | None = None
    outbound: Outbound | None = None


def make_config(wishes: Wishes) -> DeviceConfig:
    """Return the configuration that was asked for, checked.

    Raises:
        UsageError: Something is misspelled, or there would be no way in during an outage.
    """
    domain = argument(DomainId.parse, wishes.domain)
    if (wishes.break_glass is None) == (not wishes.console_access):
        raise UsageError(
            "how does one get in when certificates can't decide?",
            hint="give either --break-glass FILE.pub (a key under no CA) or --console-access",
        )
    config = DeviceConfig(
        domain=domain,
        rpc=verify_urls(wishes.rpc),
        quorum=wishes.quorum,
        gateways=verify_urls(wishes.gateways),
        directories=tuple(path.absolute() for path in wishes.directories),
        sshd=_sshd(wishes),
        access=_access(wishes),
        accounts=argument(parse_allowances, wishes.allow),
        successors=wishes.successors,
        chain=_finality(domain.chain_id),
        broker=wishes.broker,
        outbound=wishes.outbound,
    )
    # Read back, so that what is written is never what the agent refuses.
    return parse_device_config(dump_device_config(config))


def make_outbound(
    account: str | None, hosts: str | None, directory: Path | None
) -> Outbound | None:
    """Return who is to log in elsewhere; None for nobody.

    Raises:
        UsageError: Something of it is misspelled, or it is not said who.
    """
    if account is None:
        if hosts is not None or directory is not None:
            raise UsageError("which account logs in elsewhere?", hint="give --outbound, too")
        return None
    default = Outbound(argument(verify_account, account))
    return replace(
        default,
        hosts=default.hosts if hosts is None else argument(verify_host_pattern, hosts),
        directory=default.directory if directory is None else directory.absolute(),
    )


def make_broker(
    address: str | None, user: str, password: str, authority: Path | None
) -> Broker | None:
    """Return the broker that was asked for; None for none.

    Raises:
        UsageError: Something of it is misspelled or missing; no password is repeated.
    """
    if address is None:
        if user or password or authority is not None:
            raise UsageError("which broker?", hint="give --broker mqtts://HOST/PREFIX, too")
        return None
    if not user or not password:
        raise UsageError(
            "a broker needs a user and a password",
            hint="give --broker-user NAME and --broker-password file:PATH",
        )
    where = None if authority is None else authority.absolute()
    return Broker(BrokerAddress.parse(address), user, verify_secret_source(password), where)


def set_up(directory: Path, config: DeviceConfig, prekeys: int) -> tuple[EnrollmentRequest, Path]:
    """Write a device's keys, configuration and enrolment request; return request and its file.

    Keys that an interrupted run has left are taken. A folder that was set up like this before gets
    a new request, for the keys that are there.

    Args:
        prekeys: How many one-time keys the supply begins with.

    Raises:
        ConfigError: The folder has another configuration already, or its device is enrolled; it is
            left as it is.
        WrongDomain, EndpointUnavailable: The domain is not found; nothing was written.
    """
    path = directory / REQUEST
    if (directory / device_config.FILE_NAME).exists():
        return _set_up_again(directory, config), path
    with connect_agreed(config.rpc, config.domain, config.quorum) as chain:
        domain = chain.domain
    make_private_directory(directory)
    keys = _make_keys(directory / KEYS, prekeys)
    request = _write_request(path, keys, domain, nonce=0)
    # Last: with it the device is set up.
    save_device_config(directory, config)
    return request, path


def _set_up_again(directory: Path, config: DeviceConfig) -> EnrollmentRequest:
    before: DeviceConfig | None = None
    with suppress(ConfigError):
        before = load_device_config(directory)
    renewed = renew_request(directory, directory / REQUEST) if before == config else None
    if renewed is None:
        other = "says something else" if before != config else "its device is enrolled"
        raise ConfigError(
            f"{directory / device_config.FILE_NAME} exists already, and {other}",
            hint="edit it; for a new request with the same keys: dpki device request; for another"
            " device, choose another --dir",
        )
    return renewed


def renew_request(
    directory: Path, path: Path, *, only_expired: bool = False
) -> EnrollmentRequest | None:
    """Write a new enrolment request for the keys that there are: an old one counts no more.

    Args:
        path: Where the request goes.
        only_expired: Leave one that still counts as it is, and return that.

    Returns:
        The request; None where the device is enrolled, and has nothing to ask for.

    Raises:
        CheckedFalse: The device is retired.
        CouldNotCheck: The chain could not be read.
    """
    if only_expired and (standing := _standing_request(path)) is not None:
        return standing
    domain, record = _look_up(directory, load_device_config(directory))
    if record.state is DeviceState.ACTIVE:
        return None
    return _write_request(path, load_device_keys(directory / KEYS), domain, record.nonce)


def _standing_request(path: Path) -> EnrollmentRequest | None:
    """Return the request that is there, where it still counts for some time."""
    if not path.exists():
        return None
    try:
        request = parse_request(load_bounded(path, limit=TEXT_LIMIT))
    except MalformedInput:
        return None
    return request if datetime.now(UTC) + TO_RELAY < request.deadline else None


def make_update(directory: Path, path: Path, change: Callable[[Path], object]) -> EnrollmentRequest:
    """Make new keys, and write a request to have them known.

    Args:
        path: Where the request goes.
        change: Makes them, in the folder of keys.

    Raises:
        CheckedFalse: The device is not enrolled, or retired; no key was made.
        CouldNotCheck: The chain could not be read; no key was made.
    """
    domain, record = _look_up(directory, load_device_config(directory))
    if record.state is not DeviceState.ACTIVE:
        raise CheckedFalse(
            f"this device ({record.address}) is not enrolled yet",
            hint="the admin enrols it with: dpki device enroll enroll.request --name NAME",
        )
    verify_writable(path)
    change(directory / KEYS)
    return _write_request(path, load_device_keys(directory / KEYS), domain, record.nonce)


def make_joining(directory: Path, name: str, path: Path) -> EnrollmentRequest:
    """Write a request to a further domain of device.toml, with the keys that there are.

    Args:
        name: What the domain is called there.
        path: Where the request goes.

    Raises:
        UsageError: device.toml names no such domain.
        CheckedFalse: The device is retired in that domain.
        CouldNotCheck: The chain could not be read.
    """
    domains = load_device_config(directory).each()
    if name not in domains:
        raise UsageError(
            f"device.toml names no domain {name!r}", hint=f"it names: {', '.join(domains)}"
        )
    domain, record = _look_up(directory, domains[name])
    return _write_request(path, load_device_keys(directory / KEYS), domain, record.nonce)


def _look_up(directory: Path, config: DeviceConfig) -> tuple[Domain, DeviceRecord]:
    """Return the domain, and how this device stands there.

    Raises:
        CheckedFalse: It is retired.
        CouldNotCheck: The chain could not be read.
    """
    device = load_device_keys(directory / KEYS).address
    with connect_agreed(config.rpc, config.domain, config.quorum) as chain:
        found = fetch_snapshot(chain.reader, chain.domain, devices=[device])
    record = found.devices[device]
    if record.state is DeviceState.RETIRED:
        raise CheckedFalse(
            f"this device ({device}) is retired in {config.domain}",
            hint="a retired device stays so for ever; set another one up",
        )
    return chain.domain, record


def _write_request(path: Path, keys: DeviceKeys, domain: Domain, nonce: int) -> EnrollmentRequest:
    document = make_key_document(keys, sequence=nonce)
    document = replace(document, ssh_host=document.ssh_host[-KEPT_HOST_KEYS:])
    deadline = datetime.now(UTC) + REQUEST_LIFETIME
    request = make_enrollment_request(keys, domain.id, domain.devices, document, deadline, nonce)
    # Nothing in it is secret: it is carried to the admin by whatever means.
    write_atomic(path, encode_request(request), mode=PUBLIC)
    return request


def _make_keys(directory: Path, prekeys: int) -> DeviceKeys:
    if not directory.exists():
        save_device_keys(directory, generate_device_keys())
    add_prekeys(directory, prekeys)
    return load_device_keys(directory)


def _sshd(wishes: Wishes) -> Sshd:
    default = Sshd()
    is_root = os.geteuid() == 0
    reload = default.reload if is_root else CommandHook(())
    if wishes.reload is not None:
        reload = _hook(wishes.reload)
    return Sshd(
        directory=(wishes.sshd_directory or default.directory).absolute(),
        config=(wishes.sshd_config or default.config).absolute(),
        drop_in=(wishes.drop_in or default.drop_in).absolute(),
        binary=default.binary,
        login_user=default.login_user if is_root else _own_name(),
        reload=reload,
    )


def _hook(text: str) -> ReloadHook:
    """Return one of the known hooks, or a command as a shell splits it."""
    if text == "none" or text.startswith(("systemd:", "pid:")):
        return parse_hook(text)
    try:
        return CommandHook(tuple(shlex.split(text)))
    except ValueError as error:
        raise UsageError("the command after --reload has an open quote") from error


def _own_name() -> str:
    """Return the running user's name: who is not root can't run anything as somebody else."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError as error:
        raise UsageError(
            f"the running user, uid {os.geteuid()}, has no name in /etc/passwd",
            hint="run as root or as a user that is listed there",
        ) from error


def _access(wishes: Wishes) -> Access:
    if wishes.break_glass is None:
        return Access(console_access=True)
    line = load_bounded(wishes.break_glass, limit=_LINE_LIMIT).decode("utf-8", "replace")
    return Access(break_glass=argument(verify_break_glass, line))


def _finality(chain_id: int) -> Finality:
    """Return what is known to suit the chain, else the careful default."""
    for preset in PRESETS.values():
        if preset.chain_id == chain_id:
            return preset.finality
    return Finality()
