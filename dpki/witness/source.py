"""Where witnesses' checkpoints lie: static files behind a URL, or in a folder.

    <place>/<SHA-256 of the domain id's text, hexadecimal>/<block number>
    <place>/<SHA-256 of the domain id's text, hexadecimal>/latest

Any web server, IPFS gateway (`https://…/ipns/…`) or folder will do: what is read is checked by its
signature. A hostile one can take time, up to the deadline, and show old ones (claim T4).
"""

from __future__ import annotations

import os
import stat
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from dpki.errors import ContentUnavailable
from dpki.http import Deadline, HttpClient, TransferFailed
from dpki.model import DomainId
from dpki.note import SIZE_LIMIT

LATEST = "latest"
_ABSENT = (404, 410)


def folder_of(domain: DomainId) -> str:
    """Return the name of the folder for a domain's checkpoints."""
    return sha256(str(domain).encode()).hexdigest()


class CheckpointSource(Protocol):
    """Where checkpoints of one witness are read. Safe to use from several threads."""

    @property
    def name(self) -> str:
        """What people see."""
        ...

    def fetch(self, domain: DomainId, which: str, deadline: Deadline) -> bytes | None:
        """Return a file, unchecked; None where there is none.

        Args:
            which: A block number in decimal, or `LATEST`.

        Raises:
            ContentUnavailable: It can't be had, or not in time, or is too large to be one.
        """
        ...


class FolderSource:
    """A folder: of this machine, a shared mount, a stick.

    Args:
        path: The folder that was published to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        """What people see."""
        return f"folder {self._path}"

    def fetch(self, domain: DomainId, which: str, deadline: Deadline) -> bytes | None:
        """Return a file; see `CheckpointSource.fetch`. The deadline is the file system's matter."""
        path = self._path / folder_of(domain) / which
        try:
            # Media may come from anywhere: no link out of the folder, no pipe that never ends.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise ContentUnavailable(f"{which} in {self.name} is not a file")
                data = file.read(SIZE_LIMIT + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ContentUnavailable(f"{self.name} could not be read: {error.strerror}") from error
        if len(data) > SIZE_LIMIT:
            raise ContentUnavailable(f"{which} in {self.name} is too large for a checkpoint")
        return data


class WebSource:
    """Static files behind http or https.

    Args:
        url: The address of what was published, checked before (`config.urls`).
    """

    def __init__(self, url: str, client: HttpClient) -> None:
        self._url = url.rstrip("/")
        self._client = client

    @property
    def name(self) -> str:
        """What people see."""
        return self._url

    def fetch(self, domain: DomainId, which: str, deadline: Deadline) -> bytes | None:
        """Return a file; see `CheckpointSource.fetch`. Redirects are not followed."""
        try:
            response = self._client.request(
                "GET",
                f"{self._url}/{folder_of(domain)}/{which}",
                deadline=deadline,
                limit=SIZE_LIMIT,
            )
        except TransferFailed as error:
            raise ContentUnavailable(f"{self.name}: {error.message}") from error
        if response.status in _ABSENT:
            return None
        if response.status != 200:
            raise ContentUnavailable(f"{self.name} answers {response.status}")
        return response.body


def open_source(place: str, client: HttpClient) -> CheckpointSource:
    """Return the source at a URL or an absolute path."""
    return FolderSource(Path(place)) if place.startswith("/") else WebSource(place, client)
