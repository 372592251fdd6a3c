"""Anvil, Kubo and SoftHSM as managed processes on loopback, for demo and tests."""
