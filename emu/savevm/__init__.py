"""Saving a machine and bringing it back; FORMAT.md describes the stream."""
