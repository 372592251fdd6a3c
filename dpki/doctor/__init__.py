"""What is missing, too old, misconfigured or unsafe, and the command that mends it."""
