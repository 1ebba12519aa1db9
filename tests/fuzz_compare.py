"""Two machines' records of the same cases, compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fuzz_cases import Generator
from fuzz_causes import causes
from fuzz_findings import Finding, differences
from fuzz_format import (
    CRASHED,
    FLAG_IMAGE,
    HUNG,
    KEPT_MOST,
    LEFT,
    LOST,
    WATCHDOG_VECTOR,
    Record,
)
from fuzz_runners import Runner, run_both


def compare(
    generator: Generator, numbers: Sequence[int], theirs: Runner, ours: Runner
) -> tuple[list[Finding], Counter[str]]:
    """Run the cases of *numbers* on both; what differs, and how the others ended.

    Those whose records do not tell why are run again with images kept, first together and then, as a
    case leaves traces in memory, each alone.
    """
    cases = [generator.case(number) for number in numbers]
    first, second = run_both(theirs, ours, cases, generator.pool)
    ends = Counter(status_name(ran.record) for ran in first)
    findings = [
        Finding(*each)
        for each in zip(numbers, cases, first, second, strict=True)
        if differences(each[2].record, each[3].record)
    ]
    told = [finding for finding in findings if causes(finding)]
    untold = [finding for finding in findings if not causes(finding)]
    for together in (KEPT_MOST, 1):
        differ = []
        for start in range(0, len(untold), together):
            differ += _again(untold[start : start + together], generator.pool, theirs, ours)
        ends["not again"] += len(untold) - len(differ)
        told += [finding for finding in differ if causes(finding)]
        untold = [finding for finding in differ if not causes(finding)]
    return told + untold, ends


def _again(findings: Sequence[Finding], pool: bytes, theirs: Runner, ours: Runner) -> list[Finding]:
    """Those of *findings* that differ when they are run again, with images."""
    cases = [finding.case for finding in findings]
    for case in cases:
        case.flags |= FLAG_IMAGE
    pairs = zip(findings, *run_both(theirs, ours, cases, pool), strict=True)
    again = [Finding(finding.number, finding.case, one, other) for finding, one, other in pairs]
    return [each for each in again if each.fields]


def status_name(record: Record) -> str:
    for bit, name in ((LOST, "lost"), (HUNG, "hung"), (LEFT, "left"), (CRASHED, "crashed")):
        if record.status & bit:
            return name
    return "runaway" if record.vector == WATCHDOG_VECTOR else f"vector {record.vector:02X}"
