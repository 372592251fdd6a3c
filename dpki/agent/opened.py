"""Bundles that were sealed for a one-time key: opened once, and kept as opened (claim T6).

Once such a bundle has shown a certificate that counts, the SSH key becomes a lasting one, what the
bundle says is kept on this device, and the one-time key is erased: nobody opens the bundle again,
whoever kept a copy of it and steals the device later. Each step can be done twice.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dpki.bundle.content import Bundle, encode_bundle, open_bundle, parse_bundle
from dpki.bundle.seal import MAXIMUM_PLAINTEXT
from dpki.devices.keys import DeviceKeys, adopt_prekey
from dpki.devices.prekeys import PrekeySecret
from dpki.errors import DpkiError, NotForThisDevice
from dpki.files import PRIVATE, load_bounded, make_private_directory, write_atomic
from dpki.model import Hash32

SUFFIX = ".opened"


def open_with_any(
    sealed: bytes, keys: DeviceKeys, context: Hash32
) -> tuple[Bundle, PrekeySecret | None]:
    """Open a bundle with the lasting keys or, where they don't, with the one-time keys in turn.

    Returns:
        The bundle, and the one-time key that opened it; None for the lasting keys.

    Raises:
        NotForThisDevice: None of them opens it. One that was erased may have.
        MalformedInput, WrongContext: As `open_bundle` says.
    """
    try:
        return open_bundle(sealed, keys.sealing, context), None
    except NotForThisDevice:
        for prekey in keys.prekeys:
            with suppress(NotForThisDevice):
                return open_bundle(sealed, keys.sealing, context, prekey.x25519), prekey
        raise


def load_opened(path: Path) -> Bundle:
    """Load what a one-time key opened.

    Raises:
        DpkiError, OSError: It can't be read, or is damaged.
    """
    return parse_bundle(load_bounded(path, limit=MAXIMUM_PLAINTEXT))


@dataclass(frozen=True)
class OpenedBundles:
    """What one-time keys have opened.

    Attributes:
        folder: Where it is kept.
        keys: The device's folder of keys.
    """

    folder: Path
    keys: Path

    def find(self, digest: Hash32, context: Hash32) -> Bundle | None:
        """Return what the bundle of this digest said; None where it was not kept.

        What the file says is judged like what a bundle says, so nothing rests on who wrote it.
        """
        # Missing or damaged: the bundle is opened again, if its key is still there.
        with suppress(DpkiError, OSError):
            bundle = load_opened(self.folder / f"{digest.hex()}{SUFFIX}")
            if bundle.context == context:
                return bundle
        return None

    def keep(self, digest: Hash32, bundle: Bundle, prekey: PrekeySecret, kind: str) -> None:
        """Keep what a bundle said, make its SSH key a lasting one, and erase its one-time key.

        Args:
            kind: The folder of lasting keys that its SSH key goes to.

        Raises:
            DpkiError: It could not be written; the one-time key is still there.
        """
        make_private_directory(self.folder)
        path = self.folder / f"{digest.hex()}{SUFFIX}"
        write_atomic(path, encode_bundle(bundle), mode=PRIVATE)
        adopt_prekey(self.keys, prekey, kind)
