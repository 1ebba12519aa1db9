"""What a user names becomes a placement, or one line that says why not."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from emu import images
from emu.errors import ConfigError, HostError
from emu.kernels import files
from emu.kernels.placement import Placement
from emu.memory import MIB

ELF = images.path("kernel.elf").read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in (
        ("kernel.elf", ELF),
        ("mod", b"first"),
        ("text", b"hello"),
    ):
        (tmp_path / name).write_bytes(data)
    return tmp_path


def strings(placement: Placement) -> tuple[bytes, list[bytes]]:
    """A Multiboot kernel's command line, and those of its modules."""
    memory = {piece.address: piece.data for piece in placement.pieces}
    info = memory[placement.ebx]
    words, count, table = struct.unpack_from("<III", info, 16)
    rows = [struct.unpack_from("<4I", memory[table], 16 * n) for n in range(count)] if count else []
    return memory[words], [memory[string] for _, _, string, _ in rows]


class TestMultiboot:
    def test_reads_the_names_of_files_without_their_folders(self, folder: Path) -> None:
        """So the machine is the same wherever they are."""
        initrd = f"{folder}/mod some words,{folder}/mod"

        placement = files.place_kernel(folder / "kernel.elf", initrd, "debug", 16 * MIB)

        assert strings(placement) == (
            b"kernel.elf debug\0",
            [b"mod some words\0", b"mod\0"],
        )
        assert placement.command_line == "kernel.elf debug"

    def test_a_comma_in_a_name_is_two(self, folder: Path) -> None:
        (folder / "a,b").write_bytes(b"third")

        placement = files.place_kernel(ELF, f"{folder}/a,,b x,,y,{folder}/mod", "", 16 * MIB)

        assert strings(placement) == (b"kernel\0", [b"a,b x,y\0", b"mod\0"])

    def test_bytes_have_names_too(self) -> None:
        assert strings(files.place_kernel(ELF, b"data", "", 16 * MIB)) == (
            b"kernel\0",
            [b"initrd\0"],
        )

    def test_without_an_initrd_has_no_modules(self) -> None:
        assert strings(files.place_kernel(ELF, None, "", 16 * MIB))[1] == []

    def test_a_module_that_is_not_there_is_said(self, folder: Path) -> None:
        with pytest.raises(HostError, match="nosuch: No such file or directory"):
            files.place_kernel(ELF, f"{folder}/mod,nosuch", "", 16 * MIB)


class TestFlat:
    def test_is_put_where_it_is_told_and_entered_there(self, folder: Path) -> None:
        placement = files.place_flat([(folder / "text", 2 * MIB), (b"data", MIB)], None, 16 * MIB)

        assert [(piece.address, piece.data) for piece in placement.pieces[:2]] == [
            (2 * MIB, b"hello"),
            (MIB, b"data"),
        ]
        assert placement.entry == 2 * MIB

    def test_or_entered_elsewhere(self) -> None:
        assert files.place_flat([(b"code", MIB)], MIB + 2, 16 * MIB).entry == MIB + 2

    @pytest.mark.parametrize(
        ("flat", "entry", "problem"),
        [
            ([], None, "no flat image"),
            ([(b"x", 0xA0000)], None, "flat image: no room at 0xa0000"),
            ([(b"xx", MIB), (b"y", MIB + 1)], None, "no room at 0x100001"),
            ([(b"x", MIB)], 16 * MIB, "entry 0x1000000: expected an address within RAM"),
        ],
    )
    def test_where_it_does_not_fit_is_said(
        self, flat: list[tuple[bytes, int]], entry: int | None, problem: str
    ) -> None:
        with pytest.raises(ConfigError, match=problem):
            files.place_flat(flat, entry, 16 * MIB)


class TestWhatIsNoKernel:
    def test_is_named(self, folder: Path) -> None:
        with pytest.raises(ConfigError, match=r"^text: not a kernel: neither .* nor Multiboot$"):
            files.place_kernel(folder / "text", None, "", 16 * MIB)

    def test_an_ELF_file_without_the_header_is_said_to_be_one(self, folder: Path) -> None:
        (folder / "program").write_bytes(b"\x7fELF" + bytes(100))

        with pytest.raises(ConfigError, match="program: an ELF file without a Multiboot header"):
            files.place_kernel(folder / "program", None, "", 16 * MIB)

    def test_whose_kernel_is_damaged_is_said(self, folder: Path) -> None:
        (folder / "cut.elf").write_bytes(ELF[:200])

        with pytest.raises(ConfigError, match=r"^cut\.elf: ELF kernel: cut short"):
            files.place_kernel(folder / "cut.elf", None, "", 16 * MIB)

    def test_larger_than_RAM_is_not_even_read(self, folder: Path) -> None:
        with (folder / "huge").open("wb") as file:
            file.truncate(1 << 40)

        with pytest.raises(ConfigError, match="huge: larger than 16777216 bytes"):
            files.place_kernel(folder / "huge", None, "", 16 * MIB)

    def test_a_zero_byte_is_in_no_command_line(self) -> None:
        with pytest.raises(ConfigError, match="no zero byte"):
            files.place_kernel(ELF, None, "a\0b", 16 * MIB)
