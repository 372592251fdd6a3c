"""WatchdogRegistry: I1 to I9."""

from enum import IntEnum

import pytest

from tests.contracts import reference
from tests.contracts.conftest import State, Verdict, event, events
from tests.contracts.reference import ENROLLMENT, ZERO, malleate, mapping_slot, word
from tests.contracts.reverting import plain, reverts

#: The first watched serial: 1 to 3 were issued before anybody watched.
FROM = 4
KEY = b"\x07" * 32
HIGHEST = 2**32 - 1


class Skipped(IntEnum):
    NOT_A_WATCHDOG = 0
    UNKNOWN_BATCH = 1
    LATE = 2
    INVALID_SIGNATURE = 3
    NOTHING_CHANGED = 4
    OBJECTED = 5


@pytest.fixture
def registry(world):
    """Watchdogs of weight 10, 20 and 30 watch `ca`, of which any two and more than 30 must agree;
    one batch was anchored before that, and one after.
    """
    world.issue(world.entries(FROM - 1))
    world.watchdogs.setWatch(world.ca, world.watched_by(10, 20, 30), 40, sender=world.governor)
    world.issue(world.entries(2), FROM)
    return world.watchdogs


@pytest.fixture
def commitment(world, registry):
    return bytes(world.certificates.commitment(world.ca, FROM))


@pytest.fixture
def say(world, registry, commitment):
    """Let a watchdog confirm."""

    def say(watchdog, first=FROM, instead=None):
        return registry.confirm(world.ca, first, instead or commitment, sender=watchdog)

    return say


def progress(world, first=FROM):
    return tuple(world.watchdogs.progress(world.ca, first))


def watch_slot(ca):
    return mapping_slot(ca, 2)


def progress_slot(ca, first):
    return mapping_slot(first, mapping_slot(ca, 5))


class TestDomainSeparator:
    def test_is_as_documented(self, world):
        _, name, version, chain_id, contract, salt, extensions = world.watchdogs.eip712Domain()
        assert (name, version) == ("dpki WatchdogRegistry", "1")
        assert chain_id == world.chain.chain_id
        assert contract == world.watchdogs.address
        assert (salt, list(extensions)) == (ZERO, [])


