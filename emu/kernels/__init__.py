"""Kernels that are put in memory and entered, with no firmware to load them: see `placement`."""
