"""Keeping blocks on one's own Kubo node, through its RPC port.

That port gives full control over the node: it belongs on loopback, and nothing here is for
somebody else's node (read from those with `dpki.store.gateway`).
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import ipfshttpclient
from ipfshttpclient import exceptions as ipfs

from dpki.bundle.cid import cid_of, digest_of
from dpki.errors import ConfigError, ContentUnavailable, StoreFailed
from dpki.http import Deadline, HttpClient, Response, TransferFailed
from dpki.model import Hash32
from dpki.store.base import BLOCK_LIMIT, verify_block, verify_size

_TIMEOUT = timedelta(seconds=5)
_LIMIT = 1 << 16
_PUT_OPTIONS = {"cid-codec": "raw", "mhtype": "sha2-256", "pin": "true"}
_HINT = "is `ipfs daemon` running, and is this the address of its RPC port (not the gateway's)?"

# ipfshttpclient passes urllib3 an argument that urllib3 2 ignores; no reader could act on that.
warnings.filterwarnings("ignore", "The 'strict' parameter", FutureWarning, "urllib3")


class KuboStore:
    """A `BlockStore` on a Kubo node.

    Args:
        address: Multiaddress of its RPC port, such as /ip4/127.0.0.1/tcp/5001. Nothing is sent to
            it yet.
        token: Gives the bearer token that the node wants (API.Authorizations in its configuration);
            asked at the first request. None for a node that wants none.

    Raises:
        ConfigError: The address has another form, or a token would travel readable by others.
    """

    def __init__(self, address: str, token: Callable[[], str] | None = None) -> None:
        self._url = _url_of(address)
        if token is not None and not _is_confidential(self._url):
            raise ConfigError(
                f"a token would be sent readable by everybody on the way to {address}",
                hint="use /https, or a tunnel that ends on loopback",
            )
        self._token = token
        self._headers: dict[str, str] = {}
        self._address = address
        self._reader = HttpClient()
        try:
            # Not `connect()`: that one refuses every modern Kubo by its version.
            self._client = ipfshttpclient.Client(
                address, session=True, timeout=_TIMEOUT.total_seconds()
            )
        except ipfs.Error as error:
            raise ConfigError(f"{address!r} is not the address of a Kubo RPC port") from error
        # The library has no switch for it: no proxy and no .netrc from the environment may stand
        # between us and a port that gives full control.
        self._client._client._session.trust_env = False

    @property
    def name(self) -> str:
        """What people see."""
        return f"kubo {self._address}"

    @property
    def confirms_itself(self) -> bool:
        """False: a node answers from its own disk, whether or not others can reach it."""
        return False

    def fetch(self, digest: Hash32, deadline: timedelta, limit: int = BLOCK_LIMIT) -> bytes:
        """Return the block; see `BlockSource.fetch`. The node may ask its peers for it.

        Not through ipfshttpclient, whose timeout is per read and which reads any size.
        """
        cid = cid_of(digest)
        try:
            response = self._post(f"block/get?arg={cid}", Deadline(deadline), limit)
        except TransferFailed as error:
            raise ContentUnavailable(
                f"{self.name} did not deliver {cid}: {error.message}", hint=_HINT
            ) from error
        if response.status != 200:
            raise ContentUnavailable(
                f"{self.name} answers {response.status} instead of {cid}", hint=_HINT
            )
        return verify_block(self.name, digest, response.body)

    def put(self, data: bytes) -> Hash32:
        """Keep and pin a block; see `BlockStore.put`."""
        digest = digest_of(verify_size(data))
        answer = self._ask(
            "keep a block",
            lambda: self._client.block.put(io.BytesIO(data), opts=_PUT_OPTIONS)["Key"],
        )
        if answer != cid_of(digest):
            raise StoreFailed(
                f"{self.name} kept {str(answer)[:80]!r} instead of {cid_of(digest)}",
                hint="is it a Kubo node, 0.20 or later?",
            )
        return digest

    def has(self, digest: Hash32) -> bool:
        """Return whether the block is pinned: what isn't, garbage collection takes."""
        cid = cid_of(digest)
        try:
            self._ask("look up a block", lambda: self._client.pin.ls(cid, type="recursive"))
        except StoreFailed as error:
            if isinstance(error.__cause__, ipfs.ErrorResponse) and "not pinned" in str(error):
                return False
            raise
        return True

    def remove(self, digest: Hash32) -> None:
        """Unpin the block and delete it from the node's disk; see `BlockStore.remove`."""
        cid = cid_of(digest)
        if self.has(digest):
            self._ask("unpin a block", lambda: self._client.pin.rm(cid))
        # ipfshttpclient has no word for this one. "force": a block that isn't there is no error.
        try:
            response = self._post(f"block/rm?arg={cid}&force=true", Deadline(_TIMEOUT), _LIMIT)
        except TransferFailed as error:
            raise StoreFailed(
                f"{self.name} could not remove a block: {error.message}", hint=_HINT
            ) from error
        if response.status != 200:
            raise StoreFailed(
                f"{self.name} could not remove a block: it answers {response.status}", hint=_HINT
            )

    def version(self) -> str:
        """Return what the node says it is.

        Raises:
            StoreFailed: It does not answer, or is no Kubo node.
        """
        answer = self._ask("say its version", lambda: self._client.version()["Version"])
        return _printable(answer)

    def close(self) -> None:
        """Close every connection."""
        self._client.close()
        self._reader.close()

    def _post(self, question: str, deadline: Deadline, limit: int) -> Response:
        self._authorise()
        url = f"{self._url}/api/v0/{question}"
        return self._reader.request(
            "POST", url, deadline=deadline, limit=limit, headers=self._headers
        )

    def _authorise(self) -> None:
        """Ask for the token, once, and show it with every request from now on."""
        if self._token is not None and not self._headers:
            self._headers["Authorization"] = f"Bearer {verify_token(self._token())}"
            self._client._client._session.headers.update(self._headers)

    def _ask(self, what: str, question: Callable[[], Any]) -> Any:
        self._authorise()
        try:
            return question()
        except ipfs.ConnectionError as error:
            raise StoreFailed(
                f"{self.name} could not {what}: nobody answers there", hint=_HINT
            ) from error
        except ipfs.TimeoutError as error:
            raise StoreFailed(
                f"{self.name} could not {what}: no answer within {_TIMEOUT.total_seconds():g} s",
                hint=_HINT,
            ) from error
        except ipfs.ErrorResponse as error:
            raise StoreFailed(
                f"{self.name} could not {what}: {_printable(error)}",
                hint="Kubo's own words; its log says more",
            ) from error
        except ipfs.StatusError as error:
            if _status(error) not in (401, 403):
                raise self._nonsense(what) from error
            raise StoreFailed(
                f"{self.name} refuses to {what}: it wants another token, or one at all",
                hint="ipfs_token in the configuration's [store] says where the token comes from",
            ) from error
        except (ipfs.Error, KeyError, TypeError, ValueError) as error:
            raise self._nonsense(what) from error

    def _nonsense(self, what: str) -> StoreFailed:
        return StoreFailed(
            f"{self.name} could not {what}: the answer is not one of a Kubo RPC port", hint=_HINT
        )


