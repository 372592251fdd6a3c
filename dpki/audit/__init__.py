"""Anyone's check of a whole trust domain: its history again, from the first block on."""
