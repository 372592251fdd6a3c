"""What runs on a device: follow the chain, fetch, check, install into sshd."""
