"""Random code from random states, on QEMU and on our engines: the same registers, memory, faults.

python tests/fuzz_qemu.py --cases 100000 --seed 1                   figures, and every difference
python tests/fuzz_qemu.py --first 4711 --cases 1 --seed 1           one case of it, in full
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable

from fuzz_cases import Generator
from fuzz_causes import causes
from fuzz_compare import compare
from fuzz_findings import Finding
from fuzz_format import CASES_MOST
from fuzz_runners import Ours, Qemu, Runner

from emu import attrs


@attrs.define
class Tally:
    """What came of a number of cases."""

    cases: int = 0
    differ: int = 0
    unexplained: list[Finding] = attrs.field(factory=list)
    reasons: Counter[str] = attrs.field(factory=Counter)
    ends: Counter[str] = attrs.field(factory=Counter)

    def describe(self) -> str:
        head = f"{self.cases} cases, {self.differ} differ, {len(self.unexplained)} unexplained"
        lines = [f"{count:8} {name}" for name, count in self.reasons.most_common()]
        lines += [f"{count:8} {name}" for name, count in sorted(self.ends.items())]
        return "\n".join([head, *lines])


def fuzz(
    generator: Generator,
    numbers: range,
    theirs: Runner,
    ours: Runner,
    report: Callable[[Finding], None] = lambda _finding: None,
) -> Tally:
    """Run the cases of *numbers* on both, and *report* each difference that nothing explains."""
    tally = Tally()
    for first in range(numbers.start, numbers.stop, CASES_MOST):
        some = range(first, min(first + CASES_MOST, numbers.stop))
        found, ended = compare(generator, some, theirs, ours)
        tally.cases += len(some)
        tally.differ += len(found)
        tally.ends += ended
        for finding in found:
            why = causes(finding)
            tally.reasons.update(cause.name for cause in why)
            if not why:
                tally.unexplained.append(finding)
                report(finding)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Random code on QEMU and on our engines.", allow_abbrev=False
    )
    parser.add_argument("--cases", type=int, default=10_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one's number")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=["native", "reference"], default="native")
    parser.add_argument("--floating", action="store_true", help="x87, MMX and SSE too")
    options = parser.parse_args()
    generator = Generator(options.seed, floating=options.floating)
    numbers = range(options.first, options.first + options.cases)
    began = time.monotonic()
    with contextlib.closing(Qemu()) as theirs, contextlib.closing(Ours(options.engine)) as ours:
        tally = fuzz(
            generator, numbers, theirs, ours, lambda found: print(found.describe(), flush=True)
        )
    print(f"{time.monotonic() - began:.1f} s: {tally.describe()}")
    return 1 if tally.unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
