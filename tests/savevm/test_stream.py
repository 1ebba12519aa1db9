"""A stream: QEMUFile of 2008 and what was mended about it."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path

import pytest

from emu.errors import HostError, StreamError
from emu.savevm import stream
from emu.savevm.stream import BUFFER_BYTES, READ_BYTES, Stream, from_bytes, open_ops, to_bytes

NUMBERS = [
    ("byte", 0xFE, "fe"),
    ("sbyte", -2, "fe"),
    ("be16", 0x1234, "1234"),
    ("sbe16", -2, "fffe"),
    ("be32", 0x1234_5678, "12345678"),
    ("sbe32", -2, "fffffffe"),
    ("be64", 0x1234_5678_9ABC_DEF0, "123456789abcdef0"),
    ("sbe64", -2, "fffffffffffffffe"),
    ("betl", 0x1234_5678, "12345678"),
    ("sbetl", -2, "fffffffe"),
]


def written(write) -> bytes:
    f, data = to_bytes()
    write(f)
    f.fflush()
    return bytes(data)


class TestNumbers:
    @pytest.mark.parametrize(("kind", "value", "expected"), NUMBERS)
    def test_are_big_endian(self, kind: str, value: int, expected: str) -> None:
        data = written(lambda f: getattr(f, f"put_{kind}")(value))

        assert data.hex() == expected
        assert getattr(from_bytes(data), f"get_{kind}")() == value

    def test_what_does_not_fit_is_cut_off(self) -> None:
        """As in C, where the argument's type does it."""
        assert written(lambda f: f.put_be16(0x12345)).hex() == "2345"

    @pytest.mark.parametrize(("kind", "expected"), [(kind, data) for kind, _, data in NUMBERS])
    def test_a_stream_that_ends_within_one(self, kind: str, expected: str) -> None:
        """2008 read zeros there, and a cut save loaded."""
        f = from_bytes(bytes.fromhex(expected)[:-1])
        f.section, f.field = "chip/0", "count"

        with pytest.raises(
            StreamError, match=r"'chip/0', field 'count', offset 0x0: the stream ends"
        ):
            getattr(f, f"get_{kind}")()


class TestBytes:
    def test_come_back(self) -> None:
        f = from_bytes(written(lambda f: f.put_buffer(b"hello")))

        assert f.get_sbuffer(5) == b"hello"

    def test_names(self) -> None:
        data = written(lambda f: f.put_name("ram"))

        assert data == b"\3ram"
        assert from_bytes(data).get_name() == "ram"
        with pytest.raises(StreamError, match="not ASCII, found ff"):
            from_bytes(b"\1\xff").get_name()

    def test_peeking_takes_nothing(self) -> None:
        f = from_bytes(b"abc")

        assert f.peek_byte() == ord("a")
        assert f.peek_buffer(2) == b"ab"
        assert f.peek_buffer(9) == b"abc"
        assert f.buffered == 3
        assert f.get_buffer(3) == b"abc"
        assert f.peek_byte() is None
        assert len(from_bytes(bytes(3 * READ_BYTES)).peek_buffer(2 * READ_BYTES)) == 2 * READ_BYTES

    def test_large_pieces_arrive_in_order(self) -> None:
        pieces = [
            b"a" * 10,
            b"b" * BUFFER_BYTES,
            b"c" * (BUFFER_BYTES - 1),
            b"d" * 9 * BUFFER_BYTES,
        ]

        def write(f: Stream) -> None:
            for piece in pieces:
                f.put_buffer(piece)
                assert f.ftell() == sum(map(len, pieces[: pieces.index(piece) + 1]))

        assert written(write) == b"".join(pieces)
        assert (
            from_bytes(written(write)).get_buffer(11 * BUFFER_BYTES)
            == b"".join(pieces)[: 11 * BUFFER_BYTES]
        )

    def test_a_stream_does_one_or_the_other(self) -> None:
        with pytest.raises(ValueError, match="being read"):
            from_bytes(b"").put_byte(1)
        with pytest.raises(ValueError, match="being written"):
            to_bytes()[0].get_byte()
        with pytest.raises(ValueError, match="either puts or gets"):
            open_ops()


