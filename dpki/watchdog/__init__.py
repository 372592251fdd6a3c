"""A watchdog: who looks at what a CA issued, and confirms it or objects."""
