"""Host ends keep the promises of `HostEnd`, and `open_end` knows each by its name."""

from __future__ import annotations

import os
import select
import socket
import threading
from pathlib import Path

import pytest

from emu.errors import ConfigError, HostError
from emu.host.descriptors import poll, read_ready, write_all
from emu.host.ends import FORMS, File, Memory, Nothing, open_end
from emu.host.pty import PseudoTerminal
from emu.host.sockets import SocketEnd
from emu.host.terminal import Terminal

A_LOT = bytes(range(256)) * 4096  # 1 MiB: more than any pipe or socket holds


class TestDescriptors:
    @pytest.mark.parametrize("blocking", [True, False])
    def test_a_slow_reader_gets_everything(self, *, blocking: bool) -> None:
        """A write waits for the far side, whoever made the descriptor non-blocking or not."""
        reading, writing = os.pipe()
        os.set_blocking(writing, blocking)
        received = bytearray()

        def read_to_end() -> None:
            while data := os.read(reading, 65536):
                received.extend(data)

        reader = threading.Thread(target=read_to_end)
        reader.start()
        write_all(writing, A_LOT)
        os.close(writing)
        reader.join(10)
        os.close(reading)

        assert received == A_LOT

    def test_a_far_side_that_goes_ends_the_wait(self) -> None:
        """A terminal that is full and then hung up never has room again."""
        master, slave = os.openpty()
        os.set_blocking(master, False)
        os.close(slave)

        with pytest.raises(OSError, match=r"Input/output error"):
            write_all(master, A_LOT)
        os.close(master)

    def test_nothing_yet_is_not_the_end(self) -> None:
        """None says that there is nothing yet, no bytes that there will never be any."""
        reading, writing = os.pipe()

        nothing_yet = read_ready(reading, 10)
        os.write(writing, b"abc")
        some = read_ready(reading, 2)
        no_room = read_ready(reading, 0)
        the_rest = read_ready(reading, 10)
        os.close(writing)
        the_end = read_ready(reading, 10)
        os.close(reading)

        assert [nothing_yet, some, no_room, the_rest, the_end] == [None, b"ab", None, b"c", b""]

    def test_a_wait_for_what_does_not_come_ends(self) -> None:
        """A time-out is no error."""
        reading, writing = os.pipe()

        ready = poll(reading, select.POLLIN, timeout_s=0.001)
        os.close(reading)
        os.close(writing)

        assert ready == 0


class TestMemory:
    def test_keeps_what_is_sent(self) -> None:
        """What is written is there to be looked at."""
        end = Memory()

        end.write(b"log")
        end.write(b"in:")

        assert end.sent == b"login:"

    def test_gives_what_was_fed_in_portions(self) -> None:
        """A read takes no more than it asked for, and leaves the rest."""
        end = Memory()
        end.feed(b"ro")
        end.feed(b"ot\n")

        assert [end.read(3), end.read(0), end.read(3), end.read(3)] == [b"roo", b"", b"t\n", b""]

    def test_may_always_be_fed_again(self) -> None:
        """It is not at its end until somebody says so, and there is nothing to wait on."""
        end = Memory()
        before = end.at_end
        end.at_end = True
        end.close()
        end.close()

        assert (before, end.at_end, end.fileno()) == (False, True, None)


class TestNothing:
    def test_drops_output_and_has_no_input(self) -> None:
        """An open plug."""
        end = Nothing()

        end.write(b"hello?")
        heard = end.read(100)
        end.close()
        end.close()

        assert (heard, end.at_end, end.fileno()) == (b"", True, None)


