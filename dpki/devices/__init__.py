"""A device: its keys, what it publishes of them, and its request to be enrolled."""
