"""Writing to the chain: wallets, deployment, and one typed method per state change. The only floor with web3."""
