"""One-time tokens, by which a device asks without anybody typing (docs/formats.md, Token).

A token is never sent. Keys that are derived from it (HKDF, RFC 5869) authenticate request and
answer (HMAC-SHA256, RFC 2104), one for each direction. The trust domain is part of the token and of
every key, so who carries the messages can't take the device into another domain.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from dpki.bundle.codec import dumps, fields_of, loads_strict, verify_version
from dpki.devices.enrollment import REQUEST_LIMIT, EnrollmentRequest, parse_request
from dpki.errors import MalformedInput, SignatureInvalid, WrongContext, WrongDomain
from dpki.model import Address, DomainId, Hash32

ASKING_LIMIT = REQUEST_LIMIT + 1024
"""Bytes of a request with its MAC, at most."""
ANSWER_LIMIT = 1024
TOKEN_LIMIT = 1024
"""Characters of a token, at most."""
ID_BYTES = 16
KEY_BYTES = 32

_VERSION = 1
_LINE = "dpki-token:"
_TOKEN = {"v": int, "domain": str, "secret": bytes, "check": bytes}
_ASKING = {"v": int, "token": bytes, "request": bytes, "mac": bytes}
_ANSWER = {
    "v": int,
    "token": bytes,
    "domain": str,
    "device": bytes,
    "request": bytes,
    "outcome": str,
    "block": int,
    "mac": bytes,
}
_REQUEST_MAC = b"dpki token request v1\0"
_ANSWER_MAC = b"dpki token answer v1\0"
_HIGHEST = (1 << 53) - 1


class Outcome(enum.Enum):
    """What became of a request; the value is the word in the answer."""

    ENROLLED = "enrolled"
    EXPIRED = "expired"
    """The token was good until a time that has passed, or was cancelled."""
    USED = "used"
    """The token was used, by another device or for another request."""
    TAKEN = "taken"
    """The name that the device would have is another's."""
    STANDING = "standing"
    """The device is retired, or enrolled with other keys."""


@dataclass(frozen=True)
class TokenKeys:
    """What a token's messages are authenticated with; the token can't be had from it.

    Attributes:
        id: Says which token; no secret.
    """

    id: bytes
    request: bytes = field(repr=False)
    answer: bytes = field(repr=False)


@dataclass(frozen=True)
class Token:
    """A one-time token of a trust domain."""

    domain: DomainId
    secret: bytes = field(repr=False)

    @classmethod
    def generate(cls, domain: DomainId) -> Token:
        """Return a new one."""
        return cls(domain, secrets.token_bytes(KEY_BYTES))

    @classmethod
    def parse(cls, text: str) -> Token:
        """Parse what `dump` writes; no message repeats any of it.

        Raises:
            MalformedInput: It is something else, cut off, or mistyped.
        """
        if len(text) > TOKEN_LIMIT or not text.startswith(_LINE) or not text.isascii():
            raise MalformedInput(f"this is no token: one begins with {_LINE}")
        written = text[len(_LINE) :].encode()
        try:
            data = base64.b64decode(
                written + b"=" * (-len(written) % 4), altchars=b"-_", validate=True
            )
        except ValueError as error:
            raise MalformedInput("this is no token: cut off, or mistyped") from error
        value = loads_strict(data, TOKEN_LIMIT)
        verify_version(value, "token", _VERSION)
        fields = fields_of(value, "token", required=_TOKEN, optional={})
        token = cls(_parse_domain(fields["domain"], "token"), fields["secret"])
        if len(token.secret) != KEY_BYTES or token.dump() != text:
            raise MalformedInput("this is no token: cut off, or mistyped")
        return token

    def dump(self) -> str:
        """Return the one line that is given to a device: a secret."""
        check = hashlib.sha256(str(self.domain).encode() + b"\0" + self.secret).digest()[:4]
        data = dumps(
            {"v": _VERSION, "domain": str(self.domain), "secret": self.secret, "check": check}
        )
        return _LINE + base64.urlsafe_b64encode(data).decode().rstrip("=")

    @property
    def keys(self) -> TokenKeys:
        """What its messages are authenticated with."""

        def derive(name: str, length: int) -> bytes:
            info = f"dpki token {name} v1".encode()
            return HKDF(SHA256(), length, str(self.domain).encode(), info).derive(self.secret)

        return TokenKeys(
            derive("id", ID_BYTES),
            derive("request key", KEY_BYTES),
            derive("answer key", KEY_BYTES),
        )