def _status(error: ipfs.StatusError) -> int | None:
    """Return the HTTP status that the IPFS client's own exception wraps."""
    return getattr(getattr(error.original, "response", None), "status_code", None)


def verify_token(token: str) -> str:
    """Return a bearer token, without saying what it is where it is none (RFC 6750, section 2.1).

    Raises:
        ConfigError: It holds what can't stand in a header.
    """
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", token):
        raise ConfigError(
            "the token for the IPFS nodes is not a bearer token",
            hint="letters, digits and - . _ ~ + / only; as in API.Authorizations, without bearer:",
        )
    return token


def _is_confidential(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in ("127.0.0.1", "::1", "localhost")


def _printable(error: object) -> str:
    """Return a service's own words, made safe for a terminal."""
    return "".join(c if c.isprintable() else " " for c in str(error))[:300]


def _url_of(address: str) -> str:
    match = re.fullmatch(
        r"/(ip4|ip6|dns|dns4|dns6)/([0-9A-Za-z.:-]+)/tcp/([0-9]{1,5})(?:/(https?))?", address
    )
    if match is None or not 0 < int(match[3]) < 1 << 16:
        raise ConfigError(
            f"{address[:120]!r} is not the multiaddress of a Kubo RPC port",
            hint="it reads like /ip4/127.0.0.1/tcp/5001",
        )
    host = f"[{match[2]}]" if match[1] == "ip6" else match[2]
    return f"{match[4] or 'http'}://{host}:{match[3]}"
