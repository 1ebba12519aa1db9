"""A save on disk is whole, or not there."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from emu.errors import HostError
from emu.savevm.files import save_file
from emu.savevm.stream import Stream


def write_hello(f: Stream) -> None:
    f.put_buffer(b"hello")


def write_half_and_fail(f: Stream) -> None:
    f.put_buffer(b"half" * 20_000)
    f.fflush()
    raise HostError("the machine failed")


def disk_full(f: Stream) -> None:
    f.put_buffer(b"half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_it_is_all_there(tmp_path: Path) -> None:
    save_file(tmp_path / "save", write_hello)

    assert (tmp_path / "save").read_bytes() == b"hello"
    assert list(tmp_path.iterdir()) == [tmp_path / "save"]


def test_it_takes_the_place_of_another(tmp_path: Path) -> None:
    (tmp_path / "save").write_bytes(b"before, and longer")

    save_file(tmp_path / "save", write_hello)

    assert (tmp_path / "save").read_bytes() == b"hello"


@pytest.mark.parametrize("failing", [write_half_and_fail, disk_full])
def test_or_it_is_as_it_was(tmp_path: Path, failing) -> None:
    (tmp_path / "save").write_bytes(b"before")

    with pytest.raises(HostError):
        save_file(tmp_path / "save", failing)

    assert (tmp_path / "save").read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [tmp_path / "save"]


def test_it_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a power cut could leave the name of a save on an empty file."""
    synced = []

    def fsync(fd: int) -> None:
        status = os.fstat(fd)
        is_folder = stat.S_ISDIR(status.st_mode)
        synced.append("folder" if is_folder else status.st_size)
        synced.append((tmp_path / "save").exists())

    monkeypatch.setattr(os, "fsync", fsync)

    save_file(tmp_path / "save", write_hello)

    assert synced == [5, False, "folder", True]


def test_what_is_wrong_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"save: No space left on device$"):
        save_file(tmp_path / "save", disk_full)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="No such file"):
        save_file(tmp_path / "no" / "save", write_hello)


def test_a_name_that_is_a_folder_s(tmp_path: Path) -> None:
    (tmp_path / "save").mkdir()

    with pytest.raises(HostError, match="directory"):
        save_file(tmp_path / "save", write_hello)

    assert list(tmp_path.iterdir()) == [tmp_path / "save"]


def test_others_may_read_it_as_any_other_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_file(tmp_path / "save", write_hello)
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "save").stat().st_mode) == 0o640