class TestSetWatch:
    def test_names_the_watchdogs(self, world):
        """I1, I3: from the next serial on."""
        world.issue(world.entries(3))
        named = world.watched_by(10, 20)
        receipt = world.watchdogs.setWatch(world.ca, named, 25, sender=world.governor)
        assert tuple(world.watchdogs.watch(world.ca)) == (1, FROM, 25, 30)
        assert [tuple(w) for w in world.watchdogs.watchdogs(world.ca)] == named
        assert [name for name, _ in events(receipt)] == ["WatchChanged"]
        told = receipt.events[0].event_arguments
        assert (bytes(told["ca"]), told["version"], told["firstSerial"]) == (world.ca, 1, FROM)
        assert (told["threshold"], [tuple(map(plain, w)) for w in told["watchdogs"]]) == (
            25,
            [tuple(map(plain, w)) for w in named],
        )

    def test_one_word_version_lowest(self, registry, world):
        word = 1 | FROM << 32 | 40 << 64 | 60 << 96
        assert world.storage_at(registry, watch_slot(world.ca)) == word

    def test_changes_nothing_of_another_authority(self, registry, world):
        assert tuple(registry.watch(world.other_ca)) == (0, 0, 0, 0)
        assert list(registry.watchdogs(world.other_ca)) == []
        assert registry.isConfirmed(world.other_ca, 1)

    def test_others_in_their_place(self, registry, world):
        """I3: the version rises, and where it began stays."""
        world.issue(world.entries(1), FROM + 2)
        named = world.watched_by(5)
        registry.setWatch(world.ca, named, 5, sender=world.governor)
        assert tuple(registry.watch(world.ca)) == (2, FROM, 5, 5)
        assert [tuple(w) for w in registry.watchdogs(world.ca)] == named
        with reverts(registry.WatchdogRegistryUnauthorized, caller=world.other_watchdog):
            registry.confirm(world.ca, FROM, b"\x01" * 32, sender=world.other_watchdog)

    def test_up_to_32_of_the_greatest_weight(self, world):
        """The sum has to fit 32 bits, and so do 32 bits of confirmations."""
        named = [(f"0x{i:040x}", 1, KEY) for i in range(1, 32)]
        named.append((str(world.watchdog.address), HIGHEST - 31, KEY))
        world.watchdogs.setWatch(world.ca, named, HIGHEST, sender=world.governor)
        assert tuple(world.watchdogs.watch(world.ca)) == (1, 1, HIGHEST, HIGHEST)
        world.issue(world.entries(1))
        commitment = world.certificates.commitment(world.ca, 1)
        world.watchdogs.confirm(world.ca, 1, commitment, sender=world.watchdog)
        assert progress(world, 1) == (1, HIGHEST - 31, 1 << 31, 0, False)

    @pytest.mark.parametrize("state", list(State)[1:])
    def test_in_every_state(self, world, state):
        world.lead_into(state)
        world.watchdogs.setWatch(world.ca, world.watched_by(1), 1, sender=world.governor)
        assert world.watchdogs.watch(world.ca).version == 1

    @pytest.mark.parametrize("count", [0, 33])
    def test_refuses_too_few_or_too_many(self, world, count):
        """I2."""
        named = [(f"0x{i:040x}", 1, KEY) for i in range(1, count + 1)]
        with reverts(world.watchdogs.WatchdogRegistryInvalidWatchdogs, count=count):
            world.watchdogs.setWatch(world.ca, named, 1, sender=world.governor)

    @pytest.mark.parametrize("missing", ["account", "weight", "sealingKey"])
    def test_refuses_one_without(self, world, missing):
        """I2."""
        good = {"account": str(world.watchdog.address), "weight": 3, "sealingKey": KEY}
        zero = {"account": "0x" + "00" * 20, "weight": 0, "sealingKey": ZERO}
        bad = good | {missing: zero[missing]}
        with reverts(world.watchdogs.WatchdogRegistryInvalidWatchdog, **bad):
            world.watchdogs.setWatch(
                world.ca,
                [*world.watched_by(0, 1)[1:], tuple(bad.values())],
                1,
                sender=world.governor,
            )

    def test_refuses_one_twice(self, world):
        """I2, I6: also with another weight and key."""
        account = str(world.watchdog.address)
        with reverts(world.watchdogs.WatchdogRegistryDuplicateWatchdog, account=account):
            world.watchdogs.setWatch(
                world.ca, [(account, 1, KEY), (account, 2, b"\x09" * 32)], 1, sender=world.governor
            )

    @pytest.mark.parametrize("threshold", [0, 61, HIGHEST])
    def test_refuses_a_threshold_out_of_reach(self, world, threshold):
        """I2."""
        with reverts(
            world.watchdogs.WatchdogRegistryInvalidThreshold, threshold=threshold, total=60
        ):
            world.watchdogs.setWatch(
                world.ca, world.watched_by(10, 20, 30), threshold, sender=world.governor
            )

    def test_refuses_weights_that_overflow(self, world):
        with reverts(world.watchdogs.WatchdogRegistryInvalidThreshold, threshold=1, total=2**32):
            world.watchdogs.setWatch(
                world.ca, world.watched_by(HIGHEST, 1), 1, sender=world.governor
            )

    def test_refuses_an_unknown_authority(self, world):
        with reverts(world.watchdogs.WatchdogRegistryUnknownAuthority, ca=b"\x09" * 32):
            world.watchdogs.setWatch(b"\x09" * 32, world.watched_by(1), 1, sender=world.stranger)


