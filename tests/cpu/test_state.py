"""The processor's State: into the engine's registers and back, onto the wire and back."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import pytest
from rig import CODE, ENGINES, Rig, protected_mode, real_mode

from emu import attrs
from emu.cpu import state as cpu_state
from emu.cpu.exchange import read_registers, write_registers
from emu.cpu.layout import MSRS, Registers
from emu.cpu.state import (
    COMMON,
    CPU,
    REST,
    SAVED,
    X87,
    Segment,
    State,
    Xmm,
    describe,
    task_register,
    translator_flags,
)
from emu.errors import StreamError
from emu.savevm.stream import from_bytes, to_bytes
from emu.savevm.vmstate import Section, Values

FIXED = {  # the engine, or hardware, has these bits so whatever is loaded
    "eflags": (0x2, 0x8028),
    "dr7": (0x400, 0),
    "fpu_status": (0, 0),
    "efer": (0, 0xFFFF_F7FE),  # SCE and NXE are all there is
}


def any_state(seed: int) -> State:
    """A State with something in every bit."""
    chosen = random.Random(seed)

    def bits(count: int) -> int:
        return chosen.getrandbits(count)

    def segment() -> Segment:
        return Segment(bits(16), bits(32), bits(32), bits(32) & 0x00F0_FF00)

    values: dict[str, Any] = {}
    for field in attrs.fields(State):
        match field.default:
            case bool():
                values[field.name] = chosen.random() < 0.5
            case int():
                most = field.metadata["most"]
                values[field.name] = bits(most.bit_length())
    for name in (*cpu_state.SEGMENTS, *(name for name, _ in cpu_state.SYSTEM_SEGMENTS)):
        values[name] = segment()
    for name, (ones, zeros) in FIXED.items():
        values[name] = values[name] & ~zeros | ones
    values["efer"] &= 0x801
    values["tr"].flags = 0x8900 if bits(1) else 0x8100
    values["fpu"] = [X87(bits(64), bits(16)) for _ in range(8)]
    values["xmm"] = [Xmm(bits(64), bits(64)) for _ in range(8)]
    values["msrs"] = [bits(64) for _ in MSRS]
    return State(**values)


def written(section: Section, state: State) -> bytes:
    f, data = to_bytes()
    section.put(f, state)
    f.fflush()
    return bytes(data)


def found(section: Section, data: bytes, version: int | None = None) -> Values:
    return section.get(from_bytes(data), section.version if version is None else version)


def decoded(**changes: Callable[[Values], None]) -> State:
    """A State at reset, written, changed where a *change* is given for the section, and read."""
    values = {
        section.idstr: found(section, written(section, State())) for section in (COMMON, CPU, REST)
    }
    for name, change in changes.items():
        change(values["emu/cpu" if name == "rest" else name])
    return SAVED.decode(from_bytes(b""), values)


@pytest.mark.parametrize("seed", range(10))
class TestRoundTrips:
    def test_registers(self, seed: int) -> None:
        """Everything is in the engine's registers, but what is passed beside them."""
        state = any_state(seed)
        registers = Registers()

        write_registers(registers, state)
        back = read_registers(
            registers, state.msrs, halted=state.halted, intr=state.intr, a20=state.a20
        )

        assert back == state

    @pytest.mark.parametrize("engine", ENGINES)
    def test_a_processor(self, engine: str, seed: int) -> None:
        """And both engines hold it, MSRs included; one to the other, too."""
        state = any_state(seed)
        rigs = [Rig(engine), Rig("reference")]

        rigs[0].processor.state = state
        rigs[1].processor.state = rigs[0].state

        msrs = rigs[0].state.msrs
        assert [rig.state for rig in rigs] == [attrs.evolve(state, msrs=msrs)] * 2
        ctl = [
            index
            for index, msr in enumerate(MSRS)
            if msr == 0x17B or (msr >> 8 == 4 and not msr & 3)
        ]
        assert [value for index, value in enumerate(msrs) if index not in ctl] == [
            value for index, value in enumerate(state.msrs) if index not in ctl
        ]
        for rig in rigs:
            rig.close()

    def test_the_wire(self, seed: int) -> None:
        state = any_state(seed)
        sections = {
            section.idstr: found(section, written(section, state))
            for section in (COMMON, CPU, REST)
        }

        assert SAVED.decode(from_bytes(b""), sections) == state


