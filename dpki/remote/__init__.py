"""Hosts that the admin reaches by SSH: looking at them, and getting dpki onto them."""