class TestRequestReview:
    @pytest.mark.parametrize("count", [1, 16])
    def test_announces_the_parcels(self, registry, world, count):
        parcels = [bytes([i]) * 32 for i in range(count)]
        receipt = registry.requestReview(world.ca, FROM, parcels, sender=world.operator)
        told = receipt.events[0].event_arguments
        assert [name for name, _ in events(receipt)] == ["ReviewRequested"]
        assert (bytes(told["ca"]), told["firstSerial"]) == (world.ca, FROM)
        assert [bytes(parcel) for parcel in told["parcels"]] == parcels
        assert world.changed_storage(receipt) == set()

    @pytest.mark.parametrize("count", [0, 17])
    def test_refuses_too_few_or_too_many(self, registry, world, count):
        with reverts(registry.WatchdogRegistryInvalidParcels, count=count):
            registry.requestReview(world.ca, FROM, [KEY] * count, sender=world.operator)

    @pytest.mark.parametrize("first", [FROM + 1, FROM + 2])
    def test_refuses_where_no_batch_begins(self, registry, world, first):
        with reverts(
            registry.WatchdogRegistryUnknownBatch, ca=world.ca, firstSerial=first, commitment=ZERO
        ):
            registry.requestReview(world.ca, first, [KEY], sender=world.operator)

    def test_refuses_what_nobody_watches(self, registry, world):
        with reverts(registry.WatchdogRegistryNotWatched, ca=world.ca, firstSerial=1):
            registry.requestReview(world.ca, 1, [KEY], sender=world.operator)
        with reverts(registry.WatchdogRegistryNotWatched, ca=world.other_ca, firstSerial=1):
            registry.requestReview(world.other_ca, 1, [KEY], sender=world.other_operator)

    def test_refuses_an_unknown_authority(self, registry, world):
        with reverts(registry.WatchdogRegistryUnknownAuthority, ca=b"\x09" * 32):
            registry.requestReview(b"\x09" * 32, 1, [KEY], sender=world.operator)


