"""How fast the emulator is, beside the others that are installed here.

    python -m benchmarks

`rows.py` says what is measured and `roms/` holds the guests; `peers.py` says how each emulator is
started, `measure.py` runs one and counts its CPU seconds, `results.py` keeps what was found, and
`table.py` shows it.
"""
