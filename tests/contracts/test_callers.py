"""Who may call what: every role on every function that writes.

T2: every state change on chain checks its caller; nobody can touch another's CA, device or
certificate.
"""

import pytest

from tests.contracts import council as rounds
from tests.contracts.conftest import ISSUER_KEY, ROLES, Kind, unauthorized
from tests.contracts.council import STILL, Choice, Member, Role, govern
from tests.contracts.reference import ENROLLMENT, UPDATE, ZERO
from tests.contracts.reverting import reverts

DOCUMENT = b"\x11" * 32


def issue(world, ca):
    return world.certificates.issue, [ca, 4, [world.entries(1)[0].abi]]


def register(world, ca):
    return world.authorities.register, [
        Kind.TLS,
        b"a key",
        ISSUER_KEY,
        ZERO,
        world.stranger,
        1,
    ]


def enroll(world, ca):
    return world.devices.enroll, world.signed(ENROLLMENT, world.newcomer, DOCUMENT, 0)


def enroll_batch(world, ca):
    return world.devices.enrollBatch, ([world.signed(ENROLLMENT, world.newcomer, DOCUMENT, 0)],)


def update_batch(world, ca):
    return world.devices.updateBatch, ([world.signed(UPDATE, world.device, DOCUMENT, 1)],)


def update(world, ca):
    return world.devices.update, world.signed(UPDATE, world.device, DOCUMENT, 1)


def set_watch(world, ca):
    return world.watchdogs.setWatch, [ca, world.watched_by(1), 1]


def confirm(world, ca):
    return world.watchdogs.confirm, [ca, 3, world.certificates.commitment(ca, 3)]


def object_to(world, ca):
    return world.watchdogs.object, [ca, 3, world.certificates.commitment(ca, 3), "no"]


def request_review(world, ca):
    return world.watchdogs.requestReview, [ca, 3, [b"\x01" * 32]]


def call(part, function, *arguments):
    """Return what makes a call with fixed arguments; names among them are roles."""

    def prepare(world, ca):
        values = [getattr(world, a) if isinstance(a, str) else a for a in arguments]
        first = [ca] if part == "certificates" else []
        return getattr(getattr(world, part), function), [*first, *values]

    return prepare


#: function: (contract, how it is called, who may).
FUNCTIONS = {
    "offerGovernor": ("domain", call("domain", "offerGovernor", "stranger"), {"governor"}),
    "setGuardian": ("domain", call("domain", "setGuardian", "stranger"), {"governor"}),
    "acceptGovernor": ("domain", call("domain", "acceptGovernor"), {"newcomer"}),
    "register": ("authorities", register, {"governor"}),
    "open": ("certificates", call("certificates", "open", "stranger", 1), set()),
    "issue": ("certificates", issue, {"operator"}),
    "revoke": (
        "certificates",
        call("certificates", "revoke", [1]),
        {"operator", "revoker", "governor"},
    ),
    "revokeBelow": (
        "certificates",
        call("certificates", "revokeBelow", 2),
        {"operator", "revoker", "governor"},
    ),
    "suspend": ("certificates", call("certificates", "suspend"), {"governor", "guardian"}),
    "lift": ("certificates", call("certificates", "lift"), {"governor"}),
    "close": ("certificates", call("certificates", "close"), {"governor"}),
    "retire": ("certificates", call("certificates", "retire"), {"governor"}),
    "setOperator": (
        "certificates",
        call("certificates", "setOperator", "stranger"),
        {"governor"},
    ),
    "setRevoker": (
        "certificates",
        call("certificates", "setRevoker", "stranger", True),
        {"governor"},
    ),
    "setMaximumLifetime": (
        "certificates",
        call("certificates", "setMaximumLifetime", 1),
        {"governor"},
    ),
    "enroll": ("devices", enroll, {"registrar"}),
    "update": ("devices", update, set(ROLES)),
    "enrollBatch": ("devices", enroll_batch, {"registrar"}),
    "updateBatch": ("devices", update_batch, set(ROLES)),
    "retire device": ("devices", call("devices", "retire", "device"), {"registrar"}),
    "setWatch": ("watchdogs", set_watch, {"governor"}),
    "requestReview": ("watchdogs", request_review, {"operator"}),
    "confirm": ("watchdogs", confirm, {"watchdog"}),
    "object": ("watchdogs", object_to, {"watchdog"}),
    "relay": ("watchdogs", call("watchdogs", "relay", []), set(ROLES)),
    "setRegistrar": ("devices", call("devices", "setRegistrar", "stranger", True), {"governor"}),
}


@pytest.fixture(scope="module")
def settled(world):
    """Two certificates of either authority, and one that each one's own watchdog has to confirm;
    an enrolled device, an offer to the newcomer.
    """
    world.issue(world.entries(2))
    batch = [entry.abi for entry in world.entries(2)]
    world.certificates.issue(world.other_ca, 1, batch, sender=world.other_operator)
    watchdog, other = world.watched_by(1, 1)
    world.watchdogs.setWatch(world.ca, [watchdog], 1, sender=world.governor)
    world.watchdogs.setWatch(world.other_ca, [other], 1, sender=world.governor)
    world.issue(world.entries(1), 3)
    world.certificates.issue(world.other_ca, 3, batch[:1], sender=world.other_operator)
    world.devices.enroll(
        *world.signed(ENROLLMENT, world.device, b"\x22" * 32, 0), sender=world.registrar
    )
    world.domain.offerGovernor(world.newcomer, sender=world.governor)
    return world


def test_the_table_is_complete(world):
    """A function that nobody thought of here would be untested."""
    written = {"retire device" if name == "retire" else name for name in writes(world.devices)}
    for part in (world.domain, world.authorities, world.certificates, world.watchdogs):
        written |= writes(part)
    assert written == set(FUNCTIONS)


