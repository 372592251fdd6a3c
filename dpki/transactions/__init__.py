"""Writing to the chain: wallets, deployment, state changes. The only floor with web3."""
