"""Several engines in one process do not know of each other; one that is closed is gone."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rig import CODE, ENGINES, Rig, needs_native, real_mode
from unicorn import Uc, unicorn_const, x86_const  # after emu: see emu/cpu/native.py

import emu
from emu.cpu.processor import Pause
from emu.host.ends import Memory
from emu.machine import Machine

ROM = Path(__file__).parents[2] / "firmware" / "images" / "torture.rom"

SUM = bytes.fromhex(
    "b9 64 00"  # mov cx, 100
    "01 c8"  # again: add ax, cx
    "a3 00 20"  # mov [0x2000], ax
    "00 0e 14 10"  # add [0x1014], cl
    "81 c3"  # db 0x81, 0xc3
    "00 00"  # dw 0
    "e2 f1"  # loop again
    "e6 80"  # out 0x80, al
    "f4"  # hlt
)


def alone(engine: str) -> tuple[int, object, bytes, object]:
    rig = Rig(engine)
    rig.load(SUM)
    rig.run()
    seen = rig.seen()
    rig.close()
    return seen


class TestInterleaved:
    """A few blocks of one, a few of the next."""

    @needs_native
    def test_all_of_them_as_if_alone(self) -> None:
        engines = ["native", "reference", "native", "reference", "native"]
        rigs = [Rig(engine) for engine in engines]
        for rig in rigs:
            rig.load(SUM)

        running = list(rigs)
        while running:
            running = [rig for rig in running if rig.run(50) is Pause.REACHED]

        native = alone("native")
        for rig, engine in zip(rigs, engines, strict=True):
            seen = rig.seen()
            assert seen[1:] == native[1:]
            if engine == "native":
                assert seen[0] == native[0]
            rig.close()

    @needs_native
    def test_one_is_closed_or_forgotten_meanwhile(self) -> None:
        rigs = [Rig("native") for _ in range(4)]
        for rig in rigs:
            rig.load(SUM)
            rig.run(30)

        rigs.pop(0).close()
        rigs.pop(1)
        gc.collect()
        another = Rig("native")
        another.load(SUM)

        for rig in (*rigs, another):
            rig.run()
            assert rig.seen() == alone("native")
            rig.close()

    @pytest.mark.parametrize("engine", ENGINES)
    def test_one_runs_in_a_port_handler_of_another(self, engine: str) -> None:
        rig = Rig(engine)
        rig.load(
            bytes.fromhex(
                "e6 60"  # out 0x60, al
                "40"  # inc ax
                "eb 00"  # jmp n
                "40"  # n: inc ax
                "f4"  # hlt
            )
        )
        seen = []
        rig.ports.on_write[0x60] = lambda _value: seen.append(alone(engine))

        rig.run()

        assert rig.state.eax == 2
        assert seen == [alone(engine)]
        rig.close()


class TestForeign:
    """A Unicorn engine of the user's own is left alone."""

    @pytest.mark.parametrize("engine", ENGINES)
    def test_it_stops_where_it_would(self, engine: str) -> None:
        """After so many instructions, in the middle of a block too."""
        rig = Rig(engine)
        rig.load(SUM)
        rig.run(30)
        foreign = Uc(unicorn_const.UC_ARCH_X86, unicorn_const.UC_MODE_32)
        foreign.mem_map(0x1000, 0x1000)
        foreign.mem_write(
            0x1000,
            bytes.fromhex(
                "40"  # inc eax
                "a3 fc 1f 00 00"  # mov [0x1ffc], eax
                "8b 0d fc 1f 00 00"  # mov ecx, [0x1ffc]
                "31 db"  # xor ebx, ebx
                "40"  # inc eax
                "40"  # inc eax
                "f4"  # hlt
            ),
        )

        found = []
        for count in (1, 3, 6):
            foreign.reg_write(x86_const.UC_X86_REG_EAX, 0)
            foreign.emu_start(0x1000, 0, count=count)
            found.append(foreign.reg_read(x86_const.UC_X86_REG_EIP))
        rig.run()

        assert found == [0x1001, 0x100C, 0x1010]
        assert foreign.reg_read(x86_const.UC_X86_REG_ECX) == 1
        assert rig.seen()[1:] == alone(engine)[1:]
        rig.close()


class TestClosing:
    @pytest.mark.parametrize("engine", ENGINES)
    def test_nothing_is_kept(self, engine: str) -> None:
        """At once, not when the garbage collector finds the time."""
        rig = Rig(engine)
        rig.load(
            bytes.fromhex(
                "f4"  # hlt
            ),
            real_mode(CODE),
        )
        rig.run()
        library_s, memory = weakref.ref(rig.processor.engine._uc), weakref.ref(rig.memory)
        gc.disable()

        rig.close()
        library_s_gone = library_s() is None
        del rig.processor
        del rig
        memory_gone = memory() is None
        gc.enable()

        assert library_s_gone
        assert memory_gone


@needs_native
def test_in_threads_they_do_not_meet() -> None:
    """The library runs and translates without Python's lock: several at the same time."""

    def ending(_number: int) -> tuple[str, int, bytes]:
        log = Memory()
        with Machine(bios=ROM.read_bytes(), debugcon=log) as vm:
            vm.run(emu.after("1s"))
            return vm.digest(), vm.clock.now_ns, bytes(log.sent)

    with ThreadPoolExecutor(3) as threads:
        assert len(set(threads.map(ending, range(9)))) == 1
