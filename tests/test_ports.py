"""The port space: accesses find their handlers, or fall apart as the ISA bus has it."""

from __future__ import annotations

import pytest

from emu.errors import ConfigError
from emu.ports import PORTS, Ports


def counting(ports: Ports, start: int, length: int, size: int) -> list[tuple[int, int]]:
    """Ports that read as their own address, and remember what was written."""
    wrote: list[tuple[int, int]] = []
    mask = (1 << 8 * size) - 1
    ports.register_ioport_read(start, length, size, lambda address: address & mask)
    ports.register_ioport_write(start, length, size, lambda *access: wrote.append(access))
    return wrote


@pytest.mark.parametrize(("size", "ones"), [(1, 0xFF), (2, 0xFFFF), (4, 0xFFFF_FFFF)])
def test_where_nobody_answers(size: int, ones: int) -> None:
    ports = Ports()
    ports.write(0x80, 0x12, size)

    assert ports.read(0x80, size) == ones


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_handler_of_the_access_s_size(size: int) -> None:
    ports = Ports()
    wrote = counting(ports, 0x60, 4, size)
    ports.write(0x62, 0x55, size)

    assert ports.read(0x62, size) == 0x62
    assert wrote == [(0x62, 0x55)]
    assert ports.read(0x5F, 1) == 0xFF
    assert ports.read(0x64, 1) == 0xFF


def test_a_wider_access_falls_apart_low_address_first() -> None:
    ports = Ports()
    wrote = counting(ports, 0x40, 4, 1)
    ports.write(0x40, 0x4433_2211, 4)

    assert wrote == [(0x40, 0x11), (0x41, 0x22), (0x42, 0x33), (0x43, 0x44)]
    assert ports.read(0x40, 4) == 0x4342_4140


def test_halves_may_have_different_owners() -> None:
    ports = Ports()
    words = counting(ports, 0x10, 2, 2)
    byte = counting(ports, 0x12, 1, 1)
    ports.write(0x10, 0x4433_2211, 4)

    assert (words, byte) == ([(0x10, 0x2211)], [(0x12, 0x33)])
    assert ports.read(0x10, 4) == 0xFF12_0010


def test_a_narrower_access_than_is_registered_is_nobody_s() -> None:
    ports = Ports()
    wrote = counting(ports, 0x10, 1, 2)
    ports.write(0x10, 1, 1)

    assert (ports.read(0x10, 1), wrote) == (0xFF, [])


def test_the_last_port_is_followed_by_the_first() -> None:
    ports = Ports()
    wrote = counting(ports, 0, 1, 1)
    last = counting(ports, PORTS - 1, 1, 1)
    ports.write(PORTS - 1, 0x2211, 2)

    assert (last, wrote) == ([(0xFFFF, 0x11)], [(0, 0x22)])
    assert ports.read(PORTS - 1, 2) == 0x00FF


@pytest.mark.parametrize("access", ["read", "write"])
class TestRefused:
    def register(self, ports: Ports, access: str, *place: int) -> None:
        getattr(ports, f"register_ioport_{access}")(*place, lambda *_: 0)

    @pytest.mark.parametrize("size", [0, 3, 8])
    def test_another_size(self, access: str, size: int) -> None:
        with pytest.raises(ConfigError, match=f"size {size}"):
            self.register(Ports(), access, 0, 1, size)

    @pytest.mark.parametrize("place", [(-1, 1), (0, 0), (PORTS, 1), (PORTS - 1, 2)])
    def test_a_range_beyond_the_ports(self, access: str, place: tuple[int, int]) -> None:
        with pytest.raises(ConfigError, match="64 Ki"):
            self.register(Ports(), access, *place, 1)

    def test_a_port_that_is_taken(self, access: str) -> None:
        """And then none of the range is."""
        ports = Ports()
        self.register(ports, access, 5, 1, 1)

        with pytest.raises(ConfigError, match=r"port 0x5: (read|write)s of 1 bytes are answered"):
            self.register(ports, access, 3, 4, 1)
        self.register(ports, access, 3, 2, 1)
