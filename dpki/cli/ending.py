"""What ends with a command: logins at tokens, and secrets that were asked for."""

from __future__ import annotations

from contextlib import ExitStack

AT_END = ExitStack()
"""Closed when a command has ended, however it did."""
