"""From a wish for certificates to certificates that are anchored: sign, seal, publish, anchor."""
