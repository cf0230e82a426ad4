"""Surefoot's environments as other libraries want them; docs/peers.md shows their use."""
