"""smoke"""
from tests.contracts.council import *

def test_smoke(world):
    c = govern(found(world, [Role.ROOT]*4))
    assert world.domain.governor() == c.contract
    print(c.weights(), c.table)
    o = c.propose(c.removing())
    print(o.receipt.gas_used)
    c.approve(o, 0, 1)
    assert c.state(o) == RoundState.OPEN
    c.approve(o, 2)
    assert c.state(o) == RoundState.APPROVED
    r = c.execute(o)
    print(r.gas_used, c.weights())

def test_hundred(world):
    c = govern(found(world, [Role.ROOT]*100))
    print(c.contract.creation_metadata.receipt.gas_used)
    c.wait(DAY*2)
    o = c.propose(c.removing())
    r = c.relay(o, *[c.signed(o, i) for i in range(100)])
    e = c.execute(o)
    print(o.receipt.gas_used, r.gas_used, e.gas_used, o.receipt.gas_used+ r.gas_used+ e.gas_used, c.weights())
    s = c.alarm(Kind.SUSPENSION)
    r = c.execute(s, *[c.signed(s, i) for i in range(34)])
