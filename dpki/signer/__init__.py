"""Signers: a CA's private key behind one interface, whether in a token or (for tests) in memory."""
