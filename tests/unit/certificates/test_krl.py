from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from dpki.certificates.keys import ssh_blob
from dpki.certificates.krl import (
    Krl,
    Revocations,
    build_krl,
    parse_krl,
    refuse_the_same,
    unite_krls,
)
from dpki.certificates.wire import string, uint32, uint64
from dpki.errors import DpkiError, MalformedInput, UsageError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CA, OTHER, KEY = (ssh_blob(ed25519.Ed25519PrivateKey.generate().public_key()) for _ in range(3))
EMPTY = build_krl((), (), version=1, generated=NOW)


def build(*revocations: Revocations, keys=(), **changes) -> bytes:
    return build_krl(revocations, keys, **({"version": 5, "generated": NOW} | changes))


def runs(data: bytes) -> dict[bytes, tuple[tuple[int, int], ...]]:
    return dict(parse_krl(data).revoked)


class TestBuild:
    def test_nothing_revoked_is_not_an_empty_file(self) -> None:
        assert parse_krl(EMPTY) == Krl(1, NOW, "", (), frozenset())
        assert len(EMPTY) == 44

    def test_the_watermark_spares_its_own_serial_and_zero(self) -> None:
        assert runs(build(Revocations(CA, (), below=5))) == {CA: ((1, 4),)}

    @pytest.mark.parametrize("below", [0, 1])
    def test_a_watermark_that_revokes_nothing_leaves_no_section(self, below: int) -> None:
        assert runs(build(Revocations(CA, (), below))) == {}

    def test_joins_what_touches_or_overlaps(self) -> None:
        revocations = Revocations(CA, [9, 7, 8, 8, range(20, 30), range(25, 40), range(40, 40)], 4)
        assert runs(build(revocations)) == {CA: ((1, 3), (7, 9), (20, 39))}

    def test_joins_two_entries_of_one_ca(self) -> None:
        assert runs(build(Revocations(CA, [1]), Revocations(CA, [2]))) == {CA: ((1, 2),)}

    def test_cas_are_apart(self) -> None:
        krl = parse_krl(build(Revocations(CA, [1]), Revocations(OTHER, [2])))
        assert krl.is_revoked(CA, 1)
        assert not krl.is_revoked(CA, 2)
        assert krl.is_revoked(OTHER, 2)
        assert not krl.is_revoked(KEY, 1)

    def test_whole_keys(self) -> None:
        krl = parse_krl(build(keys=[KEY, KEY]))
        assert krl.keys == {KEY}
        assert krl.is_revoked(KEY, 99)
        assert krl.is_revoked(CA, 1, KEY)
        assert not krl.is_revoked(CA, 1, OTHER)

    def test_is_the_same_whatever_the_order(self) -> None:
        one = build(Revocations(CA, [5, 1]), Revocations(OTHER, [3]), keys=[KEY, CA])
        two = build(Revocations(OTHER, [3]), Revocations(CA, [1, 5]), keys=[CA, KEY])
        assert one == two

    def test_a_hundred_thousand_consecutive_take_no_more_than_one_range(self) -> None:
        assert len(build(Revocations(CA, range(1, 100_001)))) == len(
            build(Revocations(CA, range(1, 4)))
        )
        assert len(build(Revocations(CA, [range(1, 100_001)]))) < 150

    def test_never_writes_a_bitmap(self) -> None:
        # ssh-keygen writes one here, which it can't read itself.
        data = build(Revocations(CA, range(1, 40_000, 2)))
        assert len(runs(data)[CA]) == 20_000
        assert len(data) < 8 * 20_000 + 200

    def test_largest_serial(self) -> None:
        last = 2**64 - 1
        assert runs(build(Revocations(CA, [last, last - 1]))) == {CA: ((last - 1, last),)}

    @pytest.mark.parametrize(
        "revocations",
        [
            Revocations(CA, [0]),
            Revocations(CA, [-1]),
            Revocations(CA, [2**64]),
            Revocations(CA, [range(5)]),
            Revocations(CA, [range(1, 9, 2)]),
            Revocations(CA, (), -1),
            Revocations(CA, (), 2**64),
        ],
    )
    def test_impossible_serials_are_refused(self, revocations: Revocations) -> None:
        with pytest.raises(UsageError):
            build(revocations)

    def test_keys_that_would_make_sshd_refuse_the_list_are_refused(self) -> None:
        with pytest.raises(MalformedInput):
            build(Revocations(CA[:-1], [1]))
        with pytest.raises(MalformedInput):
            build(keys=[b"\0\0\0\1x"])

    @pytest.mark.parametrize(
        "changes",
        [{"version": -1}, {"version": 2**64}, {"generated": NOW.replace(tzinfo=None)}],
    )
    def test_impossible_heads_are_refused(self, changes) -> None:
        with pytest.raises(UsageError):
            build(**changes)

    def test_head(self) -> None:
        krl = parse_krl(build(version=2**64 - 1, comment="dpki, block 5"))
        assert (krl.version, krl.generated, krl.comment) == (2**64 - 1, NOW, "dpki, block 5")
        with pytest.raises(MalformedInput):
            build(comment="two\nlines")

    def test_nothing_leaves_that_does_not_read_back(self, monkeypatch) -> None:
        """Wherever the defect may be: sshd would lock everybody out, or let the revoked in."""
        monkeypatch.setattr("dpki.certificates.krl._encode", lambda krl: EMPTY)
        with pytest.raises(DpkiError, match="does not read back"):
            build(Revocations(CA, [1]))


