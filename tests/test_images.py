"""A guest is found by its file or its name, a ROM by its file, and what is not is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from emu import images
from emu.errors import ConfigError, HostError

MOST = 1 << 20


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestGuests:
    def test_some_come_along(self) -> None:
        """Those of `firmware/guests`, in order."""
        sources = (Path(images.__file__).parents[1] / "firmware" / "guests").glob("*.asm")

        assert images.guests() == sorted(source.stem for source in sources)

    @pytest.mark.usefixtures("here")
    def test_by_name(self) -> None:
        """As in ``emu run hello``, from any folder."""
        assert b"Hello from a guest of emu." in images.guest("hello", MOST)
        assert Path(images.find("hello")).is_absolute()

    def test_a_file_comes_before_a_name(self, here: Path) -> None:
        """Whoever has made a file of that name means it."""
        (here / "hello").write_bytes(b"mine")

        assert images.guest("hello", MOST) == b"mine"

    def test_a_folder_does_not(self, here: Path) -> None:
        """A folder is nothing that boots."""
        (here / "hello").mkdir()

        assert Path(images.find("hello")).name == "hello.bin"

    def test_by_path(self, here: Path) -> None:
        """A string or a Path."""
        (here / "boot.img").write_bytes(b"guest")

        assert images.guest("boot.img", MOST) == images.guest(here / "boot.img", MOST) == b"guest"

    def test_by_contents(self) -> None:
        """Bytes are the guest itself."""
        assert images.guest(b"hello", MOST) == b"hello"

    @pytest.mark.usefixtures("here")
    @pytest.mark.parametrize(
        ("name", "problem"),
        [
            ("nosuch", "no such file, and no guest of this name: there are echo, hello"),
            ("./hello", "no such file, and no guest"),
            ("no/such.img", "no such file, and no guest"),
            (".", "a folder, not a guest"),
        ],
    )
    def test_what_is_not_there(self, name: str, problem: str) -> None:
        """One line that helps."""
        with pytest.raises(HostError) as caught:
            images.guest(name, MOST)

        assert str(caught.value).startswith(f"{name}: {problem}")

    @pytest.mark.parametrize("source", ["file", b"guest"])
    def test_too_large(self, here: Path, source: str | bytes) -> None:
        """There is only so much room for it."""
        (here / "file").write_bytes(b"guest")

        assert images.guest(source, 5) == b"guest"
        with pytest.raises(ConfigError, match=r"4( bytes| at the most)$"):
            images.guest(source, 4)


class TestRoms:
    def test_ours(self) -> None:
        """Where none is named."""
        assert images.rom(None, MOST) == images.path(images.ROM).read_bytes()

    def test_another(self, here: Path) -> None:
        """By its file or by its contents; a guest's name means nothing here."""
        (here / "bios.bin").write_bytes(b"rom")

        assert images.rom("bios.bin", MOST) == images.rom(b"rom", MOST) == b"rom"
        with pytest.raises(HostError, match=r"^hello: No such file or directory$"):
            images.rom("hello", MOST)

    def test_an_installed_copy_comes_first(
        self, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A package has its own; a checkout has `firmware`."""
        (here / "emu.rom").write_bytes(b"installed")
        monkeypatch.setattr(images, "_PLACES", (here, *images._PLACES))

        assert images.rom(None, MOST) == b"installed"

    def test_an_installation_without_firmware(
        self, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Is told of in one line."""
        monkeypatch.setattr(images, "_PLACES", (here,))

        assert images.guests() == []
        with pytest.raises(HostError, match=r"^emu.rom: not among the firmware"):
            images.rom(None, MOST)


def test_a_file_that_cannot_be_read(here: Path) -> None:
    """A folder in place of a file, for one."""
    with pytest.raises(HostError, match=r"Is a directory$"):
        images.read(here, MOST)