class TestConfirm:
    def test_counts(self, registry, world, say):
        """I4, I6."""
        receipt = say(world.watchdog)
        assert progress(world) == (1, 10, 0b001, 0, False)
        assert not registry.isConfirmed(world.ca, FROM)
        assert events(receipt) == [
            event(
                "BatchConfirmed",
                ca=world.ca,
                firstSerial=FROM,
                watchdog=world.watchdog,
                weight=10,
            )
        ]
        assert world.changed_storage(receipt) == {("watchdogs", progress_slot(world.ca, FROM))}

    def test_enough_of_them_accept(self, registry, world, say):
        """I7."""
        say(world.watchdog)
        receipt = say(world.third_watchdog)
        assert progress(world) == (1, 40, 0b101, 0, True)
        assert registry.isConfirmed(world.ca, FROM)
        assert [name for name, _ in events(receipt)] == ["BatchConfirmed", "BatchAccepted"]
        assert events(receipt)[1] == event("BatchAccepted", ca=world.ca, firstSerial=FROM)
        word = 1 | 40 << 32 | 0b101 << 64 | 1 << 128
        assert world.storage_at(registry, progress_slot(world.ca, FROM)) == word

    def test_one_short_of_the_threshold_is_not_enough(self, registry, world, say):
        registry.setWatch(world.ca, world.watched_by(10, 20, 30), 41, sender=world.governor)
        say(world.watchdog)
        say(world.third_watchdog)
        assert not registry.isConfirmed(world.ca, FROM)
        say(world.other_watchdog)
        assert registry.isConfirmed(world.ca, FROM)

    def test_each_batch_by_itself(self, registry, world, say):
        world.issue(world.entries(1), FROM + 2)
        say(world.watchdog)
        say(world.third_watchdog)
        assert progress(world, FROM + 2) == (0, 0, 0, 0, False)
        assert not registry.isConfirmed(world.ca, FROM + 2)

    def test_refuses_a_second_time(self, registry, world, say):
        """I6."""
        say(world.watchdog)
        with reverts(
            registry.WatchdogRegistryAlreadyConfirmed,
            ca=world.ca,
            firstSerial=FROM,
            watchdog=world.watchdog,
        ):
            say(world.watchdog)

    def test_refuses_when_nothing_is_missing(self, registry, world, say):
        say(world.watchdog)
        say(world.third_watchdog)
        with reverts(
            registry.WatchdogRegistryAlreadyConfirmed,
            ca=world.ca,
            firstSerial=FROM,
            watchdog=world.other_watchdog,
        ):
            say(world.other_watchdog)

    def test_refuses_after_objecting(self, registry, world, say, commitment):
        """I6."""
        registry.object(world.ca, FROM, commitment, "no", sender=world.watchdog)
        with reverts(
            registry.WatchdogRegistryObjected,
            ca=world.ca,
            firstSerial=FROM,
            watchdog=world.watchdog,
        ):
            say(world.watchdog)

    def test_refuses_another_commitment(self, registry, world, say):
        """I9: a reorg that put another batch there finds no confirmation of it."""
        for wrong in (b"\x09" * 32, bytes(world.certificates.commitment(world.ca, 1))):
            with reverts(
                registry.WatchdogRegistryUnknownBatch,
                ca=world.ca,
                firstSerial=FROM,
                commitment=wrong,
            ):
                say(world.watchdog, instead=wrong)

    @pytest.mark.parametrize("first", [FROM + 1, FROM + 2, HIGHEST])
    def test_refuses_where_no_batch_begins(self, registry, world, first):
        """I9: zero does not name the batch that is not there."""
        with reverts(
            registry.WatchdogRegistryUnknownBatch, ca=world.ca, firstSerial=first, commitment=ZERO
        ):
            registry.confirm(world.ca, first, ZERO, sender=world.watchdog)

    def test_refuses_what_was_there_before(self, registry, world, say):
        commitment = bytes(world.certificates.commitment(world.ca, 1))
        with reverts(registry.WatchdogRegistryNotWatched, ca=world.ca, firstSerial=1):
            say(world.watchdog, first=1, instead=commitment)

    def test_refuses_an_unknown_authority(self, registry, world):
        with reverts(registry.WatchdogRegistryUnknownAuthority, ca=b"\x09" * 32):
            registry.confirm(b"\x09" * 32, FROM, KEY, sender=world.watchdog)

    def test_nobody_watches(self, registry, world):
        """I4: nobody can confirm what nobody was named for."""
        with reverts(registry.WatchdogRegistryUnauthorized, caller=world.watchdog):
            registry.confirm(world.other_ca, 1, KEY, sender=world.watchdog)


