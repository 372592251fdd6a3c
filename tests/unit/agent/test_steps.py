"""The order of changes: after each single step nobody gets in whom neither the old state nor the
new one lets in, and once the removals are done, nobody whom the new one does not."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from dpki.agent.accounts import account_files, common_access
from dpki.agent.index import Access, IndexedAuthority, LoginIndex
from dpki.agent.sshd import InstalledFiles
from dpki.agent.steps import Remove, Step, Wanted, additions, removals, same_refusals
from dpki.certificates.krl import Revocations, build_krl, parse_krl
from tests.world import NOW, Ca

CAS = (Ca.users(), Ca.users())
FILES = InstalledFiles(Path("/etc/ssh/dpki"))
PRINCIPALS = ("dev", "ops")
SERIALS = range(1, 5)
ACCOUNTS = ("alice", "root")


def krl(refused: set[tuple[int, int]], keys: set[int], version: int) -> bytes:
    return build_krl(
        [
            Revocations(ca.blob, [serial for number, serial in refused if number == index])
            for index, ca in enumerate(CAS)
        ],
        [CAS[index].blob for index in keys],
        version=version,
        generated=NOW,
    )


@st.composite
def states(draw: st.DrawFn, version: int) -> Wanted:
    """Draw what sshd may read: whom it refuses, which CAs count, who may use which account."""
    refused = draw(st.sets(st.tuples(st.sampled_from((0, 1)), st.sampled_from(SERIALS))))
    keys, listed = draw(st.sets(st.sampled_from((0, 1)))), draw(st.sets(st.sampled_from((0, 1))))
    granted = draw(
        st.sets(
            st.tuples(
                st.sampled_from(ACCOUNTS), st.sampled_from((0, 1)), st.sampled_from(PRINCIPALS)
            )
        )
    )
    until = draw(st.sampled_from((None, NOW)))
    index = LoginIndex(
        tuple(
            IndexedAuthority(ca.id, ca.blob, ca.maximum_lifetime, NOW, until)
            for number, ca in enumerate(CAS)
            if number in listed
        ),
        (),
        tuple(Access(account, CAS[ca].id, principal) for account, ca, principal in granted),
    )
    return Wanted(
        krl=krl(refused, keys, version),
        user_authorities="".join(f"{CAS[i].id}\n" for i in sorted(listed)).encode(),
        login_command=b"script",
        login_index=b"index",
        accounts=account_files(index),
        break_glass=draw(st.sampled_from((None, b"glass\n"))),
    )


def on_disk(state: Wanted) -> dict[Path, bytes]:
    found = {
        FILES.krl: state.krl,
        FILES.user_authorities: state.user_authorities,
        FILES.login_command: state.login_command,
        FILES.login_index: state.login_index,
    }
    found |= {FILES.accounts / name: content for name, content in state.accounts.items()}
    return found | ({} if state.break_glass is None else {FILES.break_glass: state.break_glass})


def let_in(found: dict[Path, bytes]) -> set[tuple[object, ...]]:
    """Who gets in: (account, CA, principal, serial) by files mode, (CA, serial) by the list of CAs,
    and whoever has the break-glass key."""
    refusing = parse_krl(found[FILES.krl])
    able: set[tuple[object, ...]] = set()
    for number, ca in enumerate(CAS):
        for serial in SERIALS:
            if refusing.is_revoked(ca.blob, serial):
                continue
            if f"{ca.id}\n".encode() in found[FILES.user_authorities].splitlines(keepends=True):
                able.add((number, serial))
            for account in ACCOUNTS:
                for line in found.get(FILES.accounts / account, b"").decode().splitlines():
                    if f"dpki-{ca.id.hex()[:16]}" in line:
                        principals = line.split('"')[1].split(",")
                        able |= {(account, number, name, serial) for name in principals}
    return able | ({("glass",)} if FILES.break_glass in found else set())


def take(step: Step, found: dict[Path, bytes]) -> None:
    if isinstance(step, Remove):
        found.pop(step.path, None)
    else:
        found[step.path] = step.content


@settings(max_examples=40)
@given(states(1), states(2))
def test_no_step_admits_anybody_too_much(old: Wanted, new: Wanted) -> None:
    found = on_disk(old)
    before, after = let_in(on_disk(old)), let_in(on_disk(new))
    for step in removals(FILES, found.copy(), new):
        take(step, found)
        assert let_in(found) <= before | after
    # A break-glass key is the device's own, and is there from the start.
    assert let_in(found) <= (before & after) | {("glass",)}
    for step in additions(FILES, new, release=True):
        take(step, found)
        assert let_in(found) <= after
    assert {path: c for path, c in found.items() if path != FILES.krl} == {
        path: c for path, c in on_disk(new).items() if path != FILES.krl
    }
    assert let_in(found) == after


@settings(max_examples=40)
@given(states(1), states(2))
def test_nothing_is_released_before_its_time(old: Wanted, new: Wanted) -> None:
    found = on_disk(old)
    for step in [*removals(FILES, found.copy(), new), *additions(FILES, new, release=False)]:
        take(step, found)
    for serial in SERIALS:
        for ca in CAS:
            refused = parse_krl(found[FILES.krl]).is_revoked(ca.blob, serial)
            olds, news = (parse_krl(s.krl).is_revoked(ca.blob, serial) for s in (old, new))
            assert refused == (olds or news)


@settings(max_examples=20)
@given(states(1))
def test_nothing_is_written_anew_that_says_the_same(state: Wanted) -> None:
    found = on_disk(state)
    for step in [*removals(FILES, found, state), *additions(FILES, state, release=True)]:
        assert isinstance(step, Remove) or found[step.path] == step.content
        assert not isinstance(step, Remove) or step.path not in found


def test_a_damaged_krl_is_replaced_at_once() -> None:
    wanted = krl({(0, 1)}, set(), 2)
    assert same_refusals(b"", wanted) == wanted
    assert same_refusals(None, wanted) == wanted
    older = krl({(0, 1)}, set(), 1)
    assert same_refusals(older, wanted) == older
    assert same_refusals(older[:-1], wanted) == wanted
    state = Wanted(wanted, b"", b"", b"", {}, None)
    (first, *_) = removals(FILES, {FILES.krl: b"damaged"}, state)
    assert not isinstance(first, Remove)
    assert first.content == wanted


def test_lines_that_nobody_of_us_wrote_are_not_kept() -> None:
    foreign = b"ssh-ed25519 AAAA way-in\n"
    assert common_access(foreign, foreign) == b""
