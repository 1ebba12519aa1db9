"""Every hazard of the engine has a cure, and a test that fails without it: seen to fail here.

A copy of the package has one cure taken out, by an edit of its source; the tests that are there for
its sake are run on the copy, and must fail.  An edit that no longer finds its place fails too.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from programs import missing
from rig import needs_native

from emu import attrs

ROOT = Path(__file__).parents[2]
CPU = Path("emu", "cpu")
COMPILER = shutil.which("cc") or shutil.which("gcc")
SHARED_OBJECT = f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
SOME_FAILED = 1  # pytest's exit status
PATIENCE_S = 120

# With a cure taken out its self-check would keep the engine from being used at all.
SELF_CHECK = ("native.py", " or _check(preload.LOADED)", "")


@attrs.frozen
class Cure:
    """Where it is, what is there in its place without it, and who notices."""

    file: str
    text: str
    without: str
    tests: str  # in tests/cpu


CURES = {
    "read-modify-write, stopped behind its store": Cure(
        "native.c",
        "    if (!by_tcg(tcg))\n        real.check_exit_request(tcg);",
        "    real.check_exit_request(tcg);",
        "test_engines.py::TestCounting::test_slices_change_nothing",
    ),
    "REP INS, stopped in its port's handler": Cure(
        "wiring.py",
        "            return index(self.calls.port_read(port, size, now_ns))",
        "            binding.lib.uc_emu_stop(self.uc.handle)\n"
        "            return index(self.calls.port_read(port, size, now_ns))",
        "test_engines.py::TestCounting::test_REP_INS_is_never_torn",
    ),
    "the shadow of STI and MOV SS": Cure(
        "processor.py",
        "return bool(registers.other_flags & EFLAGS_IF) and not shadow",
        "return bool(registers.other_flags & EFLAGS_IF)",
        "test_engines.py::TestInterrupts::test_a_shadow_lasts_for_one_instruction",
    ),
    "a second fault that would be a double one": Cure(
        "delivery.py",
        "still being delivered.\n    registers.old_exception = -1\n",
        "still being delivered.\n",
        "test_exceptions.py::TestPageFault::test_one_in_its_handler_is_no_double_fault",
    ),
    "a HLT, told from a stop": Cure(
        "native.py",
        "Outcome.STOPPED if self._shared.stopped else",
        "Outcome.STOPPED if self._shared.now_ns >= self._shared.deadline_ns else",
        "test_engines.py::TestHalt::test_HLT_in_the_block_that_asked_for_a_stop",
    ),
    "a block that changes itself": Cure(
        "native.c",
        "        e->pace = REST;\n",
        "        e->pace += 0;\n",
        "test_engines.py::TestCounting::test_slices_change_nothing",
    ),
    "code changed in its own page": Cure(
        "tlb.c",
        "    real.tlb_reset_dirty(e->cpu,",
        "    (void)(e->cpu,",
        "test_changing_code.py::TestByTheGuest::test_at_another_address_of_the_page",
    ),
    "code changed through an alias": Cure(
        "tlb.c",
        "    e->code[page] = 1;\n",
        "    e->code[page] = 1;\n    real.tlb_protect_code(uc, ram_address);\n    return;\n",
        "test_changing_code.py::TestByTheGuest::test_at_another_address_of_the_page",
    ),
    "a page that is code no more": Cure(
        "tlb.c",
        "        e->code[page] = 0;\n    real.tlb_unprotect_code",
        "        e->code[page] |= 0;\n    real.tlb_unprotect_code",
        "test_changing_code.py::TestAPageThatChangesHands::test_and_its_stores_are_fast_again",
    ),
    "code changed by the host": Cure(
        "tlb.c",
        "            real.tb_invalidate_phys_range(e->uc, address, address + length);\n",
        "",
        "test_changing_code.py::TestByTheHost::test_between_two_runs",
    ),
    "CR2, overwritten by fetching ahead": Cure(
        "corrections.py",
        "        registers.cr[2] = self.cr2\n",
        "",
        "test_stepping.py::TestFetchingAhead::test_CR2_is_what_it_was_until_then",
    ),
    "LOCK, which ends the process": Cure(
        "translating.c",
        "    if (UNLIKELY(i->locked) && is_lock_undefined(i))\n        return true;\n",
        "    (void)is_lock_undefined;\n",
        "test_exceptions.py::TestLOCK::test_is_undefined",
    ),
    "SSE's operands that are not aligned": Cure(
        "translating.c",
        "    making.is_aligned = form == EMU_SSE_ALIGNED;\n",
        "",
        "test_sse.py::TestAlignment::test_an_operand_that_is_not_aligned",
    ),
    "what is no SSE instruction": Cure(
        "translating.c",
        "    if (form == EMU_SSE_UNDEFINED)\n        return true;\n",
        "",
        "test_sse.py::TestUndefined::test_is_refused",
    ),
    "what was undefined, and is changed": Cure(
        "translating.c",
        "        t->next = i.start + i.bytes;\n",
        "        t->next += 0;\n",
        "test_sse.py::TestUndefined::test_what_it_was_undefined_by_may_be_changed",
    ),
    "66h, F2h and F3h together": Cure(
        "translating.c",
        "            *byte = prefix;\n",
        "",
        "test_sse.py::TestUndefined::test_the_last_of_F2_and_F3_counts_and_66_does_not",
    ),
    "CMPPS's reserved predicates": Cure(
        "translating.c",
        "            i->code[at] &= PREDICATES;\n",
        "",
        "test_sse.py::TestPredicates",
    ),
    "MMX, entered before an operand faults": Cure(
        "translating.c",
        "            making.enters_mmx = true;\n            function = helper_fwait_x86_64;\n",
        "",
        "test_sse.py::TestMMX::test_an_operand_that_faults",
    ),
    "LES and LDS of a register": Cure(
        "translating.c",
        "        return modrm_of(i) >= 0xC0;\n",
        "        return false;\n",
        "test_translating.py::TestUndefined",
    ),
    "SYSRET": Cure(
        "translating.c",
        "    return i->opcode == SYSRET;",
        "    return false;",
        "test_translating.py::TestUndefined",
    ),
    "RF, which outlives a jump": Cure(
        "translating.c",
        "            forget_rf(&i);\n",
        "            (void)forget_rf;\n",
        "test_translating.py::TestRF::test_is_cleared",
    ),
    "RF, loaded by an IRET and lost": Cure(
        "translating.c",
        "        if (function == real.reset_rf)\n            return;\n",
        "",
        "test_translating.py::TestRF::test_an_IRET_loads_it_though_it_was_set",
    ),
    "INS and OUTS at a port that is not allowed": Cure(
        "translating.c",
        "            check_port(&i);\n",
        "            (void)check_port;\n",
        "test_translating.py::TestStringPorts",
    ),
    "ENTER, its operand and the stack of different sizes": Cure(
        "translating.c",
        "            enter(&i);\n",
        "            (void)enter;\n",
        "test_translating.py::TestENTER",
    ),
    "INT n with prefixes": Cure(
        "corrections.c",
        "        error_code = length;\n",
        "        (void)length;\n",
        "test_translating.py::TestPrefixedINT",
    ),
    "code beyond 64 KiB": Cure(
        "translating.c",
        "    check_limit(&i, t->block->cs_base);\n",
        "    (void)check_limit;\n",
        "test_translating.py::TestBeyond64KiB",
    ),
    "a TSS of 16 bits": Cure(
        "interrupt_flag.c",
        "    emu_tasks_look(env, EMU_JUMP, selector, next_eip, PLACE);\n",
        "",
        "test_tasks.py::TestSwitches::test_JMP_to_16_bits",
    ),
    "a TSS of 16 bits, returned from": Cure(
        "corrections.c",
        "        emu_tasks_look(env, EMU_RETURN, 0, (uint32_t)next_eip, PLACE);\n",
        "        (void)0;\n",
        "test_tasks.py::TestSwitches::test_CALL_and_IRET",
    ),
    "breakpoints for data": Cure(
        "breakpoints.c",
        "    if (env && (debug_registers(env)[7] & DR7_ENABLED))\n",
        "    if (0)\n",
        "test_breakpoints.py::TestWhatIsWatched",
    ),
    "breakpoints for data in a page that is known": Cure(
        "breakpoints.c",
        "        real.flush_tlb(cpu);\n",
        "        (void)cpu;\n",
        "test_breakpoints.py::TestWhen",
    ),
    "a breakpoint for data, and a fault after it": Cure(
        "translating.c",
        "            call_before(EMU_FORGET_HITS, 0);\n",
        "            (void)0;\n",
        "test_breakpoints.py::TestWhen::test_and_nobody_is_told_of_it_later",
    ),
    "a breakpoint for data, and the reference engine's clock": Cure(
        "breakpoints.c",
        "    p->again = 1;\n",
        "",
        "test_breakpoints.py::TestTime",
    ),
    "a breakpoint for data in a step": Cure(
        "native.c",
        "        if (e->pace == STOP) {",
        "        if (0) {",
        "test_breakpoints.py::TestTime::test_a_step_is_one_instruction",
    ),
    "INT 6, taken for an invalid opcode": Cure(
        "instructions.py",
        "        event = Event(UD, Kind.SOFTWARE, return_eip=registers.exception_next_eip)\n",
        "        event = Event(UD, Kind.EXCEPTION, return_eip=eip)\n",
        "test_exceptions.py::TestINT6",
    ),
    "flags, lost by LOOPE and LOOPNE": Cure(
        "translating.c",
        "        t->instructions_most = t->instructions;\n",
        "        (void)t;\n",
        "test_exceptions.py::TestLoops::test_leave_the_flags",
    ),
    "SYSENTER, which does nothing": Cure(
        "wiring.py",
        "        instruction(unicorn_h.UC_X86_INS_SYSENTER, SyscallCallback(self._sysenter))\n",
        "",
        "test_exceptions.py::TestSYSENTER::test_there",
    ),
    "RDTSC, which is the host's": Cure(
        "native.c",
        "    if (!e || ((*(const uint32_t *)(state + ENV_CR4) & CR4_TSD) &&",
        "    if (!e || (1 ||",
        "test_engines.py::TestTime::test_RDTSC",
    ),
    "RDTSC, where CR4.TSD forbids it": Cure(
        "native.c",
        "    if (!e || ((*(const uint32_t *)(state + ENV_CR4) & CR4_TSD) &&",
        "    if (!e || (0 &&",
        "test_engines.py::TestTime::test_not_at_level_3_where_CR4_TSD_forbids_it",
    ),
    "an interrupt that waits for IF": Cure(
        "interrupt_flag.c",
        "    emu_native_watch(env);\n    real.sti(env);\n",
        "    real.sti(env);\n",
        "test_interrupt_flag.py::test_it_is_delivered_at_once[STI-native]",
    ),
    "a frame pushed over code": Cure(
        "delivery.c",
        "    emu_tlb_invalidate(e, place - e->ram, frame->count * frame->size);\n",
        "",
        "test_delivery_in_c.py::TestGuests::test_a_frame_pushed_over_code",
    ),
    "an exception, which takes a block's time": Cure(
        "delivery.c",
        "    e->over_ns += e->block_ns;\n",
        "",
        "test_delivery_in_c.py::TestGuests::test_INT_n",
    ),
    "a dirty bit that delivery is to set": Cure(
        "delivery.c",
        "    uint32_t marks = access == WRITE ? ENTRY_A | ENTRY_D : ENTRY_A;\n",
        "    uint32_t marks = ENTRY_A;\n",
        "test_delivery_in_c.py",
    ),
    "a delivery that somebody watches": Cure(
        "processor.py",
        "        self.engine.unwatched = False\n",
        "",
        "test_delivery_in_c.py::TestGuests::test_who_watches_sees_them_all",
    ),
    "A20, and blocks that are linked already": Cure(
        "processor.py",
        "        self._stale_code = True\n",
        "",
        "test_addresses.py",
    ),
    "INT n, whose EIP is past it": Cure(
        "instructions.py",
        "    registers.eip = (next_eip - length) & 0xFFFF_FFFF\n",
        "",
        "test_exceptions.py::TestWhichEvent::test_a_fault_on_the_way_to_INT_n_returns_to_it",
    ),
    "the division that ends the process": Cure(
        "corrections.c",
        "        real.raise_exception_err_ra(env, DIVIDE_ERROR, 0, PLACE);\n    real.idivl_EAX",
        "        return;\n    real.idivl_EAX",
        "test_exceptions.py::TestDivision::test_it_is_refused",
    ),
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package, and what its tests need beside it."""
    shutil.copytree(ROOT / "emu", tmp_path / "emu", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tests", "firmware", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def edit(copy: Path, file: str, text: str, without: str) -> None:
    path = copy / CPU / file
    source = path.read_text()
    assert source.count(text) == 1, f"{file} has changed: where is the cure now?"
    path.write_text(source.replace(text, without))


def compile_native(copy: Path) -> None:
    assert COMPILER is not None
    sources = [str(path) for path in sorted((copy / CPU).glob("*.c"))]
    target = copy / CPU / SHARED_OBJECT
    target.unlink()
    quick = ("-O1", "-foptimize-sibling-calls")  # native.c counts on the latter
    command = [COMPILER, *quick, "-fPIC", "-shared", "-o", str(target), *sources, "-ldl"]
    subprocess.run(command, check=True, timeout=PATIENCE_S)


def run_tests(copy: Path, tests: str) -> subprocess.CompletedProcess[str]:
    words = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", f"tests/cpu/{tests}"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


@needs_native
@pytest.mark.parametrize("hazard", CURES)
def test_without_its_cure_it_is_noticed(hazard: str, copy: Path) -> None:
    cure = CURES[hazard]
    if cure.file.endswith(".c") and COMPILER is None:
        missing("no C compiler is installed")
    if cure.file in {"native.c", "native.py", "tlb.c"}:
        edit(copy, *SELF_CHECK)
    edit(copy, cure.file, cure.text, cure.without)
    if cure.file.endswith(".c"):
        compile_native(copy)

    done = run_tests(copy, cure.tests)

    assert done.returncode == SOME_FAILED, done.stdout + done.stderr


@needs_native
def test_with_all_of_them_nothing_is(copy: Path) -> None:
    """The copy itself is no reason to fail."""
    tests = sorted({cure.tests for cure in CURES.values()})

    done = run_tests(copy, tests[0])

    assert done.returncode == 0, done.stdout + done.stderr
