"""Is this certificate good? A verdict from a certificate, its path and a snapshot of the chain."""
