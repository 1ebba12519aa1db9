"""What all tests find."""

from __future__ import annotations

import signal

# A shell has its background jobs ignore Ctrl-C, and so would all that is started from here: where that
# is so, what a test sends itself would never arrive.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
