"""What an SSH client needs to check a domain's hosts."""

from __future__ import annotations

from dpki.chain.snapshot import Authority, Snapshot
from dpki.config.values import verify_host_pattern
from dpki.model import AuthorityKind
from dpki.verification.revocations import authority_line


def known_hosts_lines(snapshot: Snapshot, pattern: str = "*") -> str:
    """Return the `@cert-authority` lines of every trusted host CA (sshd(8), known_hosts format).

    Args:
        pattern: Host patterns, separated by commas, that the CAs may speak for.

    Raises:
        UsageError: The pattern could not stand in a known_hosts file.
    """
    lines = [
        line
        for authority in snapshot.authorities.values()
        if authority.kind is AuthorityKind.SSH_HOST and authority.state.is_trusted
        if (line := known_hosts_line(authority, pattern)) is not None
    ]
    return "".join(lines)


def known_hosts_line(authority: Authority, pattern: str = "*") -> str | None:
    """Return the `@cert-authority` line of one CA; None where its key is none that we know.

    Raises:
        UsageError: The pattern could not stand in a known_hosts file.
    """
    verify_host_pattern(pattern)
    line = authority_line(authority)
    return None if line is None else f"@cert-authority {pattern} {line}\n"
