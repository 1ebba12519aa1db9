"""Boot sectors as tutorials have them run as they would on a PC: here, and on QEMU with our ROM.

The sources in `tutorials` are written after what tutorials show, their manners and bad manners
included: registers not set up, more read than the image has, a drive number taken for granted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from bios_calls import ENTERED, Bios, OnQemu, Ours, assemble, fw_cfg

from emu import attrs, drives
from emu.cpu import native

HERE = Path(__file__).parent / "tutorials"
CLEAR = b"\x1b[2J"


@attrs.frozen
class Tutorial:
    """A boot sector: what it says, where it waits for something, and what is typed then."""

    name: str
    says: tuple[bytes, ...]
    typed: tuple[bytes, ...] = ()


needs_native = pytest.mark.skipif(
    native.UNAVAILABLE is not None, reason=f"no native engine: {native.UNAVAILABLE}"
)
ENGINES = [pytest.param("native", marks=needs_native), "reference"]

TUTORIALS = [
    Tutorial("hello", (b"Hello, World!\r\n",)),
    Tutorial("loader", (b"Loading...\r\nSecond stage here.\r\n",)),
    Tutorial("protected", (b"16\r\n32-bit protected mode\r\n",)),
    Tutorial(
        "memory",
        (
            b"\r\n".join(
                [
                    b"027F",
                    b"3C000000",
                    b"0000000000000000 0009FC00 0001",
                    b"000000000009FC00 00000400 0002",
                    b"00000000000F0000 00010000 0002",
                    b"0000000000100000 00F00000 0001",
                    b"00000000FFFF0000 00010000 0002",
                    b"0005",
                    b"",
                ]
            ),
        ),
    ),
    Tutorial(
        "echo",
        (CLEAR + b"> ", b"hello\x08 \x08p\r\nunknown: hellp\r\n> ", b"exit\r\nbye\r\n"),
        (b"hello\x08p\r", b"exit\r"),
    ),
    Tutorial("lba", (b"from block 3\r\n63 16 ",)),
    Tutorial("screen", (CLEAR + b"A string of INT 10h\r\ncolours\x1b[13;36H!",)),
]


@pytest.fixture(params=[*ENGINES, "qemu"])
def boot(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Bios]:
    """Boots an image as ``emu run IMAGE`` does, or as a drive that is named."""

    def boot(image: bytes, **named: bytes) -> Bios:
        if request.param == "qemu":
            files = drives.files(image or None, named.get("floppy"), named.get("disk"))
            bios = Bios(OnQemu.start(*fw_cfg(tmp_path, files)))
        else:
            bios = Bios(Ours.start(request.param, image=image or None, **named))
        request.addfinalizer(bios.close)
        bios.wait(ENTERED)
        return bios

    return boot


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda tutorial: tutorial.name)
def test_it_does_what_the_tutorial_says(
    tutorial: Tutorial, boot: Callable[..., Bios], tmp_path: Path
) -> None:
    """Word for word; what is typed comes when it has been asked for."""
    bios = boot(assemble(HERE / f"{tutorial.name}.asm", tmp_path))

    for said, typed in zip(tutorial.says, (*tutorial.typed, b""), strict=True):
        assert bios.wait(said) == said
        bios.line.send(typed)


@pytest.mark.parametrize("name", ["hello", "loader"])
def test_it_boots_from_a_floppy_as_well(
    name: str, boot: Callable[..., Bios], tmp_path: Path
) -> None:
    """``-fda``: filled up to 1.44 MB; or an image that is as long already."""
    image = assemble(HERE / f"{name}.asm", tmp_path)
    tutorial = next(each for each in TUTORIALS if each.name == name)

    assert boot(b"", floppy=image).wait(tutorial.says[0]) == tutorial.says[0]
    assert boot(image.ljust(1_474_560, b"\0")).wait(tutorial.says[0]) == tutorial.says[0]


@pytest.mark.parametrize("engine", ENGINES)
def test_handlers_of_its_own(engine: str, tmp_path: Path) -> None:
    """Ticks, and a key: here, where there is a keyboard to press it on."""
    bios = Bios(Ours.start(engine, image=assemble(HERE / "interrupts.asm", tmp_path)))
    bios.wait(ENTERED)

    assert bios.wait(b"\n") == b"five ticks\r\n"
    bios.line.vm.keyboard.type("a")
    assert bios.wait(b"\n") == b"A\r\n"
    bios.close()


def test_a_floppy_of_1_44_MB_and_a_disk_of_16_boot_in_no_time(tmp_path: Path) -> None:
    """Their size is nothing that the guest waits for."""
    image = assemble(HERE / "hello.asm", tmp_path)
    clocks = set()
    for size in (512, 16 << 20):
        bios = Bios(Ours.start(image=image.ljust(size, b"\0")))
        bios.wait(b"World!\r\n")
        clocks.add(bios.line.vm.clock.now_ns // 1_000_000)
        bios.close()

    assert len(clocks) == 1
