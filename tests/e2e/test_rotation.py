"""Planned rotation of both CAs, with real logins throughout: nobody is locked out at any moment.

Alice keeps the certificate that the old user CA gave her, bob gets one of the new. Clients that
fetched the @cert-authority lines before the rotation stand beside those that fetched them during
and after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.players import CLIENT_REFUSES, SSHD_REFUSES, Story, open_story
from scripts.story import STEPS

LAST_STEP = "agent"


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    """The story up to the first login, its host and user certificates by the old CAs."""
    with open_story(ipfs=True) as story:
        for step in STEPS[: [step.name for step in STEPS].index(LAST_STEP) + 1]:
            step.play(story)
        yield story


def follow_successors(story: Story) -> None:
    """Do by hand what `dpki device init --follow-successors` writes."""
    file = story.device_directory / "device.toml"
    text = file.read_text()
    assert text.count("successors = false\n") == 1
    file.write_text(text.replace("successors = false\n", "successors = true\n"))


def issue(story: Story, ca: str, who: str, *, expect: int = 0) -> Path:
    """Certify a person's key, by this CA."""
    key = story.laptop / who
    if not key.exists():
        story.make_key(key)
    story.admin(
        *("ssh", "issue", "--ca", ca, "--key", f"{key}.pub", "--identity", who),
        *("--principal", "ops", "--for", "8h"),
        expect=expect,
    )
    return key


def authority_lines(story: Story, name: str) -> int:
    """Fetch the lines and the KRL as a client; return the number of @cert-authority lines."""
    lines, _ = story.known_hosts(name)
    return lines.read_text().count("@cert-authority")


def serving_ca(story: Story) -> str:
    """Return the fingerprint of the CA of the host certificate that sshd presents."""
    file = story.drop_in_option("HostCertificate")
    shown = story.stage.run(["ssh-keygen", "-L", "-f", file]).stdout
    (line,) = (line for line in shown.splitlines() if "Signing CA" in line)
    return line.split()[3]


def test_logins_throughout(story: Story) -> None:
    alice, bob = story.laptop / "alice", story.laptop / "bob"
    assert authority_lines(story, "before") == 1
    story.expect_login(story.engineer(alice, trust="before"))

    # Both successors are registered: nothing changes for anybody, agent run or not.
    for old in ("user-ca", "host-ca"):
        story.admin("ca", "rotate", old, f"{old}-2")
    story.expect_login(story.engineer(alice, trust="before"))
    story.agent_once()
    story.expect_login(story.engineer(alice, trust="before"))

    # Bob's certificate is the new CA's: a device that follows no successors knows no grant for it.
    issue(story, "user-ca-2", "bob")
    story.agent_once()
    story.expect_no_login(story.engineer(bob, trust="before"), SSHD_REFUSES)
    story.expect_login(story.engineer(alice, trust="before"))

    # One that does lets in both.
    follow_successors(story)
    story.agent_once()
    for person in (alice, bob):
        story.expect_login(story.engineer(person, trust="before"))

    # The host: clients fetch both lines first, and then the device gets its new certificate.
    assert authority_lines(story, "during") == 2
    old_host = serving_ca(story)
    for trust in ("before", "during"):
        story.expect_login(story.engineer(alice, trust=trust))
    story.admin("ssh", "rotate", "--device", "gate-1", "--ca", "host-ca-2", "--for", "8h")
    story.expect_login(story.engineer(alice, trust="before"))
    story.agent_once()
    assert serving_ca(story) != old_host
    for person in (alice, bob):
        story.expect_login(story.engineer(person, trust="during"))
    # Why in this order: who only knows the old line is not fooled, and not let down silently.
    story.expect_no_login(story.engineer(alice, trust="before"), CLIENT_REFUSES)

    # The old ones close: they issue no more, and what they issued lives on.
    for old in ("user-ca", "host-ca"):
        story.admin("ca", "close", old, "--yes")
    for person in (alice, bob):
        story.expect_login(story.engineer(person, trust="during"))
    story.agent_once()
    assert authority_lines(story, "closed") == 2
    for person in (alice, bob):
        story.expect_login(story.engineer(person, trust="closed"))
    issue(story, "user-ca", "carol", expect=2)

    # Alice changes over in good time; then the old ones end, and only what they issued ends.
    kept = story.make_key(story.laptop / "alice-before")
    for suffix in ("", ".pub", "-cert.pub"):
        Path(f"{kept}{suffix}").write_bytes(Path(f"{alice}{suffix}").read_bytes())
    issue(story, "user-ca-2", "alice")
    story.expect_login(story.engineer(kept, trust="closed"))
    story.agent_once()
    for person in (kept, alice, bob):
        story.expect_login(story.engineer(person, trust="closed"))
    for old in ("user-ca", "host-ca"):
        story.admin("ca", "retire", old, "--yes")
    story.agent_once()
    assert authority_lines(story, "after") == 1
    for person in (alice, bob):
        for trust in ("during", "after"):
            story.expect_login(story.engineer(person, trust=trust))
    story.expect_no_login(story.engineer(kept, trust="after"), SSHD_REFUSES)
    assert story.verify(Path(f"{kept}-cert.pub"), 3) == "revoked"


def test_on_the_worst_day_the_successor_of_a_retired_ca_is_trusted_without_a_visit(
    story: Story,
) -> None:
    """The new CA's key is stolen too, and everything of it must end at once."""
    story.admin("ca", "retire", "user-ca-2", "--yes")
    story.agent_once()
    bob = story.laptop / "bob"
    story.expect_no_login(story.engineer(bob, trust="after"), SSHD_REFUSES)
    story.admin("ca", "rotate", "user-ca-2", "user-ca-3")
    issue(story, "user-ca-3", "bob")
    story.agent_once()
    story.expect_login(story.engineer(bob, trust="after"))
