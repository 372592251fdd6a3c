"""Reading the chain: with httpx's engine and our own decoding, never with web3."""
