"""DeviceRegistry: I1 to I6."""

import pytest

from tests.contracts.conftest import DeviceState, event, events
from tests.contracts.reference import ENROLLMENT, UPDATE, ZERO, malleate, mapping_slot, word
from tests.contracts.reverting import reverts

DOCUMENT = b"\x11" * 32
NEXT_DOCUMENT = b"\x22" * 32


@pytest.fixture
def enrollment(world):
    """Return the arguments of a good enrolment, or of one that signs something else."""

    def enrollment(device=None, document=DOCUMENT, nonce=0, kind=ENROLLMENT, **instead):
        return world.signed(kind, device or world.device, document, nonce, **instead)

    return enrollment


@pytest.fixture
def enrolled(world, enrollment):
    """Enrol the device."""
    world.devices.enroll(*enrollment(), sender=world.registrar)
    return world.device


@pytest.fixture
def updating(world):
    """Return the arguments of a good update, or of one that signs something else."""

    def updating(device=None, document=NEXT_DOCUMENT, nonce=1, kind=UPDATE, **instead):
        return world.signed(kind, device or world.device, document, nonce, **instead)

    return updating


def device_slots(device):
    first = mapping_slot(str(device.address), 2)
    return {("devices", first), ("devices", first + 1)}


class TestDomainSeparator:
    def test_is_as_documented(self, world):
        _, name, version, chain_id, contract, salt, extensions = world.devices.eip712Domain()
        assert (name, version) == ("dpki DeviceRegistry", "1")
        assert chain_id == world.chain.chain_id
        assert contract == world.devices.address
        assert (salt, list(extensions)) == (ZERO, [])


class TestEnroll:
    def test_enrols(self, world, enrollment):
        """I1, I6."""
        world.devices.enroll(*enrollment(), sender=world.registrar)
        assert tuple(world.devices.device(world.device)) == (DOCUMENT, DeviceState.ACTIVE, 1)

    def test_announces_it(self, world, enrollment):
        receipt = world.devices.enroll(*enrollment(), sender=world.registrar)
        assert events(receipt) == [
            event(
                "DeviceEnrolled",
                device=world.device,
                keyDocument=DOCUMENT,
                registrar=world.registrar,
            )
        ]

    def test_changes_nothing_else(self, world, enrollment):
        receipt = world.devices.enroll(*enrollment(), sender=world.registrar)
        assert world.changed_storage(receipt) == device_slots(world.device)

    def test_the_second_word_packs_state_lowest(self, world, enrolled):
        slot = mapping_slot(str(enrolled.address), 2)
        assert world.storage_at(world.devices, slot) == int.from_bytes(DOCUMENT, "big")
        assert world.storage_at(world.devices, slot + 1) == DeviceState.ACTIVE | 1 << 8

    def test_refuses_a_second_enrolment(self, world, enrollment, enrolled):
        """I1: also with a new document and a fresh signature."""
        with reverts(world.devices.DeviceRegistryAlreadyEnrolled, device=enrolled):
            world.devices.enroll(*enrollment(), sender=world.registrar)
        with reverts(world.devices.DeviceRegistryAlreadyEnrolled, device=enrolled):
            world.devices.enroll(
                *enrollment(document=NEXT_DOCUMENT, nonce=1), sender=world.registrar
            )

    def test_refuses_a_retired_device(self, world, enrollment, enrolled):
        """I4."""
        world.devices.retire(enrolled, sender=world.registrar)
        with reverts(world.devices.DeviceRegistryAlreadyEnrolled, device=enrolled):
            world.devices.enroll(*enrollment(), sender=world.registrar)
        assert world.devices.device(enrolled).state == DeviceState.RETIRED

    def test_refuses_no_key_document(self, world, enrollment):
        """I6."""
        with reverts(world.devices.DeviceRegistryZeroKeyDocument, device=world.device):
            world.devices.enroll(*enrollment(document=ZERO), sender=world.registrar)

    def test_refuses_nobody(self, world, enrollment):
        """The address that a failed recovery gives is no device."""
        _, document, deadline, signature = enrollment()
        nobody = "0x" + "00" * 20
        for wrong in (signature, bytes(65), b"\xff" * 65):
            with reverts(world.devices.DeviceRegistryInvalidSignature, device=nobody):
                world.devices.enroll(nobody, document, deadline, wrong, sender=world.registrar)


