"""``python -m emu``, and the command ``emu``."""

from __future__ import annotations

import gc
import sys


def main() -> int:
    """Run the command; returns the exit status.

    What is imported now stays to the end.  To look through it for garbage, as the collector would
    do meanwhile and again and again later, takes a sixth of the time to a guest's first character.
    """
    gc.disable()
    from emu import cli

    gc.freeze()
    gc.enable()
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
