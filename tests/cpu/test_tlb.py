"""What the native engine's TLB holds follows from what the guest does, and from nothing else.

A guest can tell it: an accessed bit that is cleared without a flush is set again at the next walk,
and when that comes depends on what the TLB has forgotten by then.  Which depends on its size.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest
from rig import Rig, needs_native, paging

from emu.cpu.processor import Pause

pytestmark = needs_native

FAST_MASK = -0x20  # from CPUX86State: CPUTLBDescFast of mode 2, (entries - 1) << 6
LEAST = 64
MS = 1_000_000

TOUCH = (
    "bd {:02x} 00 00 00"  # mov ebp, times
    "b8 00 00 00 00"  # mov eax, 0
    "b9 {:02x} 00 00 00"  # mov ecx, pages
    "8a 10"  # touch: mov dl, [eax]
    "05 00 10 00 00"  # add eax, 0x1000
    "e2 f7"  # loop touch
    "0f 20 d8"  # mov eax, cr3
    "0f 22 d8"  # mov cr3, eax       a flush
    "ff cd"  # dec ebp
    "75 e3"  # jnz the second instruction
    "e6 81"  # out 0x81, al
)
PORT = 0x81
HLT = b"\xf4"


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig("native")
    yield rig
    rig.close()


def entries(rig: Rig) -> int:
    """How many the TLB of the highest privilege level has room for."""
    env = rig.processor.engine._shared.env
    return (ctypes.c_uint64.from_address(env + FAST_MASK).value >> 6) + 1


def touching(pages: int, times: int) -> bytes:
    """Code that reads so many pages, each once between two flushes, so often; then it tells."""
    return bytes.fromhex(TOUCH.format(times, pages))


def sizes(rig: Rig, *code: bytes, then_ms: int = 0) -> list[int]:
    """The TLB's size after each of *code*; and so much of the guest's time passes after each."""
    seen: list[int] = []

    def tell(_value: int) -> None:
        seen.append(entries(rig))
        rig.clock.advance(then_ms * MS)

    rig.ports.on_write[PORT] = tell
    rig.load(b"".join(code) + HLT, paging())
    while rig.run() is not Pause.HALTED:
        pass
    return seen


def test_it_begins_as_small_as_it_gets(rig: Rig) -> None:
    assert entries(rig) == LEAST


def test_it_grows_where_it_is_full(rig: Rig) -> None:
    """To where less than 70 % of it is used."""
    assert sizes(rig, *[touching(200, 1)] * 4) == [128, 256, 512, 512]


@pytest.mark.parametrize("empty", ["flush_tlb", "invalidate_all"])
def test_whoever_saves_or_loads_makes_it_small_again(rig: Rig, empty: str) -> None:
    """So the one that was saved and the one that was restored have the same."""
    assert sizes(rig, touching(200, 8)) == [512]

    getattr(rig.processor.engine, empty)()

    assert entries(rig) == LEAST


def test_it_shrinks_with_the_guest_s_time(rig: Rig) -> None:
    """When 100 ms of little use are over; the host's clock has hardly moved meanwhile."""
    code = touching(200, 8), *[touching(10, 1)] * 4

    assert sizes(rig, *code) == [512] * 5
    assert sizes(rig, *code, then_ms=51) == [512, 512, 512, 512, LEAST]


def test_it_does_not_shrink_with_the_host_s(rig: Rig) -> None:
    """Where a window begins, as the host's clock has it, is a time that never comes."""
    sizes(rig, touching(200, 1))  # it grows at the last flush, and a window begins

    env = rig.processor.engine._shared.env
    begins = [ctypes.c_int64.from_address(env - 0x870 + n * 0x2B8 + 0x10).value for n in range(3)]
    assert begins == [(1 << 63) // 2 - 1] * 3
