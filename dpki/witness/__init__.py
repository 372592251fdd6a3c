"""Witnesses: publishing what one saw, reading what others saw, keeping what convicts them."""