class TestThroughTheGuest:
    """What a guest has put there is there after a round trip, as the guest sees it."""

    @pytest.mark.parametrize("engine", ENGINES)
    def test_floating_point(self, engine: str) -> None:
        """Control words work, not only read back: rounding is down."""
        rig, other = Rig(engine), Rig(engine)
        rig.memory.write(0x2000, struct.pack("<hHdI", 3, 0x77F, 2.5, 0x3F80))
        rig.load(
            bytes.fromhex(
                "d9 2e 02 20"  # fldcw [0x2002]
                "df 06 00 20"  # fild word [0x2000]
                "dd 06 04 20"  # fld qword [0x2004]
                "0f ae 16 0c 20"  # ldmxcsr [0x200c]
                "f4"  # hlt
            ),
            real_mode(cr4=1 << 9),
        )
        rig.run()

        state = rig.state
        other.load(
            bytes.fromhex(
                "df 16 10 20"  # fist word [0x2010]
                "dd d8"  # fstp st0
                "df 16 12 20"  # fist word [0x2012]
                "d9 3e 14 20"  # fnstcw [0x2014]
                "0f ae 1e 16 20"  # stmxcsr [0x2016]
                "f4"  # hlt
            ),
            attrs.evolve(state, eip=CODE, halted=False),
        )
        other.run()

        assert state.fpu_valid == 0b1100_0000
        assert state.fpu_status >> 11 & 7 == 6
        assert other.memory.read(0x2010, 10) == struct.pack("<hhHI", 2, 3, 0x77F, 0x3F80)
        rig.close()
        other.close()

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("msr", [0x1A0, 0x200, 0x2FF, 0x401, 0xC000_0081, 0xC000_0103, 0x277])
    def test_model_specific_registers(self, engine: str, msr: int) -> None:
        """Also those that CPUID offers nobody: MISC_ENABLE, MTRRs, a machine check bank, STAR."""
        rig, other = Rig(engine), Rig(engine)
        rig.load(
            bytes.fromhex(
                "0f 30"  # wrmsr
                "f4"  # hlt
            ),
            real_mode(ecx=msr, eax=0x0403_0201, edx=0x0605_0403),
        )
        rig.run()

        other.load(
            bytes.fromhex(
                "0f 32"  # rdmsr
                "f4"  # hlt
            ),
            attrs.evolve(rig.state, eip=CODE, halted=False, eax=0, edx=0),
        )
        other.run()

        assert (other.state.eax, other.state.edx) == (0x0403_0201, 0x0605_0403)
        rig.close()
        other.close()

    @pytest.mark.parametrize("engine", ENGINES)
    def test_registers_are_32_bits_wide(self, engine: str) -> None:
        """The engine's have room for 64, and an MSR can fill it."""
        rig = Rig(engine)
        rig.load(
            bytes.fromhex(
                "0f 30"  # wrmsr
                "f4"  # hlt
            ),
            real_mode(ecx=0x175, eax=0x1000, edx=0xFFFF),
        )

        rig.run()

        assert rig.state.sysenter_esp == 0x1000
        rig.close()


