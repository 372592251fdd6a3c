"""Anvil, Kubo and SoftHSM as managed processes on loopback: for the demo, the tests and a first afternoon."""
