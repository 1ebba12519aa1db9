"""A pseudo-terminal end is a serial port that others open by a path."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from emu.errors import HostError
from emu.host.descriptors import poll
from emu.host.pty import PseudoTerminal

PATIENCE_S = 10
EVERY_BYTE = bytes(range(256))


@pytest.fixture
def end() -> Iterator[PseudoTerminal]:
    with contextlib.closing(PseudoTerminal()) as end:
        yield end


@contextlib.contextmanager
def somebody(end: PseudoTerminal) -> Iterator[int]:
    """A program that has the far side open."""
    slave = os.open(end.path, os.O_RDWR | os.O_NOCTTY)
    try:
        yield slave
    finally:
        os.close(slave)


def wait(end: PseudoTerminal) -> None:
    master = end.fileno()
    assert master is not None
    assert poll(master, select.POLLIN, PATIENCE_S)


def receive(slave: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        assert poll(slave, select.POLLIN, PATIENCE_S)
        data += os.read(slave, count - len(data))
    return data


def test_every_byte_passes_as_it_is(end: PseudoTerminal) -> None:
    """No echo, no line ends, no control characters, either way."""
    with somebody(end) as slave:
        os.write(slave, EVERY_BYTE)
        wait(end)
        heard = end.read(1000)
        end.write(EVERY_BYTE)

        assert heard == EVERY_BYTE
        assert receive(slave, 256) == EVERY_BYTE
        assert end.read(1000) == b""


def test_reading_takes_no_more_than_asked(end: PseudoTerminal) -> None:
    """What the UART has no room for stays with the host."""
    with somebody(end) as slave:
        os.write(slave, b"abcdef")
        wait(end)

        assert [end.read(4), end.read(0), end.read(4), end.read(4)] == [b"abcd", b"", b"ef", b""]


def test_a_slow_reader_gets_everything(end: PseudoTerminal) -> None:
    """A write waits for as long as the reader is slow."""
    data = EVERY_BYTE * 256
    received = b""

    def read_all(slave: int) -> None:
        nonlocal received
        received = receive(slave, len(data))

    with somebody(end) as slave:
        reader = threading.Thread(target=read_all, args=[slave])
        reader.start()
        end.write(data)
        reader.join(PATIENCE_S)

    assert received == data


def test_a_reader_that_goes_while_we_write(end: PseudoTerminal) -> None:
    """A write that waits for the reader ends when nobody is there any more."""
    slave = os.open(end.path, os.O_RDWR | os.O_NOCTTY)

    def read_little() -> None:
        receive(slave, 1)
        os.close(slave)

    reader = threading.Thread(target=read_little)
    reader.start()
    end.write(EVERY_BYTE * 256)
    reader.join(PATIENCE_S)

    assert end.fileno() is None


@pytest.mark.parametrize("visits", [0, 1, 2])
def test_nobody_there_is_no_error(end: PseudoTerminal, visits: int) -> None:
    """Output is dropped and no input comes, before the first program opens it and after each."""
    for _ in range(visits):
        with somebody(end):
            end.write(b"hello")

    end.write(b"nobody hears this")

    assert (end.read(100), end.fileno(), end.at_end) == (b"", None, False)


def test_last_words_are_heard(end: PseudoTerminal) -> None:
    """What was sent before the closing still arrives after it."""
    with somebody(end) as slave:
        os.write(slave, b"bye")
    wait(end)
    end.write(b"nobody hears this")

    assert [end.read(2), end.read(100), end.read(100)] == [b"by", b"e", b""]


def test_may_be_opened_again(end: PseudoTerminal) -> None:
    """And is as raw as at first."""
    with somebody(end):
        pass
    end.write(b"nobody")
    with somebody(end) as slave:
        os.write(slave, b"\x03\r")
        wait(end)
        end.write(b"welcome\n")

        assert end.read(100) == b"\x03\r"
        assert receive(slave, 8) == b"welcome\n"


def test_closing_twice_is_closing_once() -> None:
    """And removes the path."""
    end = PseudoTerminal()
    there = Path(end.path).exists()
    end.close()
    end.close()

    assert (there, Path(end.path).exists()) == (True, False)


def test_a_host_without_one_to_spare_is_an_error() -> None:
    """One line with what the system says."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(HostError, match=r"^pty: Too many open files$"):
            PseudoTerminal()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_any_other_refusal_is_an_error(end: PseudoTerminal) -> None:
    """Only absence is forgiven."""
    spare = os.open("/dev/full", os.O_RDWR)
    os.dup2(spare, end._master.fileno())
    os.close(spare)

    with pytest.raises(HostError, match=f"^{end.path}: No space left on device$"):
        end.write(b"x")
