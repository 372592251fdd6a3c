"""Small messages between devices and admins, over whatever carries them."""
