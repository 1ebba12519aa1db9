"""``python -m emu``: the same as the command ``emu``."""

import sys

from emu.cli import main

sys.exit(main())
