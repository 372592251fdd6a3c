"""The council: weighted roots that decide together."""