class TestTranslatorFlags:
    """What the engine's translator must know of the mode: hflags, in QEMU's words."""

    CPL_3, SHADOW, CS32, SS32, ADDSEG, PE = 3, 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 7

    def test_at_reset(self) -> None:
        assert translator_flags(State()) == self.ADDSEG

    def test_protected_mode(self) -> None:
        flat = self.CS32 | self.SS32 | self.PE

        assert translator_flags(protected_mode()) == flat
        assert translator_flags(protected_mode(level=3)) == flat | self.CPL_3

    @pytest.mark.parametrize("name", ["ds", "es", "ss"])
    def test_a_base_has_to_be_added(self, name: str) -> None:
        state = protected_mode()
        flags = translator_flags(state)
        getattr(state, name).base = 0x10

        assert translator_flags(state) == flags | self.ADDSEG

    def test_unreal_mode(self) -> None:
        """Real mode, with segments that are left from protected mode: CPL is 0 all the same."""
        state = protected_mode(level=3, cr0=0x10)

        assert translator_flags(state) == self.CS32 | self.SS32 | self.ADDSEG

    def test_16_bit_segments_in_protected_mode(self) -> None:
        code, data = Segment(8, 0, 0xFFFF, 0x9B00), Segment(16, 0, 0xFFFF, 0x9300)

        assert translator_flags(protected_mode(cs=code, ss=data)) == self.ADDSEG | self.PE

    def test_virtual_8086_mode(self) -> None:
        """At level 3; that it is this mode the engine takes from EFLAGS."""
        v86 = Segment(0x100, 0x1000, 0xFFFF, 0xF300)
        state = real_mode(cr0=0x11, eflags=0x2_0002, cs=v86, ss=v86)

        assert translator_flags(state) == self.CPL_3 | self.ADDSEG | self.PE

    @pytest.mark.parametrize(
        ("changes", "flags"),
        [
            ({"interrupt_shadow": True}, SHADOW),
            ({"cr0": 1 << 1}, 1 << 9),
            ({"cr0": 1 << 2}, 1 << 10),
            ({"cr0": 1 << 3}, 1 << 11),
            ({"cr4": 1 << 9}, 1 << 22),
            ({"eflags": 0x7_7FD7 & ~(1 << 17)}, 0),
        ],
    )
    def test_the_others(self, changes: dict[str, Any], flags: int) -> None:
        assert translator_flags(real_mode(**changes)) == self.ADDSEG | flags


class TestGoldens:
    """Byte for byte, so that a change of the format is a decision."""

    def test_common(self) -> None:
        assert written(COMMON, State(halted=True, intr=True)).hex(" ", 4) == "00000001 00000002"
        assert written(COMMON, State()).hex(" ", 4) == "00000000 00000000"

    def test_cpu(self) -> None:
        state = State(
            **{
                name: index << 24 | 0xAB_CDE0 | index
                for index, name in enumerate(cpu_state.GENERAL)
            },
            eflags=0x246,
            fpu_status=0x3841,
            fpu_valid=0x80,
            fpu=[X87(0x8000_0000_0000_0000 + index, 0x3FFF) for index in range(8)],
            xmm=[Xmm(index, 0x10 + index) for index in range(8)],
            dr1=0x1234,
            a20=False,
            interrupt_shadow=True,
            pat=0x0102_0304_0506_0708,
            tsc_aux=0x42,
        )

        data = written(CPU, state)

        def at(offset: int, size: int) -> str:
            return data[offset : offset + size].hex()

        assert at(0, 32) == "".join(f"{index:02x}abcde{index:x}" for index in range(8))
        assert at(32, 12) == "0000fff00000024600000048"  # EIP EFLAGS hflags
        assert at(44, 8) == "037f384100800000"
        assert at(52, 20) == "80000000000000003fff80000000000000013fff"
        assert at(132, 32) == "00000000000000000000ffff000093000000f000ffff00000000ffff00009b00"
        assert at(228, 64) == (
            "00000000"
            "00000000"
            "0000ffff"
            "00008200"  # LDTR
            "00000000"
            "00000000"
            "0000ffff"
            "00008900"  # TR
            "00000000"
            "00000000"
            "0000ffff"
            "00000000"  # GDTR
            "00000000"
            "00000000"
            "0000ffff"
            "00000000"  # IDTR
        )
        assert at(292, 12) == "00" * 12  # SYSENTER
        assert at(304, 16) == "60000010000000000000000000000000"  # CR0 CR2 CR3 CR4
        assert at(320, 32) == "0000000000001234" + "00000000" * 4 + "ffff0ff000000400"
        assert at(352, 8) == "ffefffff00001f80"  # the A20 mask, MXCSR
        assert at(360, 32) == f"{0:016x}{0x10:016x}{1:016x}{0x11:016x}"
        assert at(488, 12) == "000300000102030405060708"
        assert len(data) == 1347

    def test_subsections_are_there_when_they_are_needed(self) -> None:
        plain = written(CPU, State())

        assert b"cpu/fpop_ip_dp" not in plain
        assert b"cpu/efer32" not in plain
        assert b"cpu/fpop_ip_dp" in written(CPU, State(fpu_opcode=1))
        assert b"cpu/fpop_ip_dp" in written(CPU, State(fpu_ip=1))
        assert b"cpu/fpop_ip_dp" in written(CPU, State(fpu_dp=1))
        assert b"cpu/efer32" in written(CPU, State(efer=1))

    def test_rest(self) -> None:
        data = written(REST, State(fpu_cs=0x1234, fpu_ds=0x5678))

        assert data[:20].hex(" ", 4) == "12345678 00000000 00000000 ffffffff ffffffff"
        assert len(data) == 4 + 8 * len(MSRS)

    def test_a_save_without_the_rest(self) -> None:
        """QEMU has none."""
        sections = {
            section.idstr: found(section, written(section, State())) for section in (COMMON, CPU)
        }

        assert SAVED.decode(from_bytes(b""), sections) == State()


