"""A device's request, shown to whoever carries it to the admin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dpki.cli.output import Output

if TYPE_CHECKING:
    from dpki.devices.enrollment import EnrollmentRequest


def say_request(output: Output, request: EnrollmentRequest, *, qr: bool) -> None:
    """Tell people the request's fingerprint and, if wanted, show it as QR codes."""
    output.say(f"its fingerprint, to compare over the telephone: {request.fingerprint}")
    output.say(f"it counts until {request.deadline:%Y-%m-%d %H:%M} UTC")
    if qr:
        from dpki.cli.qr import show_codes

        show_codes(output, request)


def describe_request(request: EnrollmentRequest, path: Path) -> dict[str, object]:
    """Return the request as plain data: file, line of text, fingerprint."""
    from dpki.devices.enrollment import request_line

    return {
        "device": str(request.device),
        "request": str(path),
        "line": request_line(request),
        "request_fingerprint": request.fingerprint,
    }