class TestFile:
    def test_holds_each_byte_once_it_is_written(self, tmp_path: Path) -> None:
        """Nothing is kept back: what is written is in the file before it is closed."""
        end = File(str(tmp_path / "log"))

        end.write(b"a\r\n\0\xff")
        written = (tmp_path / "log").read_bytes()
        end.close()

        assert written == b"a\r\n\0\xff"

    def test_is_made_anew(self, tmp_path: Path) -> None:
        """An old log does not show through a shorter new one."""
        (tmp_path / "log").write_bytes(b"something long and old")

        end = File(str(tmp_path / "log"))
        end.write(b"new")
        end.close()
        end.close()

        assert (tmp_path / "log").read_bytes() == b"new"

    def test_has_no_input(self, tmp_path: Path) -> None:
        """A file is for output only."""
        end = File(str(tmp_path / "log"))

        heard = end.read(100)
        end.close()

        assert (heard, end.at_end, end.fileno()) == (b"", True, None)

    def test_a_full_disk_is_an_error(self) -> None:
        """Bytes that the disk does not take are not counted as sent."""
        end = File("/dev/full")

        with pytest.raises(HostError, match=r"^/dev/full: No space left on device$"):
            end.write(b"x")
        end.close()

    def test_a_path_that_cannot_be_made_is_an_error(self, tmp_path: Path) -> None:
        """One line: the path and what the system says."""
        with pytest.raises(HostError, match=r"^/.*/nowhere/log: No such file or directory$"):
            File(str(tmp_path / "nowhere" / "log"))


class TestOpenEnd:
    def test_none(self) -> None:
        """`none` is nothing."""
        assert isinstance(open_end("none"), Nothing)

    def test_stdio(self) -> None:
        """`stdio` is the terminal this was started from."""
        end = open_end("stdio")
        end.close()

        assert isinstance(end, Terminal)

    def test_file(self, tmp_path: Path) -> None:
        """`file:PATH` takes everything behind the first colon for the path."""
        end = open_end(f"file:{tmp_path}/a:b,c")
        end.write(b"x")
        end.close()

        assert (tmp_path / "a:b,c").read_bytes() == b"x"

    def test_pty(self) -> None:
        """`pty` says where to find it."""
        said: list[str] = []

        end = open_end("pty", said.append)
        end.close()

        assert isinstance(end, PseudoTerminal)
        assert said == [f"serial port on {end.path}"]

    def test_unix(self, tmp_path: Path) -> None:
        """`unix:PATH` waits for its first client, having said where."""
        path = f"{tmp_path}/serial"
        client = socket.socket(socket.AF_UNIX)
        said: list[str] = []

        def come(line: str) -> None:
            said.append(line)
            client.connect(path)

        end = open_end(f"unix:{path}", come)
        end.write(b"first words")
        heard = client.recv(100)
        end.close()
        client.close()

        assert isinstance(end, SocketEnd)
        assert said == [f"waiting for a connection on unix:{path}"]
        assert heard == b"first words"

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", ""])
    def test_tcp(self, host: str) -> None:
        """`tcp:HOST:0` says which port it has picked; no host is the loopback."""
        client = socket.socket()

        def come(line: str) -> None:
            _, _, address = line.partition("waiting for a connection on tcp:127.0.0.1:")
            client.connect(("127.0.0.1", int(address)))

        end = open_end(f"tcp:{host}:0", come)
        end.write(b"first words")
        heard = client.recv(100)
        end.close()
        client.close()

        assert heard == b"first words"

    def test_tells_the_user_on_standard_error(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Standard output is the guest's alone."""
        end = open_end("pty")
        end.close()

        assert isinstance(end, PseudoTerminal)
        assert capsys.readouterr() == ("", f"serial port on {end.path}\n")

    @pytest.mark.parametrize(
        "spec",
        [
            "",
            "null",
            "None",
            "none:",
            "stdio:1",
            "pty:/dev/pts/1",
            "file",
            "file:",
            "file:a\0b",
            "unix",
            "unix:",
            "unix:\0abstract",
            "tcp",
            "tcp:",
            "tcp:4444",
            "tcp:localhost:",
            "tcp:localhost:http",
            "tcp:localhost:-1",
            "tcp:localhost:65536",
            "tcp:localhost:" + "9" * 5000,
            "tcp:localhost:²",
            "tcp:::1:4444",
            "tcp:a\0b:4444",
            "tcp:localhost:4444,server=on",
        ],
    )
    def test_what_is_none_of_these_is_refused(self, spec: str) -> None:
        """The message shows what there is."""
        with pytest.raises(ConfigError) as caught:
            open_end(spec)

        assert str(caught.value) == f"no such serial end: {spec!r}, expected one of {FORMS}"
