"""On a device: ask to be enrolled with a one-time token, and wait for the answer."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from dpki.cli.options import argument
from dpki.cli.output import Output
from dpki.cli.session import secret
from dpki.devices.enrollment import encode_request, parse_request
from dpki.devices.request_text import TEXT_LIMIT
from dpki.devices.token import Answer, Outcome, Token, make_asking, verify_answer
from dpki.errors import CheckedFalse, TransportUnavailable, UsageError, WrongDomain
from dpki.files import load_bounded
from dpki.model import Address
from dpki.transport.address import Broker
from dpki.transport.base import Kind, Topic, Transport
from dpki.transport.connect import open_transport

DEADLINE = timedelta(seconds=60)

_WHY = {
    Outcome.EXPIRED: "the token has expired, or was cancelled",
    Outcome.USED: "the token was used already, by another device or for another request",
    Outcome.TAKEN: "the name that the token gives is another device's",
    Outcome.STANDING: "this device is retired there, or enrolled with other keys",
}


def read_token(spec: str, output: Output) -> Token:
    """Return the token that a source gives.

    Raises:
        UsageError: What it gives is no token; it is not repeated.
        ConfigError: It gives nothing.
    """
    return argument(Token.parse, secret(spec, output)("one-time token"))


def open_place(place: str, broker: Broker | None, ssh_config: Path | None = None) -> Transport:
    """Return the transport that somebody typed; a folder may be relative there.

    Raises:
        UsageError: It is none, or no broker is configured.
    """
    if place != "broker" and "://" not in place:
        place = str(Path(place).expanduser().absolute())
    return open_transport(place, broker, ssh_config)


def ask_by(
    output: Output, token: Token, path: Path, transport: Transport, wait: timedelta | None
) -> dict[str, object]:
    """Ask; return what became of it, as plain data.

    Args:
        path: The request's file.
        wait: How long to wait for the answer; None for not at all.

    Raises:
        WrongDomain: The token is another trust domain's.
        CheckedFalse: The answer is no.
        TransportUnavailable: The request could not be left, or no answer came in time.
    """
    request = parse_request(load_bounded(path, limit=TEXT_LIMIT))
    if request.domain != token.domain:
        raise WrongDomain(
            f"the token is of the trust domain {token.domain}, the request is for {request.domain}",
            hint="the admin of this domain makes one: dpki device token",
        )
    data, device = encode_request(request), request.device
    before = _lying(transport, device)
    transport.send(Topic(Kind.REQUEST, device), make_asking(token, data), DEADLINE)
    output.say(f"asked to be enrolled, through {transport.name}")
    said: dict[str, object] = {
        "device": str(device),
        "request": str(path),
        "asked": transport.name,
        "outcome": None,
        "block": None,
    }
    if wait is None:
        return said
    with output.working("waiting for the answer"):
        answer = _await(output, token, transport, wait, device, data, before)
    output.say(f"enrolled in {answer.domain}")
    return said | {"outcome": answer.outcome.value, "block": answer.block or None}


def _lying(transport: Transport, device: Address) -> frozenset[bytes]:
    """Return an earlier answer: a refusal may have been overtaken by what the admin did since."""
    try:
        return frozenset(m.data for m in transport.receive(Kind.ANSWER, DEADLINE, device))
    except TransportUnavailable:
        # A folder that the first message makes; what else it is shows at once.
        return frozenset()


def _await(
    output: Output,
    token: Token,
    transport: Transport,
    wait: timedelta,
    device: Address,
    request: bytes,
    before: frozenset[bytes],
) -> Answer:
    refusal, forged = None, False
    for message in transport.receive(Kind.ANSWER, wait, device, wait=True):
        try:
            answer = verify_answer(message.data, token, device, request)
        except CheckedFalse as error:
            # Whoever carries messages can leave anything: the true one may come yet.
            if not forged:
                output.say(f"warning: an answer is not believed: {error.message}")
            forged = True
            continue
        if answer.outcome is Outcome.ENROLLED:
            return answer
        refusal = CheckedFalse(
            f"the admin's answer is no: {_WHY[answer.outcome]}",
            hint="the admin sees more with: dpki device tokens; a token for another try: dpki"
            " device token",
        )
        if message.data not in before:
            raise refusal
    raise refusal or TransportUnavailable(
        f"no answer that can be believed came through {transport.name} in time",
        hint="the request lies there; ask again with: dpki device ask",
    )


def verify_domain(token: Token | None, domain: str | None) -> str:
    """Return the domain that a token and an option name.

    Raises:
        UsageError: Neither names one, or they differ.
    """
    if token is None:
        if domain is None:
            raise UsageError("which trust domain?", hint="give --domain ID, or --token SPEC")
        return domain
    if domain is not None and domain != str(token.domain):
        raise UsageError(
            f"the token is of the trust domain {token.domain}, not of the one in --domain",
            hint="leave --domain out, or get a token of that domain",
        )
    return str(token.domain)
