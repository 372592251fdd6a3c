"""A device's request, shown to whoever carries it to the admin."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from dpki.cli.output import Output
from dpki.errors import UsageError

if TYPE_CHECKING:
    from dpki.devices.enrollment import EnrollmentRequest


def say_request(output: Output, request: EnrollmentRequest, *, qr: bool) -> None:
    """Tell people the request's fingerprint and, if wanted, show it as a QR code.

    One that does not fit is no error: the request is written and can be carried otherwise.
    """
    output.say(f"its fingerprint, to compare over the telephone: {request.fingerprint}")
    output.say(f"it counts until {request.deadline:%Y-%m-%d %H:%M} UTC")
    if qr:
        try:
            output.say(qr_code(request))
        except UsageError as error:
            output.say(f"{error.message}: {error.hint}")


def describe_request(request: EnrollmentRequest, path: Path) -> dict[str, object]:
    """Return the request as plain data: file, line of text, fingerprint."""
    from dpki.devices.enrollment import request_line

    return {
        "device": str(request.device),
        "request": str(path),
        "line": request_line(request),
        "request_fingerprint": request.fingerprint,
    }


def qr_code(request: EnrollmentRequest) -> str:
    """Return the request's line of text as a QR code of block characters (ISO/IEC 18004).

    Raises:
        UsageError: It does not fit.
    """
    import segno

    from dpki.devices.enrollment import request_line

    try:
        code = segno.make_qr(request_line(request), error="l", boost_error=False)
    except segno.DataOverflowError as error:
        raise UsageError(
            "the request is too long for a QR code",
            hint="a request without one-time keys fits: --prekeys 0; top them up later",
        ) from error
    drawn = io.StringIO()
    code.terminal(drawn, compact=True)
    return drawn.getvalue()
