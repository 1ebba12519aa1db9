"""Busy guests, saved at random moments, each time restored into a new machine, again and again.

    python tests/guests/busy.py GENERATIONS [SEED]

For each guest two machines walk side by side.  One runs on, and is saved where the other is; the other
is made anew from its own save each time.  At each of those moments their digests must be the same.
The guests are the benchmarks' ROMs, which are busy with one thing each, for ever.

It prints a line when a tenth is done: generations, and how much memory the process has, in KiB.
"""

from __future__ import annotations

import io
import random
import resource
import sys
import tempfile
from pathlib import Path

import emu
from benchmarks.rows import OWN_ROMS, OwnRom
from emu.machine import Machine

FOR_EVER = 0x7FFF_FFFF
PAGE_KIB = resource.getpagesize() // 1024
LONGEST_NS = 100_000  # between two saves


class Differs(Exception):  # noqa: N818 - what is looked for
    """The two machines are not the same; the text says which guest, when, and the digests."""


class Pair:
    """A guest on two machines."""

    def __init__(self, row: OwnRom, folder: Path) -> None:
        self.name = row.name
        bios = row.assemble(folder, FOR_EVER).read_bytes()
        self.straight = Machine(bios=bios, memory="3M")
        self.restored = Machine(bios=bios, memory="3M")

    def advance(self, ns: int) -> None:
        """Run both so far, compare them, and put a new machine in the place of the second."""
        until = emu.clock(self.straight.clock.now_ns + ns)
        for vm in (self.straight, self.restored):
            vm.run(until)
        digests = self.straight.digest(), self.restored.digest()
        if digests[0] != digests[1]:
            raise Differs(f"{self.name} at {self.straight.clock.now_ns} ns: {digests}")
        self.straight.save(io.BytesIO())  # who saves forgets what it has in its TLB
        save = io.BytesIO()
        self.restored.save(save)
        self.restored.close()
        save.seek(0)
        self.restored = emu.load(save)


def resident_kib() -> int:
    """How much memory this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_KIB


def main(generations: int, seed: int) -> None:
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        pairs = [Pair(row, Path(folder)) for row in OWN_ROMS]
    tenth = max(1, generations // 10)
    for generation in range(1, generations + 1):
        dice.choice(pairs).advance(dice.randrange(LONGEST_NS))
        if generation % tenth == 0:
            sys.stdout.write(f"{generation} {resident_kib()}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