class TestObject:
    def test_is_heard(self, registry, world, commitment):
        receipt = registry.object(world.ca, FROM, commitment, "no such user", sender=world.watchdog)
        assert progress(world) == (1, 0, 0, 0b001, False)
        assert events(receipt) == [
            event(
                "BatchObjected",
                ca=world.ca,
                firstSerial=FROM,
                watchdog=world.watchdog,
                reason="no such user",
            )
        ]

    def test_takes_back_a_confirmation(self, registry, world, say, commitment):
        """I6."""
        say(world.watchdog)
        registry.object(world.ca, FROM, commitment, "", sender=world.watchdog)
        assert progress(world) == (1, 0, 0, 0b001, False)
        say(world.third_watchdog)
        assert progress(world) == (1, 30, 0b100, 0b001, False)

    def test_does_not_keep_the_others_from_confirming(self, registry, world, say, commitment):
        registry.object(world.ca, FROM, commitment, "no", sender=world.watchdog)
        say(world.other_watchdog)
        say(world.third_watchdog)
        assert registry.isConfirmed(world.ca, FROM)

    def test_of_what_counts_changes_nothing(self, registry, world, say, commitment):
        """I7."""
        say(world.watchdog)
        say(world.third_watchdog)
        for watchdog in (world.watchdog, world.other_watchdog):
            receipt = registry.object(world.ca, FROM, commitment, "late", sender=watchdog)
            assert world.changed_storage(receipt) == set()
            assert [name for name, _ in events(receipt)] == ["BatchObjected"]
        assert registry.isConfirmed(world.ca, FROM)

    def test_refuses_a_second_time(self, registry, world, commitment):
        registry.object(world.ca, FROM, commitment, "no", sender=world.watchdog)
        with reverts(
            registry.WatchdogRegistryObjected,
            ca=world.ca,
            firstSerial=FROM,
            watchdog=world.watchdog,
        ):
            registry.object(world.ca, FROM, commitment, "no!", sender=world.watchdog)

    def test_in_at_most_256_bytes(self, registry, world, commitment):
        with reverts(registry.WatchdogRegistryReasonTooLong, length=257):
            registry.object(world.ca, FROM, commitment, "n" * 257, sender=world.watchdog)
        registry.object(world.ca, FROM, commitment, "n" * 256, sender=world.watchdog)

    def test_refuses_another_batch(self, registry, world, commitment):
        """I9."""
        with reverts(
            registry.WatchdogRegistryUnknownBatch, ca=world.ca, firstSerial=FROM, commitment=KEY
        ):
            registry.object(world.ca, FROM, KEY, "no", sender=world.watchdog)
        with reverts(registry.WatchdogRegistryNotWatched, ca=world.ca, firstSerial=1):
            registry.object(world.ca, 1, commitment, "no", sender=world.watchdog)

    def test_refuses_an_unknown_authority(self, registry, world):
        with reverts(registry.WatchdogRegistryUnknownAuthority, ca=b"\x09" * 32):
            registry.object(b"\x09" * 32, FROM, KEY, "no", sender=world.watchdog)


class TestChangeOfWatchdogs:
    """I7: voids what was confirmed in part, and never what was accepted."""

    def test_voids_partial_confirmations(self, registry, world, say):
        say(world.watchdog)
        registry.setWatch(world.ca, world.watched_by(10, 20, 30), 40, sender=world.governor)
        say(world.third_watchdog)
        assert progress(world) == (2, 30, 0b100, 0, False)
        assert not registry.isConfirmed(world.ca, FROM)
        say(world.watchdog)
        assert registry.isConfirmed(world.ca, FROM)

    def test_voids_objections(self, registry, world, say, commitment):
        """Who objected may look again, when the governor names it anew."""
        registry.object(world.ca, FROM, commitment, "no", sender=world.watchdog)
        registry.setWatch(world.ca, world.watched_by(10, 20, 30), 40, sender=world.governor)
        say(world.watchdog)
        assert progress(world) == (2, 10, 0b001, 0, False)

    def test_never_an_accepted_batch(self, registry, world, say):
        say(world.watchdog)
        say(world.third_watchdog)
        before = progress(world)
        registry.setWatch(world.ca, world.watched_by(0, 0, 1)[2:], 1, sender=world.governor)
        assert registry.isConfirmed(world.ca, FROM)
        with reverts(registry.WatchdogRegistryAlreadyConfirmed):
            say(world.third_watchdog)
        assert progress(world) == before

    def test_of_an_accepted_batch_the_old_bits_say_nothing(self, registry, world, say, commitment):
        """Who stands where an objector stood in the old list did not object."""
        registry.object(world.ca, FROM, commitment, "no", sender=world.watchdog)
        say(world.other_watchdog)
        say(world.third_watchdog)
        registry.setWatch(world.ca, world.watched_by(0, 5)[1:], 5, sender=world.governor)
        with reverts(registry.WatchdogRegistryAlreadyConfirmed):
            say(world.other_watchdog)
        brought = world.confirmation(FROM, commitment, world.other_watchdog, version=2)
        receipt = registry.relay([brought], sender=world.stranger)
        assert events(receipt)[0][1]["reason"] == Skipped.NOTHING_CHANGED

    def test_a_lower_threshold_accepts_nothing_by_itself(self, registry, world, say):
        say(world.third_watchdog)
        registry.setWatch(world.ca, world.watched_by(10, 20, 30), 30, sender=world.governor)
        assert not registry.isConfirmed(world.ca, FROM)
        say(world.third_watchdog)
        assert registry.isConfirmed(world.ca, FROM)

    def test_an_objection_of_a_new_list_spares_what_counts(self, registry, world, say, commitment):
        """The word of an accepted batch is of another list: nobody writes to it."""
        say(world.watchdog)
        say(world.third_watchdog)
        before = progress(world)
        registry.setWatch(world.ca, world.watched_by(10, 20), 30, sender=world.governor)
        registry.object(world.ca, FROM, commitment, "no", sender=world.other_watchdog)
        assert progress(world) == before