class TestUpdate:
    def test_replaces_the_key_document(self, world, enrolled, updating):
        """I2: anyone may bring it."""
        world.devices.update(*updating(), sender=world.stranger)
        assert tuple(world.devices.device(enrolled)) == (NEXT_DOCUMENT, DeviceState.ACTIVE, 2)

    def test_announces_it(self, world, enrolled, updating):
        receipt = world.devices.update(*updating(), sender=world.stranger)
        assert events(receipt) == [
            event("KeyDocumentUpdated", device=enrolled, keyDocument=NEXT_DOCUMENT, nonce=1)
        ]

    def test_changes_nothing_else(self, world, enrolled, updating):
        receipt = world.devices.update(*updating(), sender=world.stranger)
        assert world.changed_storage(receipt) == device_slots(enrolled)

    def test_again_and_again(self, world, enrolled, updating):
        """I3: the nonce rises by one."""
        for nonce in range(1, 5):
            document = bytes([nonce]) * 32
            receipt = world.devices.update(
                *updating(document=document, nonce=nonce), sender=world.stranger
            )
            assert events(receipt)[0][1]["nonce"] == nonce
            assert world.devices.device(enrolled).nonce == nonce + 1
            assert world.devices.device(enrolled).keyDocument == document

    def test_refuses_a_replay(self, world, enrolled, updating):
        """I3: also after other updates, which can not be turned back."""
        first = updating()
        world.devices.update(*first, sender=world.stranger)
        with reverts(world.devices.DeviceRegistryInvalidSignature, device=enrolled):
            world.devices.update(*first, sender=world.stranger)
        world.devices.update(*updating(document=b"\x33" * 32, nonce=2), sender=world.stranger)
        with reverts(world.devices.DeviceRegistryInvalidSignature, device=enrolled):
            world.devices.update(*first, sender=world.stranger)
        assert world.devices.device(enrolled).keyDocument == b"\x33" * 32

    def test_refuses_a_device_never_enrolled(self, world, updating):
        with reverts(
            world.devices.DeviceRegistryNotActive,
            device=world.device,
            state=DeviceState.UNREGISTERED,
        ):
            world.devices.update(*updating(nonce=0), sender=world.stranger)

    def test_refuses_a_retired_device(self, world, enrolled, updating):
        """I4."""
        world.devices.retire(enrolled, sender=world.registrar)
        with reverts(
            world.devices.DeviceRegistryNotActive, device=enrolled, state=DeviceState.RETIRED
        ):
            world.devices.update(*updating(), sender=world.stranger)

    def test_refuses_no_key_document(self, world, enrolled, updating):
        """I6."""
        with reverts(world.devices.DeviceRegistryZeroKeyDocument, device=enrolled):
            world.devices.update(*updating(document=ZERO), sender=world.stranger)

    def test_a_registrar_can_not_do_it_for_the_device(self, world, enrolled, updating):
        """I2."""
        with reverts(world.devices.DeviceRegistryInvalidSignature, device=enrolled):
            world.devices.update(*updating(signer=world.registrar), sender=world.registrar)


@pytest.fixture
def several(world):
    """Three devices."""
    return [world.device, world.stranger, world.newcomer]


