"""What a device is given: the sealed bundle, its content address and its locator on chain."""
