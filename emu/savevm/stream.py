"""A stream of bytes that a machine is saved to or loaded from: QEMUFile of 2008, mended.

Everything on it is big-endian.  It is written from front to back and read from front to back,
so a pipe or a socket serves as well as a file.  What 2008 got wrong is listed in FORMAT.md:
a read past the end returned zeros there and raises `StreamError` here, naming the section, the
field and the offset it happened at.

A stream either puts or gets.  It keeps a running CRC-32 of all that passed since `crc_start`,
from which every section's checksum is made.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from typing import BinaryIO

from emu import attrs
from emu.errors import HostError, StreamError

BUFFER_BYTES = 32_768  # IO_BUF_SIZE of 2008
READ_BYTES = 8 * BUFFER_BYTES  # at a time: RAM is most of a save

PutBuffer = Callable[[bytes, int], None]  # data, position in the file
GetBuffer = Callable[[int, int], bytes]  # position, the most bytes wanted; b"" at the end
Close = Callable[[], None]
RateLimit = Callable[[], bool]  # True: the bandwidth is used up for now
Progress = Callable[[int], None]  # told how many bytes have been put or got


@attrs.define(eq=False)
class Stream:
    """One save, being written or being read.

    Made by `open_ops`, `open` or `open_fd`.  *section*, *field* and *version* say what is
    being worked on; whoever reads keeps them up to date, and errors quote the first two.
    """

    _put_buffer: PutBuffer | None = None
    _get_buffer: GetBuffer | None = None
    _close: Close | None = None
    _rate_limit: RateLimit | None = None
    section: str | None = None
    field: str | None = None
    version: int | None = None  # of the section that is being read
    _buffer: bytearray = attrs.field(init=False, factory=bytearray)
    _index: int = attrs.field(init=False, default=0)  # reading: the next byte in the buffer
    _offset: int = attrs.field(init=False, default=0)  # of the buffer's first byte in the file
    _crc: int = attrs.field(init=False, default=0)
    _crc_index: int = attrs.field(init=False, default=0)  # how much of the buffer _crc covers

    # --- position -------------------------------------------------------------------------

    def ftell(self) -> int:
        """The offset of the next byte, from the start of the stream."""
        return self._offset + (self._index if self._get_buffer else len(self._buffer))

    def fseek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go on at another place; SEEK_SET and SEEK_CUR only, as a stream has no known end.

        Only a stream whose buffer functions heed their position can be repositioned.
        The running checksum starts again there.
        """
        if whence == os.SEEK_CUR:
            offset += self.ftell()
        elif whence != os.SEEK_SET:
            raise ValueError("a stream has no end to seek from")
        if self._put_buffer:
            self.fflush()
        self._buffer.clear()
        self._index = 0
        self._offset = offset
        self.crc_start()
        return offset

    # --- the running checksum -------------------------------------------------------------

    def crc_start(self) -> None:
        """Begin a new CRC-32 at the next byte."""
        self._crc = 0
        self._crc_index = self._index if self._get_buffer else len(self._buffer)

    def crc(self) -> int:
        """The CRC-32 of every byte since `crc_start`."""
        end = self._index if self._get_buffer else len(self._buffer)
        if end > self._crc_index:
            with memoryview(self._buffer) as view:
                self._crc = zlib.crc32(view[self._crc_index : end], self._crc)
            self._crc_index = end
        return self._crc

    # --- writing --------------------------------------------------------------------------

    def put_buffer(self, data: bytes | bytearray | memoryview) -> None:
        """Write *data* as it is."""
        if self._put_buffer is None:
            raise ValueError("this stream is being read")
        if len(data) < BUFFER_BYTES:
            self._buffer += data
            if len(self._buffer) >= BUFFER_BYTES:
                self.fflush()
        else:  # RAM comes in large pieces: they need not pass through the buffer
            self.fflush()
            data = bytes(data)
            self._crc = zlib.crc32(data, self._crc)
            self._put_buffer(data, self._offset)
            self._offset += len(data)

    def put_byte(self, value: int) -> None:
        """Write 8 bits; like all of `put_`, what does not fit is cut off, as C does."""
        self.put_buffer((value & 0xFF).to_bytes(1, "big"))

    def put_be16(self, value: int) -> None:
        self.put_buffer((value & 0xFFFF).to_bytes(2, "big"))

    def put_be32(self, value: int) -> None:
        self.put_buffer((value & 0xFFFF_FFFF).to_bytes(4, "big"))

    def put_be64(self, value: int) -> None:
        self.put_buffer((value & 0xFFFF_FFFF_FFFF_FFFF).to_bytes(8, "big"))

    # Two's complement makes the signed forms the same bytes; betl is the target's long.
    put_sbyte = put_byte
    put_sbe16 = put_be16
    put_sbe32 = put_be32
    put_sbe64 = put_be64
    put_betl = put_be32
    put_sbetl = put_be32
    put_sbuffer = put_buffer

    def put_name(self, name: str) -> None:
        """Write a length byte and up to 255 bytes of ASCII: how names stand in a stream."""
        data = name.encode("ascii")
        self.put_byte(len(data))
        self.put_buffer(data)

    def put_notify(self) -> None:
        """Try again to send what is outstanding (2008: after EAGAIN or a rate limit)."""
        self.fflush()

    def fflush(self) -> None:
        """Hand what is buffered to the stream's own put_buffer."""
        if self._put_buffer is not None and self._buffer:
            self.crc()
            data = bytes(self._buffer)
            self._put_buffer(data, self._offset)
            self._offset += len(data)
            self._buffer.clear()
            self._crc_index = 0

    # --- reading --------------------------------------------------------------------------

    def get_buffer(self, size: int) -> bytes:
        """Read exactly *size* bytes; a stream that ends before them raises StreamError."""
        while len(self._buffer) - self._index < size:
            if not self._fill():
                left = len(self._buffer) - self._index
                raise self.error("the stream ends", found=f"{left} bytes", expected=f"{size}")
        data = bytes(self._buffer[self._index : self._index + size])
        self._index += size
        return data

    def get_byte(self) -> int:
        return self.get_buffer(1)[0]

    def get_be16(self) -> int:
        return int.from_bytes(self.get_buffer(2), "big")

    def get_be32(self) -> int:
        return int.from_bytes(self.get_buffer(4), "big")

    def get_be64(self) -> int:
        return int.from_bytes(self.get_buffer(8), "big")

    def get_sbyte(self) -> int:
        return int.from_bytes(self.get_buffer(1), "big", signed=True)

    def get_sbe16(self) -> int:
        return int.from_bytes(self.get_buffer(2), "big", signed=True)

    def get_sbe32(self) -> int:
        return int.from_bytes(self.get_buffer(4), "big", signed=True)

    def get_sbe64(self) -> int:
        return int.from_bytes(self.get_buffer(8), "big", signed=True)

    get_betl = get_be32
    get_sbetl = get_sbe32
    get_sbuffer = get_buffer

    def get_name(self) -> str:
        """Read what `put_name` wrote."""
        data = self.get_buffer(self.get_byte())
        if not data.isascii():
            raise self.error("a name that is not ASCII", found=data.hex())
        return data.decode("ascii")

    def peek_byte(self) -> int | None:
        """The next byte, left where it is; None at the end of the stream."""
        if self._index == len(self._buffer) and not self._fill():
            return None
        return self._buffer[self._index]

    def peek_buffer(self, size: int) -> bytes:
        """The next *size* bytes, left where they are; fewer where the stream ends before."""
        while self.buffered < size and self._fill():
            pass
        return bytes(self._buffer[self._index : self._index + size])

    @property
    def buffered(self) -> int:
        """How many bytes can be read without waiting for the other end."""
        return len(self._buffer) - self._index

    def _fill(self) -> bool:
        """Read some more into the buffer; False at the end."""
        if self._get_buffer is None:
            raise ValueError("this stream is being written")
        if self._index:  # what has been read is not needed again
            self.crc()
            del self._buffer[: self._index]
            self._offset += self._index
            self._crc_index -= self._index
            self._index = 0
        end = self._offset + len(self._buffer)
        data = self._get_buffer(end, READ_BYTES)
        self._buffer += data
        return bool(data)

    # --- both -----------------------------------------------------------------------------

    def rate_limit(self) -> bool:
        """True while the stream has had all the bandwidth it may have for now: a soft limit."""
        return self._rate_limit is not None and self._rate_limit()

    def fclose(self) -> None:
        """Flush and close."""
        try:
            self.fflush()
        finally:
            if self._close is not None:
                self._close()

    def error(self, problem: str, *, found: object = None, expected: object = None) -> StreamError:
        """A StreamError that says where this stream is."""
        return StreamError(
            problem,
            section=self.section,
            field=self.field,
            offset=self.ftell(),
            found=found,
            expected=expected,
        )