class TestBatches:
    """I1 to I4 hold for each; and it is all or none."""

    def test_enrols_each(self, world, several, enrollment):
        receipt = world.devices.enrollBatch(
            [enrollment(device) for device in several], sender=world.registrar
        )
        for device in several:
            assert tuple(world.devices.device(device)) == (DOCUMENT, DeviceState.ACTIVE, 1)
        assert events(receipt) == [
            event("DeviceEnrolled", device=d, keyDocument=DOCUMENT, registrar=world.registrar)
            for d in several
        ]
        assert world.changed_storage(receipt) == set().union(*map(device_slots, several))

    def test_updates_each(self, world, several, enrollment, updating):
        """I2: anyone may bring them; a device twice, if it signed twice."""
        world.devices.enrollBatch([enrollment(d) for d in several], sender=world.registrar)
        updates = [updating(d) for d in several]
        updates.append(updating(several[0], document=b"\x33" * 32, nonce=2))
        receipt = world.devices.updateBatch(updates, sender=world.stranger)
        nonces = [e[1]["nonce"] for e in events(receipt)]
        assert nonces == [1, 1, 1, 2]
        assert world.devices.device(several[0]).keyDocument == b"\x33" * 32
        assert world.devices.device(several[1]).keyDocument == NEXT_DOCUMENT

    def test_nobody_is_nothing(self, world):
        assert events(world.devices.enrollBatch([], sender=world.registrar)) == []
        assert events(world.devices.updateBatch([], sender=world.stranger)) == []

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_one_that_is_wrong_keeps_all_out(self, world, several, enrollment, place):
        requests = [enrollment(device) for device in several]
        requests[place] = enrollment(several[place], nonce=1)
        with reverts(world.devices.DeviceRegistryInvalidSignature, device=several[place]):
            world.devices.enrollBatch(requests, sender=world.registrar)
        for device in several:
            assert world.devices.device(device).state == DeviceState.UNREGISTERED

    def test_one_twice_keeps_all_out(self, world, several, enrollment):
        """I1."""
        requests = [enrollment(device) for device in (*several, several[0])]
        with reverts(world.devices.DeviceRegistryAlreadyEnrolled, device=several[0]):
            world.devices.enrollBatch(requests, sender=world.registrar)

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_one_update_that_is_wrong_keeps_all_out(
        self, world, several, enrollment, updating, place
    ):
        """I3: a replay among good ones."""
        world.devices.enrollBatch([enrollment(d) for d in several], sender=world.registrar)
        world.devices.update(*updating(several[place]), sender=world.stranger)
        with reverts(world.devices.DeviceRegistryInvalidSignature, device=several[place]):
            world.devices.updateBatch([updating(d) for d in several], sender=world.stranger)
        nonces = [world.devices.device(d).nonce for d in several]
        assert nonces == [2 if i == place else 1 for i in range(3)]


@pytest.fixture(params=["enroll", "update"])
def bring(world, request, enrollment, updating):
    """Bring a signature of either kind; the keywords sign something else instead."""
    if request.param == "update":
        world.devices.enroll(*enrollment(), sender=world.registrar)

    def bring(change=lambda arguments: arguments, **instead):
        make = enrollment if request.param == "enroll" else updating
        act = getattr(world.devices, request.param)
        return act(*change(make(**instead)), sender=world.registrar)

    bring.kind = request.param
    return bring


class TestSignatures:
    """I1 to I3: for both kinds of message, everything but the right signature is refused."""

    @pytest.fixture
    def refused(self, world):
        return reverts(world.devices.DeviceRegistryInvalidSignature, device=world.device)

    def test_the_right_one_passes(self, bring):
        bring()

    def test_of_another_device(self, world, bring, refused):
        with refused:
            bring(signer=world.stranger)

    def test_for_another_device(self, world, bring, enrollment):
        """A device's signature enrols or updates that device alone."""
        if bring.kind == "update":
            world.devices.enroll(*enrollment(device=world.stranger), sender=world.registrar)

        def for_stranger(arguments):
            return (world.stranger.address, *arguments[1:])

        with reverts(world.devices.DeviceRegistryInvalidSignature, device=world.stranger):
            bring(change=for_stranger)

    def test_for_another_chain(self, bring, refused):
        with refused:
            bring(chain_id=1135)

    def test_for_another_contract(self, world, bring, refused):
        with refused:
            bring(contract=str(world.certificates.address))

    @pytest.mark.parametrize("nonce", [2, 3, 2**64, 2**255])
    def test_for_another_nonce(self, bring, refused, nonce):
        with refused:
            bring(nonce=nonce)

    def test_for_the_other_kinds_nonce(self, bring, refused):
        with refused:
            bring(nonce=1 if bring.kind == "enroll" else 0)

    def test_of_the_other_kind(self, bring, refused):
        """An enrolment is no update, nor the other way round, even for the same nonce."""
        with refused:
            bring(kind=UPDATE if bring.kind == "enroll" else ENROLLMENT)

    def test_for_another_document(self, bring, refused):
        with refused:
            bring(change=lambda a: (a[0], b"\x77" * 32, a[2], a[3]))

    @pytest.mark.parametrize("step", [-1, 1, 10**9])
    def test_for_another_deadline(self, bring, refused, step):
        with refused:
            bring(change=lambda a: (a[0], a[1], a[2] + step, a[3]))

    def test_malleated(self, bring, refused):
        """The same signature with high s is another one: refused."""
        with refused:
            bring(change=lambda a: (*a[:3], malleate(a[3])))

    @pytest.mark.parametrize("length", [0, 1, 64, 66, 130])
    def test_of_another_length(self, bring, refused, length):
        with refused:
            bring(change=lambda a: (*a[:3], (a[3] * 2)[:length]))

    def test_in_the_compact_form(self, bring, refused):
        """EIP-2098's 64 bytes would be a second spelling of the same signature."""

        def compact(arguments):
            r, s, v = (arguments[3][:32], arguments[3][32:64], arguments[3][64])
            packed = int.from_bytes(s, "big") | (v - 27) << 255
            return (*arguments[:3], r + word(packed))

        with refused:
            bring(change=compact)

    @pytest.mark.parametrize("v", [0, 1, 26, 29, 255])
    def test_with_another_v(self, bring, refused, v):
        with refused:
            bring(change=lambda a: (*a[:3], a[3][:64] + bytes([v])))

    def test_of_zeros(self, bring, refused):
        with refused:
            bring(change=lambda a: (*a[:3], bytes(65)))

    def test_in_its_last_second(self, world, bring):
        deadline = world.now + 100
        world.chain.pending_timestamp = deadline
        bring(deadline=deadline)

    def test_after_its_last_second(self, world, bring):
        deadline = world.now + 100
        world.chain.pending_timestamp = deadline + 1
        with reverts(world.devices.DeviceRegistryExpiredSignature, deadline=deadline):
            bring(deadline=deadline)

    def test_good_for_ever(self, bring):
        bring(deadline=2**256 - 1)