class TestRelay:
    @pytest.fixture
    def bring(self, world, registry, commitment):
        """Bring one confirmation, and return how it was skipped, or None."""

        def bring(watchdog=None, first=FROM, change=lambda given: given, **instead):
            given = change(
                world.confirmation(first, commitment, watchdog or world.watchdog, **instead)
            )
            before = progress(world, first)
            receipt = registry.relay([given], sender=world.stranger)
            (name, told), *more = events(receipt)
            assert told["watchdog"] == str(given[3]).lower()
            if name == "ConfirmationSkipped":
                assert not more
                assert world.changed_storage(receipt) == set()
                assert progress(world, first) == before
                return Skipped(told["reason"])
            assert name == "BatchConfirmed"
            return None

        return bring

    def test_counts_like_a_call(self, world, bring):
        """I4: whoever brings it."""
        assert bring() is None
        assert progress(world) == (1, 10, 0b001, 0, False)

    def test_many_at_once(self, registry, world, commitment):
        """I8: the bad ones between them keep nothing from counting."""
        good = world.confirmation(FROM, commitment, world.watchdog)
        receipt = registry.relay(
            [
                world.confirmation(FROM, commitment, world.stranger),
                good,
                good,
                world.confirmation(FROM, commitment, world.other_watchdog, deadline=1),
                world.confirmation(FROM + 7, commitment, world.other_watchdog),
                world.confirmation(FROM, commitment, world.other_watchdog, signer=world.watchdog),
                world.confirmation(FROM, commitment, world.third_watchdog),
                world.confirmation(FROM, commitment, world.other_watchdog),
            ],
            sender=world.stranger,
        )
        told = [(name, values.get("reason")) for name, values in events(receipt)]
        assert told == [
            ("ConfirmationSkipped", Skipped.NOT_A_WATCHDOG),
            ("BatchConfirmed", None),
            ("ConfirmationSkipped", Skipped.NOTHING_CHANGED),
            ("ConfirmationSkipped", Skipped.LATE),
            ("ConfirmationSkipped", Skipped.UNKNOWN_BATCH),
            ("ConfirmationSkipped", Skipped.INVALID_SIGNATURE),
            ("BatchConfirmed", None),
            ("BatchAccepted", None),
            ("ConfirmationSkipped", Skipped.NOTHING_CHANGED),
        ]
        assert progress(world) == (1, 40, 0b101, 0, True)

    def test_none(self, registry, world):
        assert events(registry.relay([], sender=world.stranger)) == []

    def test_replayed(self, world, bring):
        """I6: the same, another of the same, and a call before it."""
        assert bring() is None
        assert bring() == Skipped.NOTHING_CHANGED
        assert bring(deadline=2**256 - 1) == Skipped.NOTHING_CHANGED

    def test_after_a_call(self, world, bring, say):
        say(world.watchdog)
        assert bring() == Skipped.NOTHING_CHANGED

    def test_after_an_objection(self, registry, world, bring, commitment):
        """I6: an objection beats what was signed before."""
        registry.object(world.ca, FROM, commitment, "no", sender=world.watchdog)
        assert bring() == Skipped.OBJECTED

    def test_replayed_after_the_watchdogs_changed(self, registry, world, bring, commitment):
        """I5: what was signed for another version is void, and so is whatever came after it."""
        assert bring() is None
        registry.object(world.ca, FROM, commitment, "no", sender=world.watchdog)
        registry.setWatch(world.ca, world.watched_by(10, 20, 30), 40, sender=world.governor)
        assert bring() == Skipped.INVALID_SIGNATURE
        assert bring(version=2) is None

    @pytest.mark.parametrize(
        "field", ["chain_id", "contract", "ca", "version", "first", "commitment", "deadline"]
    )
    def test_signed_for_something_else(self, world, bring, field):
        """I5: each field counts."""
        other = {
            "chain_id": 1135,
            "contract": str(world.devices.address),
            "ca": world.other_ca,
            "version": 2,
            "first": 1,
            "commitment": KEY,
            "deadline": 2**255,
        }[field]
        if field == "deadline":
            # The one that travels with it counts.
            assert bring(change=lambda g: (*g[:4], other, g[5])) == Skipped.INVALID_SIGNATURE
        else:
            assert bring(signed={field: other}) == Skipped.INVALID_SIGNATURE

    def test_signed_by_another_watchdog(self, world, bring):
        """I4: nobody confirms for another."""
        assert bring(signer=world.third_watchdog) == Skipped.INVALID_SIGNATURE

    def test_signed_by_a_device(self, world, bring):
        """A device's enrolment is no confirmation, whatever the numbers in it."""
        signature = world.signed(ENROLLMENT, world.watchdog, KEY, 0)[3]
        assert bring(change=lambda g: (*g[:5], signature)) == Skipped.INVALID_SIGNATURE

    def test_malleated(self, bring):
        changed = bring(change=lambda g: (*g[:5], malleate(g[5])))
        assert changed == Skipped.INVALID_SIGNATURE

    @pytest.mark.parametrize("length", [0, 1, 64, 66, 130])
    def test_of_another_length(self, bring, length):
        changed = bring(change=lambda g: (*g[:5], (g[5] * 2)[:length]))
        assert changed == Skipped.INVALID_SIGNATURE

    def test_in_the_compact_form(self, bring):
        def compact(given):
            r, s, v = given[5][:32], given[5][32:64], given[5][64]
            return (*given[:5], r + word(int.from_bytes(s, "big") | (v - 27) << 255))

        assert bring(change=compact) == Skipped.INVALID_SIGNATURE

    def test_of_zeros(self, bring):
        assert bring(change=lambda g: (*g[:5], bytes(65))) == Skipped.INVALID_SIGNATURE

    def test_for_nobody(self, bring):
        """I4: the address that a failed recovery gives is no watchdog."""
        nobody = "0x" + "00" * 20
        changed = bring(change=lambda g: (*g[:3], nobody, g[4], bytes(65)))
        assert changed == Skipped.NOT_A_WATCHDOG

    def test_by_the_last_second(self, world, bring):
        deadline = world.now + 100
        world.chain.pending_timestamp = deadline
        assert bring(deadline=deadline) is None

    def test_after_the_last_second(self, world, bring):
        deadline = world.now + 100
        world.chain.pending_timestamp = deadline + 1
        assert bring(deadline=deadline) == Skipped.LATE

    def test_by_one_who_no_longer_watches(self, registry, world, bring):
        registry.setWatch(world.ca, world.watched_by(0, 1)[1:], 1, sender=world.governor)
        assert bring(version=2) == Skipped.NOT_A_WATCHDOG

    def test_of_an_authority_that_nobody_watches(self, world, bring):
        changed = bring(change=lambda g: (world.other_ca, *g[1:]))
        assert changed == Skipped.NOT_A_WATCHDOG

    def test_of_a_batch_from_before(self, bring):
        assert bring(first=1) == Skipped.NOTHING_CHANGED

    def test_of_a_batch_that_a_reorg_took(self, registry, world):
        """I5, I9: signed for one, brought after another was anchored in its place."""
        snapshot = world.chain.snapshot()
        world.issue(world.entries(2), FROM + 2)
        swapped = bytes(world.certificates.commitment(world.ca, FROM + 2))
        signed = world.confirmation(FROM + 2, swapped, world.watchdog)
        world.chain.restore(snapshot)
        world.issue(world.entries(3), FROM + 2)
        receipt = registry.relay([signed], sender=world.stranger)
        assert [(name, told["reason"]) for name, told in events(receipt)] == [
            ("ConfirmationSkipped", Skipped.UNKNOWN_BATCH)
        ]
        with reverts(registry.WatchdogRegistryUnknownBatch):
            registry.confirm(world.ca, FROM + 2, swapped, sender=world.watchdog)


