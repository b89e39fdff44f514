"""Plays: stand-ins for the outside systems, and the demo that puts the real daemon among them."""