class TestRetire:
    def test_retires(self, world, enrolled):
        """I4, I6: the document stays."""
        receipt = world.devices.retire(enrolled, sender=world.registrar)
        assert tuple(world.devices.device(enrolled)) == (DOCUMENT, DeviceState.RETIRED, 1)
        assert events(receipt) == [
            event("DeviceRetired", device=enrolled, registrar=world.registrar)
        ]

    def test_changes_nothing_else(self, world, enrolled):
        receipt = world.devices.retire(enrolled, sender=world.registrar)
        assert world.changed_storage(receipt) == {
            ("devices", mapping_slot(str(enrolled.address), 2) + 1)
        }

    def test_by_another_registrar(self, world, enrolled):
        world.devices.setRegistrar(world.newcomer, True, sender=world.governor)
        world.devices.retire(enrolled, sender=world.newcomer)
        assert world.devices.device(enrolled).state == DeviceState.RETIRED

    def test_refuses_a_second_time(self, world, enrolled):
        world.devices.retire(enrolled, sender=world.registrar)
        with reverts(
            world.devices.DeviceRegistryNotActive, device=enrolled, state=DeviceState.RETIRED
        ):
            world.devices.retire(enrolled, sender=world.registrar)

    def test_refuses_a_device_never_enrolled(self, world):
        """Nobody can be kept from enrolling by being retired first."""
        with reverts(
            world.devices.DeviceRegistryNotActive,
            device=world.device,
            state=DeviceState.UNREGISTERED,
        ):
            world.devices.retire(world.device, sender=world.registrar)


class TestSetRegistrar:
    def test_names_and_unnames(self, world):
        """I5."""
        for allowed in (True, True, False, False):
            receipt = world.devices.setRegistrar(world.newcomer, allowed, sender=world.governor)
            assert world.devices.isRegistrar(world.newcomer) == allowed
            assert events(receipt) == [
                event("RegistrarChanged", registrar=world.newcomer, allowed=allowed)
            ]

    def test_changes_nothing_else(self, world):
        receipt = world.devices.setRegistrar(world.newcomer, True, sender=world.governor)
        slot = mapping_slot(str(world.newcomer.address), 3)
        assert world.changed_storage(receipt) == {("devices", slot)}
        assert world.devices.isRegistrar(world.registrar)

    def test_a_registrar_no_longer_named_may_not(self, world, enrollment):
        """I1."""
        arguments = enrollment()
        world.devices.setRegistrar(world.registrar, False, sender=world.governor)
        with reverts(world.devices.DeviceRegistryUnauthorized, caller=world.registrar):
            world.devices.enroll(*arguments, sender=world.registrar)

    def test_what_it_enrolled_stays(self, world, enrolled):
        world.devices.setRegistrar(world.registrar, False, sender=world.governor)
        assert world.devices.device(enrolled).state == DeviceState.ACTIVE
        with reverts(world.devices.DeviceRegistryUnauthorized, caller=world.registrar):
            world.devices.retire(enrolled, sender=world.registrar)


def test_an_unregistered_device_is_all_zero(world):
    assert tuple(world.devices.device(world.stranger)) == (ZERO, DeviceState.UNREGISTERED, 0)