class TestUnite:
    def test_what_either_refuses_is_refused(self) -> None:
        first = build(Revocations(CA, [1, 5]), Revocations(OTHER, (), 4), keys=[KEY])
        second = build(Revocations(CA, [range(2, 5)]), version=6, comment="newer")
        united = unite_krls(parse_krl(first), parse_krl(second))
        assert runs(united) == {CA: ((1, 5),), OTHER: ((1, 3),)}
        assert parse_krl(united).keys == {KEY}
        assert (parse_krl(united).version, parse_krl(united).comment) == (6, "newer")

    def test_nothing_united_is_a_mistake(self) -> None:
        with pytest.raises(UsageError):
            unite_krls()

    def test_two_that_refuse_the_same_may_differ_in_age_alone(self) -> None:
        older = build(Revocations(CA, [7]))
        newer = build(Revocations(CA, [7]), version=2**63, generated=NOW.replace(year=2030))
        assert older != newer
        assert refuse_the_same(older, newer)
        for other in (
            build(Revocations(CA, [8])),
            build(Revocations(CA, [7]), keys=[KEY]),
            build(Revocations(CA, [7]), comment="another domain"),
            older[:-1],
            b"",
        ):
            assert not refuse_the_same(older, other)


class TestParse:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            EMPTY[:-1],
            b"X" + EMPTY[1:],
            EMPTY[:8] + uint32(2) + EMPTY[12:],
            EMPTY[:28] + uint64(1) + EMPTY[36:],
            EMPTY[:20] + uint64(2**64 - 1) + EMPTY[28:],
            EMPTY[:-4] + string(b"\xff"),
            EMPTY[:-4] + string(b"\x1b[2J"),
            EMPTY + b"\x01",
            EMPTY + b"\x04" + string(b"signature"),
            EMPTY + b"\x02" + string(b""),
            EMPTY + b"\x01" + string(string(CA) + string(b"")),
            EMPTY + b"\x01" + string(string(CA) + string(b"reserved")),
            EMPTY + b"\x01" + string(string(CA) + string(b"") + b"\x20" + string(b"")),
            EMPTY + b"\x01" + string(string(CA) + string(b"") + b"\x20" + string(uint64(0))),
            EMPTY + b"\x01" + string(string(CA) + string(b"") + b"\x20" + string(b"1234567")),
            EMPTY
            + b"\x01"
            + string(string(CA) + string(b"") + b"\x20" + string(uint64(0) + uint64(5))),
            EMPTY
            + b"\x01"
            + string(
                string(CA) + string(b"") + (b"\x20" + string(uint64(5))) + (b"\x20" + string(b""))
            ),
            EMPTY
            + b"\x01"
            + string(string(CA) + string(b"") + b"\x21" + string(uint64(3) + uint64(2))),
            EMPTY + b"\x01" + string(string(CA) + string(b"") + b"\x22" + string(b"\1")),
            EMPTY + b"\x01" + string(string(CA) + string(b"") + b"\x23" + string(b"key id")),
            build(Revocations(CA, [1])) + build(Revocations(CA, [1]))[44:],
        ],
    )
    def test_everything_else_is_refused(self, data: bytes) -> None:
        with pytest.raises(MalformedInput):
            parse_krl(data)
