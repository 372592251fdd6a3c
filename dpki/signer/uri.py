"""PKCS#11 URIs (RFC 7512): which key, in which token.

    pkcs11:token=acme;object=ssh-user-ca;id=%01?module-path=/usr/lib/softhsm/libsofthsm2.so

Attributes that dpki would have to ignore are refused: a URI must never match more than it says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

from dpki.errors import ConfigError

_HINT = (
    "it reads pkcs11:token=<label>;object=<key label>, with ;serial= or ;id= where labels repeat"
)
# RFC 7512, section 2.3: what may stand in a value as itself.
_PATH_VALUE = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=&]|%[0-9A-Fa-f]{2})*")
_QUERY_VALUE = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=/?|]|%[0-9A-Fa-f]{2})*")
_PATH = ("token", "serial", "object", "id", "type")
_QUERY = ("module-path",)
_SAFE = ":[]@!$'()*+,="
_LABEL_BYTES = 32


@dataclass(frozen=True)
class Pkcs11Uri:
    """A reference to a key in a token, or to the token.

    Attributes:
        token: The token's label, at most 32 bytes.
        object: The key's label; empty for the token itself.
        id: The key's id (CKA_ID); empty for any.
        serial: The token's serial number; empty for any.
        module_path: The PKCS#11 module's file; empty for the configured one.

    Raises:
        ConfigError: There is no token label, or a part holds a control character.
    """

    token: str
    object: str = ""
    id: bytes = b""
    serial: str = ""
    module_path: str = ""

    def __post_init__(self) -> None:
        """Check the parts."""
        if not self.token:
            raise ConfigError("a PKCS#11 URI must name a token", hint=_HINT)
        if len(self.token.encode()) > _LABEL_BYTES:
            raise ConfigError(f"the token label {self.token[:80]!r} is longer than 32 bytes")
        for part in (self.token, self.object, self.serial, self.module_path):
            if not part.isprintable() or part != part.strip():
                raise ConfigError(
                    "a part of the PKCS#11 URI holds a control character or starts or ends blank",
                    hint=_HINT,
                )

    @classmethod
    def parse(cls, text: str) -> Pkcs11Uri:
        """Parse a URI.

        Raises:
            ConfigError: It is none, or has an attribute that is unknown, repeated or holds a PIN.
        """
        scheme, separator, rest = text.partition(":")
        if scheme.lower() != "pkcs11" or not separator:
            # What was given is not repeated: it may be a PIN in the wrong place.
            raise ConfigError(
                "this is not a PKCS#11 URI: it does not start with pkcs11:", hint=_HINT
            )
        path, _, query = rest.partition("?")
        parts = _attributes(path, ";", _PATH, _PATH_VALUE)
        if parts.pop("type", b"private") != b"private":
            raise ConfigError("the PKCS#11 URI names something else than a private key", hint=_HINT)
        parts |= _attributes(query, "&", _QUERY, _QUERY_VALUE)
        identifier = parts.pop("id", b"")
        try:
            texts = {name: value.decode() for name, value in parts.items()}
        except UnicodeDecodeError as error:
            raise ConfigError("a part of the PKCS#11 URI is not UTF-8", hint=_HINT) from error
        return cls(
            token=texts.get("token", ""),
            object=texts.get("object", ""),
            id=identifier,
            serial=texts.get("serial", ""),
            module_path=texts.get("module-path", ""),
        )

    def __str__(self) -> str:
        """Return the URI in its canonical spelling."""
        parts = [f"token={quote(self.token, safe=_SAFE)}"]
        if self.serial:
            parts.append(f"serial={quote(self.serial, safe=_SAFE)}")
        if self.object:
            parts.append(f"object={quote(self.object, safe=_SAFE)}")
        if self.id:
            parts.append(f"id={quote_from_bytes(self.id, safe='')}")
        query = (
            f"?module-path={quote(self.module_path, safe=_SAFE + '/')}" if self.module_path else ""
        )
        return "pkcs11:" + ";".join(parts) + query


def _attributes(
    text: str, separator: str, known: tuple[str, ...], form: re.Pattern[str]
) -> dict[str, bytes]:
    """Split and percent-decode; no message repeats a refused value, which may be a PIN."""
    found: dict[str, bytes] = {}
    for part in text.split(separator) if text else ():
        name, equals, value = part.partition("=")
        if name in ("pin-value", "pin-source"):
            raise ConfigError(
                f"a PIN has no place in a PKCS#11 URI ({name})",
                hint="URIs end up in files and logs; name a PIN source instead",
            )
        if not equals or name not in known:
            shown = repr(name[:40]) if equals else "without a value"
            raise ConfigError(f"the PKCS#11 URI has an unknown attribute {shown}", hint=_HINT)
        if name in found:
            raise ConfigError(f"the PKCS#11 URI gives {name} twice", hint=_HINT)
        if not value or form.fullmatch(value) is None:
            raise ConfigError(
                f"the value of {name} in the PKCS#11 URI is empty or not percent-encoded",
                hint=_HINT,
            )
        found[name] = unquote_to_bytes(value)
    return found
