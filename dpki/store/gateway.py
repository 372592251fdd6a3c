"""Reading from an IPFS gateway, trusting it with nothing.

The trustless gateway protocol (https://specs.ipfs.tech/http-gateways/trustless-gateway/): the raw
block, whose hash says whether it is the right one. What a hostile gateway can do is take time, up
to the deadline (claim T5).
"""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import SplitResult, urljoin, urlsplit

from dpki.bundle.cid import cid_of
from dpki.errors import ConfigError, ContentUnavailable
from dpki.http import Deadline, HttpClient, Response, TransferFailed
from dpki.model import Hash32
from dpki.store.base import BLOCK_LIMIT, verify_block

_ACCEPT = "application/vnd.ipld.raw"
_REDIRECTS = (301, 302, 303, 307, 308)
_MAXIMUM_REDIRECTS = 3
_PORTS = {"http": 80, "https": 443}


class Gateway:
    """A `BlockSource` behind a URL, such as https://ipfs.io or http://127.0.0.1:8080.

    Plain http is allowed everywhere: content is checked by its hash, and bundles are sealed.

    Args:
        url: http or https; a path in front of `/ipfs/` is allowed; no user, password, query.
        client: To share connections with others.

    Raises:
        ConfigError: The URL is something else.
    """

    def __init__(self, url: str, client: HttpClient | None = None) -> None:
        _verify_base(url)
        self._base = url.rstrip("/")
        self._client = client or HttpClient()

    @property
    def name(self) -> str:
        """What people see."""
        return f"gateway {self._base}"

    def fetch(self, digest: Hash32, deadline: timedelta, limit: int = BLOCK_LIMIT) -> bytes:
        """Return the block; see `BlockSource.fetch`."""
        end = Deadline(deadline)
        cid = cid_of(digest)
        url = f"{self._base}/ipfs/{cid}?format=raw"
        for _ in range(1 + _MAXIMUM_REDIRECTS):
            response = self._get(url, end, limit)
            if response.status not in _REDIRECTS:
                break
            url = self._same_place(url, response)
        else:
            raise ContentUnavailable(f"{self.name} only redirects in circles")
        if response.status != 200:
            raise ContentUnavailable(
                f"{self.name} answers {response.status} instead of {cid}",
                hint="the bundle may not be published yet, or only on nodes it can't reach",
            )
        return verify_block(self.name, digest, response.body)

    def _get(self, url: str, end: Deadline, limit: int) -> Response:
        try:
            return self._client.request(
                "GET", url, deadline=end, limit=limit, headers={"Accept": _ACCEPT}
            )
        except TransferFailed as error:
            raise ContentUnavailable(
                f"{self.name}: {error.message}", hint="try again later, or use another gateway"
            ) from error

    def _same_place(self, url: str, response: Response) -> str:
        """Return where a redirect leads, if that is the very same server."""
        try:
            target = urljoin(url, response.headers.get("location", ""))
            is_same = _origin(urlsplit(target)) == _origin(urlsplit(url))
        except ValueError:
            target, is_same = "", False
        # Printable ASCII only: what follows goes into a request line.
        if not is_same or not target.isascii() or not target.isprintable() or " " in target:
            raise ContentUnavailable(
                f"{self.name} redirects to another server, which is not followed",
                hint="use the address that it redirects to, or 127.0.0.1 instead of localhost",
            )
        return target


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _verify_base(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ConfigError("a gateway's address is not a URL") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError("a gateway's URL holds a user or password", hint="leave them out")
    is_plain = url.isascii() and url.isprintable() and " " not in url
    if not (is_valid and is_plain) or parts.query or parts.fragment:
        raise ConfigError(
            f"{url[:120]!r} is not the address of a gateway",
            hint="it reads like https://ipfs.io or http://127.0.0.1:8080",
        )