def open_ops(
    put_buffer: PutBuffer | None = None,
    get_buffer: GetBuffer | None = None,
    close: Close | None = None,
    rate_limit: RateLimit | None = None,
) -> Stream:
    """A stream over functions of your own: either *put_buffer* or *get_buffer*, not both.

    ``put_buffer(data, position)`` writes all of *data* or raises; ``get_buffer(position, size)``
    returns 1 to *size* bytes, or none at the end; *position* may be ignored by what only streams.
    """
    if (put_buffer is None) == (get_buffer is None):
        raise ValueError("a stream either puts or gets")
    return Stream(put_buffer, get_buffer, close, rate_limit)


def untold(_done: int) -> None:
    """The progress that nobody watches."""


def open_file(
    file: BinaryIO, *, writing: bool, name: str | None = None, progress: Progress = untold
) -> Stream:
    """A stream over a Python binary file, from where it stands; closing it stays the caller's.

    *name* is what errors call it, where it has none itself.
    """
    own = getattr(file, "name", None)  # a number, where it was made from a descriptor
    what = name or (own if isinstance(own, str) else _doing(writing=writing))

    def put_buffer(data: bytes, position: int) -> None:
        try:
            file.write(data)
        except OSError as error:
            raise HostError(f"{what}: {error.strerror}") from error
        progress(position + len(data))

    def get_buffer(position: int, size: int) -> bytes:
        progress(position)
        try:
            return file.read(size)
        except OSError as error:
            raise HostError(f"{what}: {error.strerror}") from error

    return Stream(put_buffer, None) if writing else Stream(None, get_buffer)


