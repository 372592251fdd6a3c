"""What people write down once: the admin's and the device's configuration, chain presets."""
