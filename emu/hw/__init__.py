"""The chips.  One file a chip, named by its part number; no chip imports another."""
