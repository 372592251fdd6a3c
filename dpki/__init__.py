"""dpki: decentralized public key infrastructure."""

__version__ = "0.1.0"