@dataclass(frozen=True)
class Asking:
    """A request as it travels with a token's MAC; nothing in it is checked but its form.

    Attributes:
        token: The id of the token that it is said to come with.
        data: The request's bytes, which the MAC is over.
        request: What they say.
    """

    token: bytes
    data: bytes = field(repr=False)
    request: EnrollmentRequest
    mac: bytes

    @property
    def digest(self) -> Hash32:
        """SHA-256 of the request: what an answer names."""
        return Hash32(hashlib.sha256(self.data).digest())


@dataclass(frozen=True)
class Answer:
    """What became of a device's request.

    Attributes:
        request: SHA-256 of the request.
        block: The block in which the device was enrolled, or 0.
    """

    domain: DomainId
    device: Address
    request: Hash32
    outcome: Outcome
    block: int


def make_asking(token: Token, request: bytes) -> bytes:
    """Return the message by which a device asks, given its request's bytes."""
    keys = token.keys
    return dumps(
        {
            "v": _VERSION,
            "token": keys.id,
            "request": request,
            "mac": _request_mac(keys, token.domain, request),
        }
    )


def parse_asking(data: bytes) -> Asking:
    """Parse what `make_asking` makes.

    Raises:
        MalformedInput: It is anything else.
    """
    value = loads_strict(data, ASKING_LIMIT)
    what = "request with a token"
    verify_version(value, what, _VERSION)
    fields = fields_of(value, what, required=_ASKING, optional={})
    if len(fields["token"]) != ID_BYTES or len(fields["mac"]) != KEY_BYTES:
        raise MalformedInput("the request's token id or MAC has another length")
    request = parse_request(fields["request"])
    return Asking(fields["token"], fields["request"], request, fields["mac"])


def verify_asking(asking: Asking, keys: TokenKeys, domain: DomainId) -> None:
    """Check that whoever asks has the token.

    Raises:
        SignatureInvalid: He has not, or the request was altered.
    """
    authentic = hmac.compare_digest(asking.mac, _request_mac(keys, domain, asking.data))
    if not authentic or asking.token != keys.id:
        raise SignatureInvalid(
            "the request does not come from who has the token, or was altered",
            hint="nothing was done; somebody knows the token's id only",
        )


def make_answer(keys: TokenKeys, answer: Answer) -> bytes:
    """Return the message that answers a device."""
    fields = _answer_fields(keys.id, answer)
    return dumps({**fields, "mac": _answer_mac(keys, fields)})


def verify_answer(data: bytes, token: Token, device: Address, request: bytes) -> Answer:
    """Return what an answer says, when it is the answer to this very request.

    Raises:
        MalformedInput: It is no answer.
        SignatureInvalid: It does not come from the home that gave the token, or was altered.
        WrongDomain: It is of another trust domain.
        WrongContext: It answers another device, or another request.
    """
    value = loads_strict(data, ANSWER_LIMIT)
    verify_version(value, "answer", _VERSION)
    fields = fields_of(value, "answer", required=_ANSWER, optional={})
    mac, keys = fields.pop("mac"), token.keys
    authentic = hmac.compare_digest(mac, _answer_mac(keys, fields))
    if not authentic or fields["token"] != keys.id:
        raise SignatureInvalid("the answer does not come from the home that gave the token")
    if fields["outcome"] not in {one.value for one in Outcome} or fields["block"] > _HIGHEST:
        raise MalformedInput("the answer says nothing that is known here")
    answer = Answer(
        domain=_parse_domain(fields["domain"], "answer"),
        device=Address(fields["device"]),
        request=Hash32(fields["request"]),
        outcome=Outcome(fields["outcome"]),
        block=fields["block"],
    )
    if answer.domain != token.domain:
        raise WrongDomain(f"the answer is of the trust domain {answer.domain}")
    if answer.device != device or bytes(answer.request) != hashlib.sha256(request).digest():
        raise WrongContext("the answer is to another device, or to another request")
    return answer


def _answer_fields(id: bytes, answer: Answer) -> dict[str, object]:
    return {
        "v": _VERSION,
        "token": id,
        "domain": str(answer.domain),
        "device": bytes(answer.device),
        "request": bytes(answer.request),
        "outcome": answer.outcome.value,
        "block": answer.block,
    }


def _request_mac(keys: TokenKeys, domain: DomainId, request: bytes) -> bytes:
    message = _REQUEST_MAC + str(domain).encode() + b"\0" + keys.id + request
    return hmac.digest(keys.request, message, "sha256")


def _answer_mac(keys: TokenKeys, fields: dict[str, object]) -> bytes:
    return hmac.digest(keys.answer, _ANSWER_MAC + dumps(fields), "sha256")


def _parse_domain(text: str, what: str) -> DomainId:
    domain = DomainId.parse(text)
    if str(domain) != text:
        raise MalformedInput(f"the {what}'s domain id is not in its printed form")
    return domain
