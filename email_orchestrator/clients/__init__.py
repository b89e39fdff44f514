"""Speaks: one outside system per module, whose answers become our errors there and nowhere else."""
