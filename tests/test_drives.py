"""An image becomes what it looks like; a drive is what it is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from emu import drives
from emu.drives import DISK, DISK_MOST, FLOPPIES, FLOPPY, GUEST, GUEST_MOST
from emu.errors import ConfigError, HostError

SECTOR = b"\xf4".ljust(510, b"\0") + b"\x55\xaa"


def image(size: int) -> bytes:
    """An image with a boot sector."""
    return SECTOR.ljust(size, b"\x11")


class TestImages:
    """One that is given without a word."""

    @pytest.mark.parametrize("size", FLOPPIES)
    def test_as_long_as_a_floppy(self, size: int) -> None:
        assert drives.files(image(size), None, None) == {FLOPPY: image(size)}

    @pytest.mark.parametrize("size", [512, 513, 2000, 512 * 1024 + 1, 1_474_561, 16 << 20])
    def test_of_another_length(self, size: int) -> None:
        """A disk, if it has a boot sector, be it whole sectors or not."""
        assert drives.files(image(size), None, None) == {DISK: image(size)}

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\xf4",
            SECTOR[:-1],
            SECTOR[:-1] + b"\xab",
            SECTOR[:-2] + b"\xaa\x55",
            b"\0" + SECTOR,
            bytes(GUEST_MOST),
            bytes(1_474_560 // 4),
        ],
    )
    def test_without_a_boot_sector(self, data: bytes) -> None:
        """A program, whatever its length."""
        assert drives.files(data, None, None) == {GUEST: data}

    def test_by_its_file_or_its_name(self, tmp_path: Path) -> None:
        """As guests are."""
        (tmp_path / "boot.img").write_bytes(SECTOR)

        assert drives.files(tmp_path / "boot.img", None, None) == {DISK: SECTOR}
        assert b"Hello from a guest" in drives.files("hello", None, None)[DISK]
        assert [*drives.files("primes", None, None)] == [GUEST]

    @pytest.mark.parametrize("size", [GUEST_MOST + 1, FLOPPIES[-2]])
    def test_too_large_a_program(self, size: int) -> None:
        with pytest.raises(ConfigError, match=f"{size} bytes without a boot sector, {GUEST_MOST}"):
            drives.files(bytes(size), None, None)


class TestDrives:
    """Those that are named."""

    @pytest.mark.parametrize(
        ("size", "whole"),
        [
            (0, FLOPPIES[-2]),
            (1, FLOPPIES[-2]),
            (512, FLOPPIES[-2]),
            *zip(FLOPPIES, FLOPPIES, strict=True),
            (FLOPPIES[0] + 1, FLOPPIES[-2]),
            (FLOPPIES[-2] - 1, FLOPPIES[-2]),
            (FLOPPIES[-2] + 1, FLOPPIES[-1]),
        ],
    )
    def test_a_floppy_is_whole(self, size: int, whole: int) -> None:
        """Filled up to 1.44 MB, or 2.88, where it is of no length that floppies have."""
        data = b"\x11" * size

        assert drives.files(None, data, None) == {FLOPPY: data.ljust(whole, b"\0")}

    @pytest.mark.parametrize("size", [0, 1, 512, 513, DISK_MOST])
    def test_a_disk_is_as_it_is(self, size: int) -> None:
        """But for a first sector, which it has."""
        assert drives.files(None, None, bytes(size)) == {DISK: bytes(max(size, 512))}

    def test_files(self, tmp_path: Path) -> None:
        """A guest's name is none for a drive."""
        (tmp_path / "floppy").write_bytes(SECTOR)

        assert drives.files(None, tmp_path / "floppy", None)[FLOPPY][:512] == SECTOR
        for named in ((None, "hello", None), (None, None, "hello")):
            with pytest.raises(HostError, match=r"^hello: No such file"):
                drives.files(*named)

    def test_all_three(self) -> None:
        assert {*drives.files(b"\xf4", SECTOR, SECTOR)} == {GUEST, FLOPPY, DISK}

    def test_two_for_one(self) -> None:
        with pytest.raises(ConfigError, match="two images for one drive: this one is a disk, too"):
            drives.files(SECTOR, None, SECTOR)
        with pytest.raises(ConfigError, match="this one is a floppy, too"):
            drives.files(image(FLOPPIES[0]), SECTOR, None)

    def test_too_large(self, tmp_path: Path) -> None:
        """For a floppy, or for fw_cfg."""
        with pytest.raises(ConfigError, match="a floppy of 2949121 bytes, 2949120 at the most"):
            drives.files(None, bytes(FLOPPIES[-1] + 1), None)
        with pytest.raises(ConfigError, match="a drive of 67108865 bytes"):
            drives.files(None, None, bytes(DISK_MOST + 1))
        with (tmp_path / "disk").open("wb") as file:
            file.truncate(DISK_MOST + 1)
        with pytest.raises(ConfigError, match="larger than 67108864 bytes"):
            drives.files(None, None, tmp_path / "disk")
