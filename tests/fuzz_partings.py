"""Where two machines part in a case: it is run again, in single steps or up to a place."""

from __future__ import annotations

from collections.abc import Sequence

from fuzz_causes import NOWHERE, causes, parts_at
from fuzz_findings import Finding, Instruction, Parting
from fuzz_format import SANDBOX, TF, Case
from fuzz_runners import Pair, Ran

from emu import attrs

INT3 = 0xCC
STEPS_MOST = 255  # a byte of the case
START = -1  # before the first step


def agree(finding: Finding) -> bool:
    """Nothing is different, or nothing that leads anywhere."""
    return not finding.fields or bool(causes(finding, whole=False))


# ---- in single steps ---------------------------------------------------------------------


@attrs.define(eq=False)
class _Search:
    """For the step after which the machines differ: they agree after *low*, and not after *high*."""

    finding: Finding
    high: int
    low: int = START

    def case(self, step: int) -> Case:
        """The case, ended after that step; before the first it is an INT3 that ends it."""
        case = self.finding.case
        if step == START:
            return attrs.evolve(case, code=bytes([INT3]) + case.code[1:])
        return attrs.evolve(case, steps=step, eflags=case.eflags | TF)

    @property
    def middle(self) -> int:
        return (self.low + self.high) // 2

    def parting(self, before: Ran, theirs: Ran, ours: Ran) -> Parting:
        finding = self.finding
        if self.low == START:
            code = finding.case.code
            linear = finding.linear(before.record) - 1
            return Parting(Instruction.parse(code), linear, before, theirs, ours)
        linear = finding.linear(before.record)
        return Parting(finding.instruction(before), linear, before, theirs, ours)


def with_partings(findings: Sequence[Finding], pair: Pair, pool: bytes) -> list[Finding]:
    """*findings*, those of them with their parting that have one in single steps."""
    searches = [_Search(finding, finding.case.steps or STEPS_MOST) for finding in findings]
    ends = _run(searches, [search.high for search in searches], pair, pool)
    going_on = [search for search, end in zip(searches, ends, strict=True) if not agree(end)]
    without = [search.finding for search in searches if search not in going_on]
    while open_ones := [search for search in going_on if search.high - search.low > 1]:
        ends = _run(open_ones, [search.middle for search in open_ones], pair, pool)
        for search, end in zip(open_ones, ends, strict=True):
            if agree(end):
                search.low = search.middle
            else:
                search.high = search.middle
    before = _run(going_on, [search.low for search in going_on], pair, pool)
    after = _run(going_on, [search.high for search in going_on], pair, pool)
    return without + [
        attrs.evolve(search.finding, parting=search.parting(one.ours, other.theirs, other.ours))
        for search, one, other in zip(going_on, before, after, strict=True)
    ]


def _run(searches: Sequence[_Search], steps: list[int], pair: Pair, pool: bytes) -> list[Finding]:
    cases = [search.case(step) for search, step in zip(searches, steps, strict=True)]
    return [
        Finding(search.finding.number, case, *ran)
        for search, case, ran in zip(
            searches, cases, pair.run_with_images(cases, pool), strict=True
        )
    ]


# ---- up to a place -----------------------------------------------------------------------


def ended_before_it(findings: Sequence[Finding], pair: Pair, pool: bytes) -> list[Finding]:
    """The cases of *findings*, each said to part at one instruction, ended right in front of that.

    An INT3 is put there.  Where that is not in the case's code but in what memory is filled from, all
    of them find it: a few more among the many that they find anyway.
    """
    changed = bytearray(pool)
    cases = [_ended(finding, changed) for finding in findings]
    ran = pair.run_with_images(cases, bytes(changed))
    return [
        Finding(finding.number, case, *both)
        for finding, case, both in zip(findings, cases, ran, strict=True)
    ]


def _ended(finding: Finding, pool: bytearray) -> Case:
    case, at = finding.case, finding.physical(parts_at(finding)) - SANDBOX
    in_code = at - case.code_at
    if 0 <= in_code < len(case.code):
        code = bytearray(case.code)
        code[in_code] = INT3
        return attrs.evolve(case, code=bytes(code))
    pool[case.pool_at + at] = INT3
    return case


def is_at_one_instruction(finding: Finding) -> bool:
    """That there can be an INT3 in place of it."""
    place = parts_at(finding)
    return place != NOWHERE and finding.physical(place) >= 0
