"""Certificates and revocation lists: built, parsed and verified, without any input or output."""
