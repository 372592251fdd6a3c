"""The story on Anvil with OP-stack rules, as on Lisk; and when it is over, both CAs rotate.

The rotation has real logins throughout: nobody is locked out at any moment. Anna keeps the
certificate that the old user CA gave her, bob gets one of the new. Clients that fetched the
@cert-authority lines before the rotation stand beside those that fetched them during and after it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.players import CLIENT_REFUSES, SSHD_REFUSES, Story
from scripts.story import STEPS, Step
from tests.e2e.conftest import Playing

OPTIMISM = True
THIEVES_HOST_SERIALS = (4, 5)
"""What the two thefts of the story anchored as host certificates of the device."""
OP_STACK_FORKS = {"Canyon", "Ecotone", "Fjord", "Granite", "Holocene", "Isthmus", "Jovian", "Karst"}
"""Names that only OP-stack chains have (https://specs.optimism.io/protocol/superchain-upgrades.html)."""


@pytest.mark.parametrize("step", STEPS, ids=[step.name for step in STEPS])
def test_step(playing: Playing[Story], step: Step[Story]) -> None:
    playing.reach(step)


def test_the_chain_has_op_stack_rules(playing: Playing[Story]) -> None:
    playing.reach(STEPS[1])
    story = playing.story
    assert story.stage.rpc(story.rpc, "anvil_nodeInfo")["hardFork"] in OP_STACK_FORKS


# --- rotation -------------------------------------------------------------------------------------


def clean_up_after_thieves(story: Story) -> None:
    """Revoke what they anchored for the device, so that its agent has nothing to complain of."""
    serials = [word for serial in THIEVES_HOST_SERIALS for word in ("--serial", str(serial))]
    story.admin("ssh", "revoke", "--ca", "host-ca", *serials)


def follow_successors(story: Story) -> None:
    """Do by hand what `dpki device init --follow-successors` writes."""
    file = story.gate.directory / "device.toml"
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
    file = story.gate.drop_in_option("HostCertificate")
    shown = story.stage.run(["ssh-keygen", "-L", "-f", file]).stdout
    (line,) = (line for line in shown.splitlines() if "Signing CA" in line)
    return line.split()[3]


def test_logins_throughout(playing: Playing[Story]) -> None:
    playing.reach(STEPS[-1])
    story = playing.story
    clean_up_after_thieves(story)
    anna, bob = issue(story, "user-ca", "anna"), story.laptop / "bob"
    story.gate.agent_once()
    assert authority_lines(story, "before") == 1
    story.expect_login(story.engineer(anna, trust="before"))

    # Both successors are registered: nothing changes for anybody, agent run or not.
    for old in ("user-ca", "host-ca"):
        story.admin("ca", "rotate", old, f"{old}-2")
    story.expect_login(story.engineer(anna, trust="before"))
    story.gate.agent_once()
    story.expect_login(story.engineer(anna, trust="before"))

    # Bob's certificate is the new CA's: a device that follows no successors knows no grant for it.
    issue(story, "user-ca-2", "bob")
    story.gate.agent_once()
    story.expect_no_login(story.engineer(bob, trust="before"), SSHD_REFUSES)
    story.expect_login(story.engineer(anna, trust="before"))

    # One that does lets in both.
    follow_successors(story)
    story.gate.agent_once()
    for person in (anna, bob):
        story.expect_login(story.engineer(person, trust="before"))

    # The host: clients fetch both lines first, and then the device gets its new certificate.
    assert authority_lines(story, "during") == 2
    old_host = serving_ca(story)
    for trust in ("before", "during"):
        story.expect_login(story.engineer(anna, trust=trust))
    story.admin("ssh", "rotate", "--device", "gate-1", "--ca", "host-ca-2", "--for", "8h")
    story.expect_login(story.engineer(anna, trust="before"))
    story.gate.agent_once()
    assert serving_ca(story) != old_host
    for person in (anna, bob):
        story.expect_login(story.engineer(person, trust="during"))
    # Why in this order: who only knows the old line is not fooled, and not let down silently.
    story.expect_no_login(story.engineer(anna, trust="before"), CLIENT_REFUSES)

    # The old ones close: they issue no more, and what they issued lives on.
    for old in ("user-ca", "host-ca"):
        story.admin("ca", "close", old, "--yes")
    for person in (anna, bob):
        story.expect_login(story.engineer(person, trust="during"))
    story.gate.agent_once()
    assert authority_lines(story, "closed") == 2
    for person in (anna, bob):
        story.expect_login(story.engineer(person, trust="closed"))
    issue(story, "user-ca", "carol", expect=2)

    # Anna changes over in good time; then the old ones end, and only what they issued ends.
    kept = story.make_key(story.laptop / "anna-before")
    for suffix in ("", ".pub", "-cert.pub"):
        Path(f"{kept}{suffix}").write_bytes(Path(f"{anna}{suffix}").read_bytes())
    issue(story, "user-ca-2", "anna")
    story.expect_login(story.engineer(kept, trust="closed"))
    story.gate.agent_once()
    for person in (kept, anna, bob):
        story.expect_login(story.engineer(person, trust="closed"))
    for old in ("user-ca", "host-ca"):
        story.admin("ca", "retire", old, "--yes")
    story.gate.agent_once()
    assert authority_lines(story, "after") == 1
    for person in (anna, bob):
        for trust in ("during", "after"):
            story.expect_login(story.engineer(person, trust=trust))
    story.expect_no_login(story.engineer(kept, trust="after"), SSHD_REFUSES)
    assert story.verify(Path(f"{kept}-cert.pub"), 3) == "revoked"


def test_on_the_worst_day_the_successor_of_a_retired_ca_is_trusted_without_a_visit(
    playing: Playing[Story],
) -> None:
    """The new CA's key is stolen too, and everything of it must end at once."""
    story = playing.story
    story.admin("ca", "retire", "user-ca-2", "--yes")
    story.gate.agent_once()
    bob = story.laptop / "bob"
    story.expect_no_login(story.engineer(bob, trust="after"), SSHD_REFUSES)
    story.admin("ca", "rotate", "user-ca-2", "user-ca-3")
    issue(story, "user-ca-3", "bob")
    story.gate.agent_once()
    story.expect_login(story.engineer(bob, trust="after"))