def writes(contract):
    return {method.name for method in contract.contract_type.mutable_methods}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_caller(settled, function, role):
    part, prepare, allowed = FUNCTIONS[function]
    if function == "lift":
        settled.certificates.suspend(settled.ca, sender=settled.governor)
    act, arguments = prepare(settled, settled.ca)
    caller = getattr(settled, role)
    if role in allowed:
        act(*arguments, sender=caller)
        return
    with reverts(unauthorized(settled, part), caller=caller):
        act(*arguments, sender=caller)


@pytest.mark.parametrize(
    "function", ["issue", "revoke", "revokeBelow", "requestReview", "confirm", "object"]
)
@pytest.mark.parametrize("role", ["operator", "revoker", "watchdog"])
def test_roles_end_at_their_own_authority(settled, function, role):
    """T2: operator, revoker and watchdog of one authority are strangers to another."""
    part, prepare, _ = FUNCTIONS[function]
    act, arguments = prepare(settled, settled.other_ca)
    caller = getattr(settled, role)
    with reverts(unauthorized(settled, part), caller=caller):
        act(*arguments, sender=caller)


# -- the council -----------------------------------------------------------------------------------

#: Who sits in which seat; everybody of ROLES is somebody to a council, too.
SEATS = ("root", "an intermediate", "an ordinary")
SEAT_ROLES = [Role.ROOT, Role.INTERMEDIATE, Role.ORDINARY]
EVERYBODY = (*ROLES, *SEATS, "who was removed", "the council itself")
MEMBERS = set(SEATS)
ROOTS = {"root"}
ITSELF = {"the council itself"}


#: function: (its arguments, who may, the error that anybody else gets).
COUNCIL_FUNCTIONS = {
    "propose": (lambda c: [c.proposal(c.removing())], ROOTS, "RootCouncilUnauthorized"),
    "propose suspension": (lambda c: [alarm(c, "suspend")], MEMBERS, "RootCouncilUnauthorized"),
    "propose lift": (lambda c: [alarm(c, "lift")], MEMBERS, "RootCouncilUnauthorized"),
    "vote": (lambda c: [c.open.id, Choice.APPROVE], MEMBERS, "RootCouncilNotAVoter"),
    "relay": (lambda c: [c.open.id, [c.signed(c.open, 5)]], set(EVERYBODY), None),
    "execute": (lambda c: [c.approved.proposal, []], set(EVERYBODY), None),
    "settle": (lambda c: [c.rejected.id], set(EVERYBODY), None),
    "addMember": (
        lambda c: [c.world.newcomer.address, Role.ORDINARY],
        ITSELF,
        "RootCouncilUnauthorized",
    ),
    "removeMember": (lambda c: [c.members[1].address], ITSELF, "RootCouncilUnauthorized"),
    "setRole": (lambda c: [c.members[2].address, Role.ROOT], ITSELF, "RootCouncilUnauthorized"),
    "setParameters": (lambda c: [STILL.abi], ITSELF, "RootCouncilUnauthorized"),
}


def alarm(council, function):
    call = council.call(getattr(council.world.certificates, function), council.world.ca)
    kind = rounds.Kind.SUSPENSION if function == "suspend" else rounds.Kind.LIFT
    return council.proposal(call, kind=kind)


@pytest.fixture(scope="module")
def council(world):
    """A council that governs, with a round in each state, and a member who is none any more.

    The rounds are of three more roots, so that everybody else is free to open one.
    """
    world = rounds.another(world)
    members = [rounds.make_member(world, n) for n in range(7)]
    roles = [*SEAT_ROLES, *[Role.ROOT] * 4]
    council = govern(rounds.found(world, roles, STILL, members=members))
    council.decide(council.own("removeMember", members[6]))
    council.approved = council.propose(council.removing(), by=3)
    council.approve(council.approved, 0, 1, 2, 3, 4)
    council.rejected = council.propose(council.removing(), by=4)
    council.reject(council.rejected, 0, 3, 4, 5)
    council.open = council.propose(council.removing(), by=5)
    itself = Member(world, str(council.contract.address))
    people = [*members[:3], members[6], itself]
    council.everybody = dict(zip(EVERYBODY[len(ROLES) :], people, strict=True))
    return council


def test_the_council_s_table_is_complete(council):
    assert writes(council.contract) == {name.split()[0] for name in COUNCIL_FUNCTIONS}


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.parametrize("function", COUNCIL_FUNCTIONS)
def test_council_caller(council, function, who):
    """T2, and I1 of the council: it is its own master, and nobody else's servant."""
    prepare, allowed, error = COUNCIL_FUNCTIONS[function]
    caller = getattr(council.world, who) if who in ROLES else council.everybody[who].account
    act = getattr(council.contract, function.split()[0])
    arguments = prepare(council)
    if who in allowed:
        act(*arguments, sender=caller)
        return
    values = {"caller": caller.address}
    if error == "RootCouncilNotAVoter":
        values = {"round": council.open.id, "account": caller.address}
    with reverts(getattr(council.contract, error), **values):
        act(*arguments, sender=caller)


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if FUNCTIONS[f][2] != set(ROLES)])
def test_a_governing_council_s_members_are_strangers(council, function):
    """A single root, whatever it holds, reaches nothing of the domain without a round."""
    part, prepare, _ = FUNCTIONS[function]
    act, arguments = prepare(council.world, council.world.ca)
    caller = council.members[0].account
    with reverts(unauthorized(council.world, part), caller=caller.address):
        act(*arguments, sender=caller)