class TestChecksum:
    def test_covers_what_was_written_since_it_was_started(self) -> None:
        f, _ = to_bytes()
        f.put_buffer(b"before")
        f.crc_start()
        whole = b""
        for piece in (b"a", b"b" * BUFFER_BYTES, b"c" * 100, b"d" * (BUFFER_BYTES - 50), b"e"):
            f.put_buffer(piece)
            whole += piece
            assert f.crc() == zlib.crc32(whole)

    def test_covers_what_was_read_since_it_was_started(self) -> None:
        data = bytes(range(256)) * 1000
        f = from_bytes(data)
        f.get_buffer(100)
        f.crc_start()
        end = 100
        for size in (1, 5, BUFFER_BYTES, 3 * BUFFER_BYTES, 7):
            f.get_buffer(size)
            end += size
            f.peek_byte()
            assert f.crc() == zlib.crc32(data[100:end])


class TestPosition:
    def test_reading(self) -> None:
        f = from_bytes(b"0123456789")
        f.get_buffer(4)

        assert f.ftell() == 4
        assert f.fseek(2) == 2
        assert f.get_byte() == ord("2")
        assert f.fseek(3, os.SEEK_CUR) == 6
        assert f.get_byte() == ord("6")

    def test_writing(self) -> None:
        f, data = to_bytes()
        f.put_buffer(b"....56")
        f.fseek(0)
        f.put_buffer(b"1234")
        f.fflush()

        assert bytes(data) == b"123456"

    def test_not_from_the_end(self) -> None:
        with pytest.raises(ValueError, match="no end"):
            from_bytes(b"").fseek(0, os.SEEK_END)


class TestOps:
    def test_functions_of_your_own(self) -> None:
        calls: list[object] = []
        f = open_ops(
            put_buffer=lambda data, position: calls.append((data, position)),
            close=lambda: calls.append("closed"),
            rate_limit=lambda: True,
        )
        f.put_byte(1)
        assert calls == []
        f.put_notify()
        f.put_byte(2)
        f.fclose()

        assert calls == [(b"\1", 0), (b"\2", 1), "closed"]
        assert f.rate_limit()
        assert not from_bytes(b"").rate_limit()

    def test_a_stream_without_a_close_is_closed_too(self) -> None:
        f, data = to_bytes()
        f.put_byte(1)
        f.fclose()

        assert data == b"\1"

    def test_it_is_closed_where_the_last_write_fails(self) -> None:
        closed = []

        def fail(_data: bytes, _position: int) -> None:
            raise HostError("no")

        f = open_ops(put_buffer=fail, close=lambda: closed.append(True))
        f.put_byte(1)
        with pytest.raises(HostError):
            f.fclose()

        assert closed


class TestFiles:
    def test_by_path(self, tmp_path: Path) -> None:
        f = stream.open(tmp_path / "x", "wb")
        f.put_buffer(b"x" * 100_000)
        f.fclose()
        g = stream.open(tmp_path / "x", "rb")

        assert g.get_buffer(100_000) == b"x" * 100_000
        assert g.peek_byte() is None
        g.fclose()

    def test_one_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(HostError, match="x: No such file or directory"):
            stream.open(tmp_path / "x", "rb")

    def test_by_descriptor(self) -> None:
        read_end, write_end = os.pipe()
        f, g = stream.open_fd(write_end, writing=True), stream.open_fd(read_end)
        f.put_be32(77)
        f.fflush()

        assert g.get_be32() == 77
        g.fclose()
        f.put_be32(78)
        with pytest.raises(HostError, match="writing the save: Broken pipe"):
            f.fflush()
        os.close(write_end)

    def test_a_descriptor_that_cannot_be_read(self, tmp_path: Path) -> None:
        f = stream.open_fd(os.open(tmp_path, os.O_RDONLY))

        with pytest.raises(HostError, match="reading the save: Is a directory"):
            f.get_byte()
        f.fclose()

    def test_an_open_file(self) -> None:
        file = io.BytesIO()
        f = stream.open_file(file, writing=True)
        f.put_buffer(b"abc")
        f.fclose()
        file.seek(1)

        assert stream.open_file(file, writing=False).get_buffer(2) == b"bc"

    def test_an_open_file_that_fails(self) -> None:
        class Broken(io.BytesIO):
            def read(self, _size: int | None = -1) -> bytes:
                raise OSError(5, "Input/output error")

            def write(self, _data: object) -> int:
                raise OSError(28, "No space left on device")

        with pytest.raises(HostError, match="reading the save: Input/output error"):
            stream.open_file(Broken(), writing=False).get_byte()
        f = stream.open_file(Broken(), writing=True)
        f.put_byte(1)
        with pytest.raises(HostError, match="writing the save: No space left on device"):
            f.fflush()
