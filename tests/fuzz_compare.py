"""Two machines' records of the same cases, compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from fuzz_causes import causes
from fuzz_findings import Finding, differences
from fuzz_format import (
    CRASHED,
    HUNG,
    KEPT_MOST,
    LEFT,
    LOST,
    WATCHDOG_VECTOR,
    Case,
    Record,
)
from fuzz_partings import (
    agree,
    ended_before_it,
    has_done_nothing,
    is_at_one_instruction,
    with_partings,
)
from fuzz_runners import Pair

from emu import attrs


class Source(Protocol):
    """Where cases come from, as a `Generator`."""

    pool: bytes

    def case(self, number: int) -> Case: ...


def compare(
    numbers: Sequence[int], source: Source, pair: Pair
) -> tuple[list[Finding], list[Finding], Counter[str]]:
    """Run the cases of *numbers* on both: what differs for known causes, what else does, how all ended.

    Those whose records do not tell why are run again with images kept, first together and then, as a
    case leaves traces in memory, each alone.
    """
    cases = [source.case(number) for number in numbers]
    ran = pair.run(cases, source.pool)
    ends = Counter(status_name(theirs.record) for theirs, _ in ran)
    findings = [
        Finding(number, case, *both)
        for number, case, both in zip(numbers, cases, ran, strict=True)
        if differences(both[0].record, both[1].record)
    ]
    told, untold = _told(findings)
    for together in (KEPT_MOST, 1):
        differ = []
        for start in range(0, len(untold), together):
            differ += _again(untold[start : start + together], pair, source.pool)
        ends["not again"] += len(untold) - len(differ)
        more, untold = _told(differ)
        told += more
    return told, untold, ends


def make_sure(
    told: Sequence[Finding], untold: Sequence[Finding], pair: Pair, pool: bytes
) -> tuple[list[Finding], list[Finding]]:
    """The same two, looked at closely; it takes less time for many of them.

    Where it is said that the machines part at one instruction, they must be the same in front of it.
    What is left is run in single steps, to find the first instruction that they part at.
    """
    sure, doubtful = _sure(told, pair, pool)
    parted, untold = _told(with_partings([*untold, *doubtful], pair, pool))
    more, doubtful = _sure(parted, pair, pool)
    return sure + more, untold + doubtful


def _told(findings: Sequence[Finding]) -> tuple[list[Finding], list[Finding]]:
    """Those of *findings* that have causes, and those that have none."""
    told = [finding for finding in findings if causes(finding)]
    return told, [finding for finding in findings if not causes(finding)]


def _again(findings: Sequence[Finding], pair: Pair, pool: bytes) -> list[Finding]:
    """Those of *findings* that differ when they are run again, with images."""
    ran = pair.run_with_images([finding.case for finding in findings], pool)
    again = [
        Finding(finding.number, finding.case, *both)
        for finding, both in zip(findings, ran, strict=True)
    ]
    return [each for each in again if each.fields]


def _sure(
    findings: Sequence[Finding], pair: Pair, pool: bytes
) -> tuple[list[Finding], list[Finding]]:
    """*findings* but those that differ before the place that they are explained by; and these."""
    at_one = [finding for finding in findings if is_at_one_instruction(finding)]
    doubtful = []
    for start in range(0, len(at_one), KEPT_MOST):
        doubtful += _differ_before(at_one[start : start + KEPT_MOST], pair, pool)
    # Memory that no case is given anew may have been another: both once more, in a new machine each.
    differ = []
    for finding in doubtful:
        alone = [
            attrs.evolve(finding, theirs=again.theirs, ours=again.ours)
            for again in _again([finding], pair, pool)
        ]
        if any(not is_at_one_instruction(each) for each in alone):
            differ.append(finding)
        else:
            differ += _differ_before(alone, pair, pool)
    numbers = {finding.number for finding in differ}
    return [finding for finding in findings if finding.number not in numbers], differ


def _differ_before(findings: Sequence[Finding], pair: Pair, pool: bytes) -> list[Finding]:
    """Those of *findings* that differ before that place, or have done something at it."""
    ended = ended_before_it(findings, pair, pool)
    return [
        each
        for each, end in zip(findings, ended, strict=True)
        if not (agree(end) and has_done_nothing(each, end.ours))
    ]


def status_name(record: Record) -> str:
    for bit, name in ((LOST, "lost"), (HUNG, "hung"), (LEFT, "left"), (CRASHED, "crashed")):
        if record.status & bit:
            return name
    return "runaway" if record.vector == WATCHDOG_VECTOR else f"vector {record.vector:02X}"
