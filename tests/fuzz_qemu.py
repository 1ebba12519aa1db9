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
from fuzz_compare import compare, make_sure
from fuzz_findings import Finding
from fuzz_format import CASES_MOST
from fuzz_runners import Ours, Pair, Qemu, Runner

from emu import attrs

FINDINGS_MOST = 10_000  # to be looked at closely at a time, as some have images


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
    pair = Pair(theirs, ours)
    told: list[Finding] = []
    untold: list[Finding] = []
    for first in range(numbers.start, numbers.stop, CASES_MOST):
        some = range(first, min(first + CASES_MOST, numbers.stop))
        more_told, more_untold, ended = compare(some, generator, pair)
        told += more_told
        untold += more_untold
        tally.cases += len(some)
        tally.ends += ended
        if len(told) < FINDINGS_MOST and some.stop < numbers.stop:
            continue
        told, untold = make_sure(told, untold, pair, generator.pool)
        tally.differ += len(told) + len(untold)
        for finding in told:
            tally.reasons.update(cause.name for cause in causes(finding))
        for finding in untold:
            tally.unexplained.append(finding)
            report(finding)
        told, untold = [], []
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