class TestVerify:
    """CertificateRegistry.verify: what is not confirmed is not anchored."""

    def ask(self, world, first, entries):
        path = reference.tree_path(0, world.leaves(entries, first))
        return Verdict(
            world.certificates.verify(world.ca, first, len(entries), first, entries[0].abi, path)
        )

    def test_from_anchored_to_valid(self, world, registry):
        entries = world.entries(2)
        world.issue(entries, FROM + 2)
        commitment = bytes(world.certificates.commitment(world.ca, FROM + 2))
        assert self.ask(world, FROM + 2, entries) == Verdict.NOT_ANCHORED
        registry.confirm(world.ca, FROM + 2, commitment, sender=world.watchdog)
        assert self.ask(world, FROM + 2, entries) == Verdict.NOT_ANCHORED
        registry.confirm(world.ca, FROM + 2, commitment, sender=world.third_watchdog)
        assert self.ask(world, FROM + 2, entries) == Verdict.VALID
        registry.setWatch(world.ca, world.watched_by(1), 1, sender=world.governor)
        assert self.ask(world, FROM + 2, entries) == Verdict.VALID

    def test_from_before_the_watch_it_counts(self, world):
        entries = world.entries(2)
        world.issue(entries)
        world.watchdogs.setWatch(world.ca, world.watched_by(1), 1, sender=world.governor)
        assert world.watchdogs.isConfirmed(world.ca, 1)
        assert self.ask(world, 1, entries) == Verdict.VALID

    def test_revoking_does_not_wait_for_watchdogs(self, world, registry):
        entries = world.entries(1)
        world.issue(entries, FROM + 2)
        commitment = bytes(world.certificates.commitment(world.ca, FROM + 2))
        world.certificates.revoke(world.ca, [FROM + 2], sender=world.operator)
        for watchdog in (world.watchdog, world.third_watchdog):
            registry.confirm(world.ca, FROM + 2, commitment, sender=watchdog)
        assert self.ask(world, FROM + 2, entries) == Verdict.REVOKED


def test_an_unwatched_authority_is_all_zero(world):
    assert tuple(world.watchdogs.watch(world.ca)) == (0, 0, 0, 0)
    assert list(world.watchdogs.watchdogs(world.ca)) == []
    assert tuple(world.watchdogs.progress(world.ca, 1)) == (0, 0, 0, 0, False)


@pytest.mark.parametrize("first", [0, 1, HIGHEST])
def test_nothing_is_missing_where_nobody_watches(world, first):
    assert world.watchdogs.isConfirmed(world.ca, first)
    assert world.watchdogs.isConfirmed(b"\x09" * 32, first)
