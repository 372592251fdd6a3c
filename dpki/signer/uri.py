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
    "it reads pkcs11:token=<label>;object=<key label>, with ;serial= or ;id= where labels repeat,"
    " then perhaps ?module-path=<file>&pin-source=<file>"
)
# RFC 7512, section 2.3: what may stand in a value as itself.
_PATH_VALUE = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=&]|%[0-9A-Fa-f]{2})*")
_QUERY_VALUE = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=/?|]|%[0-9A-Fa-f]{2})*")
_PATH = ("token", "serial", "object", "id", "type")
_QUERY = ("module-path", "pin-source")
_SAFE = ":[]@!$'()*+,="
_LABEL_BYTES = 32


@dataclass(frozen=True)
class Pkcs11Uri:
    """A reference to a key in a token, or to the token.

    A URI matches every token and key that it does not contradict (section 2.5); what matches more
    than one is refused where it is used.

    Attributes:
        token: The token's label, at most 32 bytes; empty for any, where there is a serial.
        object: The key's label; empty for the token itself.
        id: The key's id (CKA_ID); empty for any.
        serial: The token's serial number; empty for any.
        module_path: The PKCS#11 module's file; empty for the configured one.
        pin_source: A file with the PIN, private to its owner; empty for the configured source.

    Raises:
        ConfigError: There is neither a token label nor a serial, a part holds a control character,
            or a path is not absolute.
    """

    token: str = ""
    object: str = ""
    id: bytes = b""
    serial: str = ""
    module_path: str = ""
    pin_source: str = ""

    def __post_init__(self) -> None:
        """Check the parts."""
        if not self.token and not self.serial:
            raise ConfigError("a PKCS#11 URI must name a token", hint=_HINT)
        if len(self.token.encode()) > _LABEL_BYTES:
            raise ConfigError(f"the token label {self.token[:80]!r} is longer than 32 bytes")
        for path in (self.module_path, self.pin_source):
            if path and not path.startswith("/"):
                # Not repeated: somebody may have written the PIN here.
                raise ConfigError(
                    "module-path and pin-source in a PKCS#11 URI are absolute paths of files",
                    hint="of other sources, name one of the PIN beside the URI, as with --pin",
                )
        for part in (self.token, self.object, self.serial, self.module_path, self.pin_source):
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
            # RFC 7512, section 2.4: a file may also be named by a URI (RFC 8089).
            pin_source=texts.get("pin-source", "").removeprefix("file://").removeprefix("file:"),
        )

    @property
    def token_name(self) -> str:
        """What people call the token."""
        return self.token or f"with serial {self.serial}"

    def __str__(self) -> str:
        """Return the URI in its canonical spelling."""
        parts = [f"token={quote(self.token, safe=_SAFE)}"] if self.token else []
        if self.serial:
            parts.append(f"serial={quote(self.serial, safe=_SAFE)}")
        if self.object:
            parts.append(f"object={quote(self.object, safe=_SAFE)}")
        if self.id:
            parts.append(f"id={quote_from_bytes(self.id, safe='')}")
        query = "&".join(
            f"{name}={quote(path, safe=_SAFE + '/')}"
            for name, path in zip(_QUERY, (self.module_path, self.pin_source), strict=True)
            if path
        )
        return "pkcs11:" + ";".join(parts) + (f"?{query}" if query else "")


@dataclass(frozen=True)
class FileUri:
    """A reference to a CA's key in an encrypted file: `file:/path/to/ca.pem`.

    Weaker than a token: whoever copies the file can guess at its passphrase for as long as they
    like, and while it signs, the key is in the memory of this machine.

    Raises:
        ConfigError: The path is not absolute.
    """

    path: str

    def __post_init__(self) -> None:
        """Check the path."""
        if not self.path.startswith("/") or not self.path.isprintable():
            raise ConfigError(
                "a key in a file is named by file: and an absolute path",
                hint="file:/path/to/ca.pem",
            )

    def __str__(self) -> str:
        """Return the URI (RFC 8089, appendix B: without an authority)."""
        return f"file:{quote(self.path, safe='/' + _SAFE)}"


KeyUri = Pkcs11Uri | FileUri
"""Where a CA's key is."""


def parse_key_uri(text: str) -> KeyUri:
    """Parse `pkcs11:…` or `file:/…`.

    Raises:
        ConfigError: It is neither.
    """
    scheme, separator, rest = text.partition(":")
    if separator and scheme.lower() == "file":
        path = unquote_to_bytes(rest.removeprefix("//"))
        try:
            return FileUri(path.decode())
        except UnicodeDecodeError as error:
            raise ConfigError("the path in the file: URI is not UTF-8") from error
    return Pkcs11Uri.parse(text)


def _attributes(
    text: str, separator: str, known: tuple[str, ...], form: re.Pattern[str]
) -> dict[str, bytes]:
    """Split and percent-decode; no message repeats a refused value, which may be a PIN."""
    found: dict[str, bytes] = {}
    for part in text.split(separator) if text else ():
        name, equals, value = part.partition("=")
        if name == "pin-value":
            raise ConfigError(
                "a PIN has no place in a PKCS#11 URI (pin-value)",
                hint="URIs end up in files and logs; give ?pin-source= and a file, or --pin",
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
