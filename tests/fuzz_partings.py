"""Where two machines part in a case: it is run again, in single steps or up to a place."""

from __future__ import annotations

from collections.abc import Sequence

from fuzz_causes import NOWHERE, causes, parts_at
from fuzz_findings import Finding, Parting
from fuzz_floating import FX_END, FX_MXCSR, FX_REGISTERS
from fuzz_format import FLAG_FLOATING, GENERAL, RF, SANDBOX, SELECTORS, TF, Case
from fuzz_runners import Pair, Ran

from emu import attrs

INT3, BP = 0xCC, 3
FAULTS = (6, 7, 8, 13, 14, 19)  # #UD, #NM, #DF, #GP, #PF, #XM
FRAME_MOST = 40
UNCHANGED = (*GENERAL, "eflags", *SELECTORS, "cr0", "cr4", "tr", "ldtr", "dr7", "steps", "path")
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

    def case(self, step: int, pool: bytearray) -> Case:
        """The case, ended after that step; before the first it is an INT3 that ends it."""
        if step == START:
            return _ended_at(self.finding, self.finding.start, pool)
        case = self.finding.case
        return attrs.evolve(case, steps=step, eflags=case.eflags | TF)

    @property
    def middle(self) -> int:
        return (self.low + self.high) // 2

    def parting(self, before: Ran, theirs: Ran, ours: Ran) -> Parting:
        finding = self.finding
        if self.low == START:
            linear = finding.start
            at = finding.physical(linear) - SANDBOX  # where there is an INT3
            image = before.image[:at] + ours.image[at : at + 1] + before.image[at + 1 :]
            before = Ran(before.record, image)
        else:
            linear = finding.linear(before.record)
        return Parting(finding.instruction_at(before, linear), linear, before, theirs, ours)


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
    changed = bytearray(pool)
    cases = [search.case(step, changed) for search, step in zip(searches, steps, strict=True)]
    ran = pair.run_with_images(cases, bytes(changed))
    return [
        Finding(search.finding.number, case, *both)
        for search, case, both in zip(searches, cases, ran, strict=True)
    ]


# ---- up to a place -----------------------------------------------------------------------


def ended_before_it(findings: Sequence[Finding], pair: Pair, pool: bytes) -> list[Finding]:
    """The cases of *findings*, each said to part at one instruction, ended right in front of that.

    An INT3 is put there.  Where that is not in the case's code but in what memory is filled from, all
    of them find it: a few more among the many that they find anyway.
    """
    changed = bytearray(pool)
    cases = [_ended_at(finding, parts_at(finding), changed) for finding in findings]
    ran = pair.run_with_images(cases, bytes(changed))
    return [
        Finding(finding.number, case, *both)
        for finding, case, both in zip(findings, cases, ran, strict=True)
    ]


def _ended_at(finding: Finding, linear: int, pool: bytearray) -> Case:
    case, at = finding.case, finding.physical(linear) - SANDBOX
    in_code = at - case.code_at
    if 0 <= in_code < len(case.code):
        code = bytearray(case.code)
        code[in_code] = INT3
        return attrs.evolve(case, code=bytes(code))
    pool[case.pool_at + at] = INT3
    return case


def has_done_nothing(finding: Finding, before: Ran) -> bool:
    """Our fault has left everything as it was *before*, in front of the instruction."""
    after = finding.ours
    here = parts_at(finding) == finding.linear(after.record)
    if before.record.vector != BP or after.record.vector not in FAULTS or not here:
        return True
    one, other = (
        attrs.evolve(ran.record, eflags=ran.record.eflags & ~RF) for ran in (before, after)
    )
    same = all(getattr(one, name) == getattr(other, name) for name in UNCHANGED)
    floating = not finding.case.flags & FLAG_FLOATING or (
        before.floating[:FX_MXCSR] == after.floating[:FX_MXCSR]
        and before.floating[FX_REGISTERS:FX_END] == after.floating[FX_REGISTERS:FX_END]
    )
    changed = [
        at
        for at, (old, new) in enumerate(zip(before.sandbox, after.sandbox, strict=True), SANDBOX)
        if old != new and at != finding.physical(parts_at(finding))
    ]
    in_a_frame = not changed or changed[-1] - changed[0] < FRAME_MOST
    return same and floating and in_a_frame


def is_at_one_instruction(finding: Finding) -> bool:
    """That there can be an INT3 in place of it."""
    place = parts_at(finding)
    return place != NOWHERE and finding.physical(place) >= 0
