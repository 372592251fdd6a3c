"""A terminal of any size, with `dpki` in it and somebody who types."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

_RUN = "from dpki.cli.app import main; main()"


class Terminal:
    """Runs the command line in a terminal of its own; use it in a `with`."""

    def __init__(self, columns: int, rows: int, *words: str | Path) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _RUN, *map(str, words)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            # Ctrl-C reaches who has this as its own.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0) and None,
        )
        os.close(slave)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.shown = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def read_until(self, words: str) -> None:
        """Wait until this was shown after what was read before."""
        seen = len(self.shown)
        while words not in self.shown[seen:]:
            self._read()

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def end(self) -> int:
        """Wait until the command is done, and return its exit status."""
        while self._read():
            pass
        return self._process.wait()

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:
            # Linux's way to say that nobody is at the other end any more.
            data = b""
        self.shown += self._decoder.decode(data).replace("\r\n", "\n")
        return bool(data)
