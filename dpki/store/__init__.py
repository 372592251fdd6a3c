"""Where sealed bundles are kept: a Kubo node, IPFS gateways, a folder."""
