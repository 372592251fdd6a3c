"""dpki's tests; a package, so that no other package of this name can stand in its way."""