def _doing(*, writing: bool) -> str:
    """What errors call a stream without a name."""
    return "writing the save" if writing else "reading the save"


def open(path: str | os.PathLike[str], mode: str, progress: Progress = untold) -> Stream:  # noqa: A001 - as in 2008
    """A stream over the file at *path*; *mode* is "rb" or "wb"."""
    flags = {"rb": os.O_RDONLY, "wb": os.O_WRONLY | os.O_CREAT | os.O_TRUNC}[mode]
    try:
        fd = os.open(path, flags, 0o666)
    except OSError as error:
        raise HostError(f"{os.fspath(path)}: {error.strerror}") from error
    return open_fd(fd, writing=mode == "wb", name=os.fspath(path), progress=progress)


def open_fd(
    fd: int, *, writing: bool = False, name: str | None = None, progress: Progress = untold
) -> Stream:
    """A stream over a file descriptor, a pipe or a socket among them; it is closed with it.

    *name* is what errors call it.
    """
    what = name or _doing(writing=writing)

    def put_buffer(data: bytes, position: int) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(fd, view) :]
        except OSError as error:
            raise HostError(f"{what}: {error.strerror}") from error
        progress(position + len(data))

    def get_buffer(position: int, size: int) -> bytes:
        progress(position)
        try:
            return os.read(fd, size)
        except OSError as error:
            raise HostError(f"{what}: {error.strerror}") from error

    def close() -> None:
        os.close(fd)

    if writing:
        return Stream(put_buffer, None, close)
    return Stream(None, get_buffer, close)


def to_bytes() -> tuple[Stream, bytearray]:
    """A stream for writing and the bytes that it will have written, once flushed."""
    data = bytearray()

    def put_buffer(chunk: bytes, position: int) -> None:
        data[position : position + len(chunk)] = chunk

    return Stream(put_buffer, None), data


def from_bytes(data: bytes | bytearray | memoryview) -> Stream:
    """A stream for reading *data*."""
    view = memoryview(data)
    return Stream(None, lambda position, size: bytes(view[position : position + size]))
