"""Random code from random states ends on our engines as it does on QEMU, or it is known why not.

`fuzz_qemu.py` is the command for more of it.  The cases are drawn by lot, the same each time: one that
fails here fails again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest
from fuzz_cases import Generator
from fuzz_causes import Cause, causes
from fuzz_findings import FIELDS, Finding
from fuzz_floating import FX_REGISTERS, FX_XMM
from fuzz_format import (
    EVENT,
    FLAG_FLOATING,
    FLAG_IMAGE,
    HUNG,
    IMAGE_PARTS,
    POOL_BYTES,
    REGISTERS_BYTES,
)
from fuzz_qemu import Tally, fuzz
from fuzz_runners import Ours, Qemu, Ran, qemu_problem, run_cases
from rig import needs_native

from emu import attrs

SEED = 3
CASES = {"native": 10_000, "reference": 1_000}
CASES_FLOATING = 1_000
SOAK_SEEDS, SOAK_CASES = range(101, 111), 100_000
SIMPLE, BP = 4, 3  # a case of that seed, and how it ends: with INT3
OVERWRITES = 101, range(75_893, 75_899)  # a seed, and cases of which the last does
RARE = 0.005  # of the cases: those that the harness cannot compare

ENGINES = [
    pytest.param("native", marks=needs_native),
    pytest.param("reference", marks=needs_native),
]


@pytest.fixture(scope="module")
def qemu() -> Iterator[Qemu]:
    if problem := qemu_problem():
        if os.environ.get("EMU_REQUIRE_GUESTS") == "1":
            pytest.fail(problem)
        pytest.skip(problem)
    runner = Qemu()
    yield runner
    runner.close()


def check(tally: Tally) -> None:
    unexplained = [finding.describe() for finding in tally.unexplained]
    assert not unexplained, "\n".join(unexplained)
    assert tally.ends["crashed"] <= tally.cases * RARE
    for cause in (
        Cause.TIME,
        Cause.VIDEO,
        Cause.HOLE_16,
        Cause.ROM,
        Cause.REAL_STACK,
        Cause.FRAME_ON_CODE,
    ):
        assert tally.reasons[cause.name] <= tally.cases * 2 * RARE


def run(
    qemu: Qemu, engine: str, numbers: range, *, seed: int = SEED, floating: bool = False
) -> Tally:
    with contextlib.closing(Ours(engine)) as ours:
        return fuzz(Generator(seed, floating=floating), numbers, qemu, ours)


class TestAgainstQEMU:
    @pytest.mark.parametrize("engine", ENGINES)
    def test_random_code(self, qemu: Qemu, engine: str) -> None:
        """Every difference has a cause, and those that hide something are few."""
        check(run(qemu, engine, range(CASES[engine])))

    @needs_native
    def test_random_floating_point(self, qemu: Qemu) -> None:
        """The x87, MMX and SSE too."""
        check(run(qemu, "native", range(CASES_FLOATING), floating=True))

    @needs_native
    @pytest.mark.soak
    @pytest.mark.parametrize("seed", SOAK_SEEDS)
    def test_a_million(self, qemu: Qemu, seed: int) -> None:
        check(run(qemu, "native", range(SOAK_CASES), seed=seed))


class TestItself:
    """That it can fail, and that it does not where it should not."""

    def test_a_case_that_writes_over_everything(self, qemu: Qemu) -> None:
        """What came before it is known all the same, and that it was this one."""
        generator = Generator(OVERWRITES[0])
        cases = [generator.case(number) for number in OVERWRITES[1]]
        done: list[Ran] = []
        while len(done) < len(cases):
            done += run_cases(qemu, cases[len(done) :], generator.pool)

        statuses = [ran.record.status for ran in done]
        assert statuses[-1] == HUNG
        assert all(status & EVENT for status in statuses[:-1])

    @needs_native
    @pytest.mark.usefixtures("qemu")
    def test_another_processor_is_found(self) -> None:
        """It lacks instructions that ours has."""
        with contextlib.closing(Qemu("pentium3,-apic,-cmov")) as other:
            assert run(other, "native", range(300)).unexplained

    @needs_native
    @pytest.mark.parametrize("at", [FX_REGISTERS, FX_XMM])
    def test_another_number_is_found(self, at: int) -> None:
        """No bit of a register may be another, though flags may."""
        generator = Generator(SEED, floating=True)
        case = next(
            case for number in range(100) if (case := generator.case(number)).flags & FLAG_FLOATING
        )
        case.flags |= FLAG_IMAGE
        with contextlib.closing(Ours("native")) as ours:
            (ran,) = run_cases(ours, [case], generator.pool)
        at += sum(length for name, _, length in IMAGE_PARTS if name != "floating")
        image = bytearray(ran.image)
        image[at] ^= 1
        record = attrs.evolve(ran.record, floating=ran.record.floating ^ 1)
        finding = Finding(0, case, ran, Ran(record, bytes(image)))

        assert finding.fields == ["floating"]
        assert not causes(finding)

    @needs_native
    def test_every_register_is_summed_up(self) -> None:
        """Cases that end at once, with another bit in one of the x87's or XMM's registers each."""
        generator = Generator(SEED, floating=True)
        first = generator.pool[POOL_BYTES:][:REGISTERS_BYTES]
        pool, cases = generator.pool[:POOL_BYTES], []
        for at in (None, *range(0, REGISTERS_BYTES, 16), REGISTERS_BYTES - 1):
            registers = bytearray(first)
            if at is not None:
                registers[at] ^= 1
            case = generator.case(SIMPLE)
            case.code, case.steps, case.flags = b"\xcc", 0, FLAG_FLOATING
            case.registers_at = len(pool)
            pool += registers
            cases.append(case)
        with contextlib.closing(Ours("native")) as ours:
            sums = [ran.record.floating for ran in run_cases(ours, cases, pool)]

        assert len(sums) == len(cases)
        assert sums[0] not in sums[1:]

    @needs_native
    @pytest.mark.parametrize("name", FIELDS)
    def test_any_change_of_a_record_is_found(self, name: str) -> None:
        """In a case that ends as simply as can be, no bit of any field may be another."""
        generator = Generator(SEED)
        case = generator.case(SIMPLE)
        with contextlib.closing(Ours("native")) as ours:
            (ran,) = run_cases(ours, [case], generator.pool)
        assert ran.record.vector == BP

        for bit in range(17):  # RF is the last
            record = attrs.evolve(ran.record, **{name: getattr(ran.record, name) ^ 1 << bit})
            finding = Finding(SIMPLE, case, ran, Ran(record))

            assert finding.fields
            assert not causes(finding)