class TestHostile:
    """Values that no processor has are refused, or do no harm."""

    @pytest.mark.parametrize(
        ("section", "field", "value", "named"),
        [
            ("cpu_common", "halted", 2, "halted"),
            ("cpu_common", "exception_index", 13, "exception_index"),
            ("cpu", "fpu_valid", 0x100, "fpu_valid"),
            ("cpu", "a20_mask", 0x1234, "a20_mask"),
            ("cpu", "efer", 0x500, "efer"),
            ("cpu", "tr", Segment(0, 0, 0, 0x8200), "tr.flags"),
            ("cpu", "tr", Segment(0, 0, 0, 0x8F00), "tr.flags"),
        ],
    )
    def test_refused(self, section: str, field: str, value: object, named: str) -> None:
        def change(values: Values) -> None:
            values[field] = value

        with pytest.raises(StreamError) as caught:
            decoded(**{section: change})

        assert caught.value.field == named

    @pytest.mark.parametrize("flags", [0x8B00, 0x8300])
    def test_a_busy_TSS_is_an_available_one(self, flags: int) -> None:
        """Busy is told in memory; the engine would abort on it."""

        def change(values: Values) -> None:
            values["tr"] = Segment(0x28, 0x1000, 0x67, flags)

        assert decoded(cpu=change).tr == Segment(0x28, 0x1000, 0x67, flags & ~0x200)

    def test_a_null_task_register_has_no_room(self) -> None:
        assert task_register(Segment(3, 0, 0xFFFF, 0)) == Segment(3, 0, 0, 0x8900)

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("seed", range(10))
    def test_any_State_can_be_run(self, engine: str, seed: int) -> None:
        """Wherever it leads, it leads somewhere."""
        rig = Rig(engine)
        rig.processor.state = attrs.evolve(any_state(seed), halted=False, intr=False)
        if seed % 2:
            rig.memory.write(0, random.Random(seed).randbytes(0x10000))

        rig.run(300)

        assert (
            SAVED.decode(
                from_bytes(b""),
                {each.idstr: found(each, written(each, rig.state)) for each in (COMMON, CPU, REST)},
            )
            == rig.state
        )
        rig.close()


def test_description() -> None:
    """What a triple fault says."""
    lines = describe(State(eax=0x12AB)).splitlines()

    assert (
        lines[0] == "EIP=0000fff0 EFL=00000002 CR0=60000010 CR2=00000000 CR3=00000000 CR4=00000000"
    )
    assert lines[1].startswith("EAX=000012ab EBX=00000000 ")
    assert lines[2].startswith("CS=f000:ffff0000 SS=0000:00000000 ")
