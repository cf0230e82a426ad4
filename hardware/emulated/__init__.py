"""Emulated devices that speak the real protocols byte for byte, and a robot made of them."""
