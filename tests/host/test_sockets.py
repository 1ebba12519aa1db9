"""A socket end serves one client at a time, and outlives them all."""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from processes import Child

import emu
from emu.errors import HostError
from emu.host.descriptors import poll
from emu.host.sockets import SocketEnd, listen_tcp, listen_unix

PATIENCE_S = 10
A_LOT = bytes(range(256)) * 4096
ORDERLY = struct.pack("ii", 0, 0)  # struct linger: off
RESET = struct.pack("ii", 1, 0)  # on, 0 s


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "serial")


@pytest.fixture(params=["unix", "tcp"])
def end(request: pytest.FixtureRequest, path: str) -> Iterator[SocketEnd]:
    end = listen_unix(path) if request.param == "unix" else listen_tcp("127.0.0.1", 0)
    with contextlib.closing(end):
        yield end


def connect(end: SocketEnd) -> socket.socket:
    """A client: the system answers for the listener until that gets round to it."""
    kind, _, address = end.name.partition(":")
    host, _, port = address.rpartition(":")
    if kind == "unix":
        client = socket.socket(socket.AF_UNIX)
        client.connect(address)
    else:
        client = socket.create_connection((host.strip("[]"), int(port)))
    client.settimeout(PATIENCE_S)
    return client


def wait(end: SocketEnd) -> None:
    """As the run loop waits while its guest sleeps."""
    assert poll(end.fileno(), select.POLLIN, PATIENCE_S)


def receive(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := client.recv(count - len(data))):
        data += more
    return data


@contextlib.contextmanager
def no_more_descriptors() -> Iterator[None]:
    """The host at its limit: what is open stays open, nothing new may be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class TestOneClient:
    def test_bytes_pass_both_ways_as_they_are(self, end: SocketEnd) -> None:
        """No Telnet, no line ends: 0xFF and CR mean nothing here."""
        with connect(end) as client:
            wait(end)
            end.read(0)
            end.write(b"\xff\xfb\x01\r\0\n")
            client.sendall(b"\xff\xf4\r")
            wait(end)

            assert end.read(100) == b"\xff\xf4\r"
            assert client.recv(100) == b"\xff\xfb\x01\r\0\n"

    def test_reading_takes_no_more_than_asked(self, end: SocketEnd) -> None:
        """What the UART has no room for stays with the host."""
        with connect(end) as client:
            end.read(0)
            client.sendall(b"abcdef")
            wait(end)

            assert [end.read(4), end.read(0), end.read(4), end.read(4)] == [
                b"abcd",
                b"",
                b"ef",
                b"",
            ]

    def test_a_slow_client_gets_everything(self, end: SocketEnd) -> None:
        """A write waits for as long as the client is slow."""
        received = b""

        def read_all() -> None:
            nonlocal received
            with connect(end) as client:
                received = receive(client, len(A_LOT))

        reader = threading.Thread(target=read_all)
        reader.start()
        wait(end)
        end.write(A_LOT)
        reader.join(PATIENCE_S)

        assert received == A_LOT

    def test_input_may_always_come(self, end: SocketEnd) -> None:
        """With or without a client, another may come."""
        before = end.at_end
        connect(end).close()
        end.read(100)

        assert (before, end.at_end) == (False, False)


class TestComingAndGoing:
    def test_output_for_nobody_is_dropped(self, end: SocketEnd) -> None:
        """A client hears what is sent while it is connected."""
        end.write(b"before")
        with connect(end) as client:
            end.write(b"during")

            assert client.recv(100) == b"during"

    @pytest.mark.parametrize("linger", [ORDERLY, RESET], ids=["closed", "reset"])
    def test_the_machine_outlives_its_client(self, end: SocketEnd, linger: bytes) -> None:
        """A client that goes, politely or not, takes nothing with it, and the next is welcome."""
        first = connect(end)
        end.write(b"hello")
        assert receive(first, 5) == b"hello"
        first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        first.close()
        wait(end)
        assert end.read(100) == b""
        end.write(b"nobody")
        end.write(b"hears")
        end.write(b"this")

        with connect(end) as second:
            second.sendall(b"I am here")
            wait(end)
            end.write(b"welcome")
            wait(end)

            assert end.read(100) == b"I am here"
            assert second.recv(100) == b"welcome"

    def test_a_client_that_goes_while_we_write(self, end: SocketEnd) -> None:
        """A write that waits for a client ends when the client does."""
        client = connect(end)

        def read_little() -> None:
            client.recv(1)
            client.close()

        reader = threading.Thread(target=read_little)
        reader.start()
        end.write(A_LOT * 8)
        reader.join(PATIENCE_S)

        assert end.read(100) == b""

    def test_a_second_client_waits_for_its_turn(self, end: SocketEnd) -> None:
        """One at a time, in the order of coming."""
        with connect(end) as first, connect(end) as second:
            second.sendall(b"second")
            end.write(b"one")
            first.sendall(b"first")
            wait(end)
            heard_first = end.read(100)
            first.shutdown(socket.SHUT_WR)
            wait(end)
            end.read(100)
            wait(end)
            end.write(b"two")
            wait(end)

            assert [heard_first, end.read(100)] == [b"first", b"second"]
            assert [receive(first, 100), second.recv(100)] == [b"one", b"two"]

    def test_a_client_that_only_listens_still_hears(self, end: SocketEnd) -> None:
        """`echo ls | nc` gets its answer; meanwhile there is nothing to wake up for."""
        with connect(end) as client:
            client.sendall(b"ls\n")
            client.shutdown(socket.SHUT_WR)
            wait(end)
            heard = end.read(100)
            wait(end)
            end.read(100)
            end.write(b"bin dev\n")

            assert heard == b"ls\n"
            assert client.recv(100) == b"bin dev\n"
            assert not poll(end.fileno(), select.POLLIN)

    def test_closing_ends_the_connection(self, end: SocketEnd) -> None:
        """The client sees an end, once."""
        with connect(end) as client:
            end.write(b"bye")
            end.close()
            end.close()

            assert receive(client, 100) == b"bye"

    def test_a_host_out_of_descriptors_is_an_error(self, end: SocketEnd) -> None:
        """What the system refuses is said, with the name of the socket."""
        with connect(end), no_more_descriptors(), pytest.raises(HostError) as caught:
            end.read(0)

        assert str(caught.value) == f"{end.name}: Too many open files"


class TestWaitingForTheFirstClient:
    def test_waits_until_one_is_there(self, end: SocketEnd) -> None:
        """The announcement comes first, the client may come at leisure."""
        clients: queue.Queue[socket.socket] = queue.Queue()

        def come_later(line: str) -> None:
            assert line == f"waiting for a connection on {end.name}"
            threading.Thread(target=lambda: clients.put(connect(end))).start()

        assert end.wait_for_client(come_later) is end
        end.write(b"hello")
        with clients.get(timeout=PATIENCE_S) as client:
            heard = receive(client, 5)

        assert heard == b"hello"

    def test_an_interrupted_wait_leaves_nothing_behind(self, path: str) -> None:
        """Ctrl-C while nobody comes: no socket stays at the path."""
        end = listen_unix(path)

        def interrupt(line: str) -> NoReturn:
            raise KeyboardInterrupt(line)

        with pytest.raises(KeyboardInterrupt):
            end.wait_for_client(interrupt)

        assert not Path(path).exists()


class TestUnixPath:
    def test_is_gone_after_close(self, path: str) -> None:
        """Nothing is left behind."""
        end = listen_unix(path)
        there = Path(path).is_socket()
        end.close()

        assert (there, Path(path).exists()) == (True, False)

    def test_is_removed_where_it_was_made(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A program that changes its directory meanwhile removes no other file of that name."""
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "serial").touch()
        monkeypatch.chdir(tmp_path)
        end = listen_unix("serial")
        monkeypatch.chdir(tmp_path / "elsewhere")
        end.close()

        assert not (tmp_path / "serial").exists()
        assert (tmp_path / "elsewhere" / "serial").exists()

    def test_is_left_alone_when_it_is_somebody_elses_by_now(self, path: str) -> None:
        """We remove our own socket, not what has taken its place."""
        ours = listen_unix(path)
        Path(path).rename(path + ".old")  # its inode lives on, and so is not used again
        theirs = listen_unix(path)
        ours.close()

        assert Path(path).is_socket()
        theirs.close()

    def test_may_have_been_removed_already(self, path: str) -> None:
        """By a user who tidies up."""
        end = listen_unix(path)
        Path(path).unlink()
        end.close()

        assert not Path(path).exists()

    def test_takes_the_place_of_one_that_died(self, path: str) -> None:
        """A crash leaves its socket; the next start is not to stumble over it."""
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(path)
        dead.close()
        there = Path(path).is_socket()

        with contextlib.closing(listen_unix(path)) as end, connect(end) as client:
            end.write(b"alive")

            assert there
            assert client.recv(100) == b"alive"

    def test_is_refused_while_another_answers_on_it(self, path: str) -> None:
        """And the other does not notice: it is not given a client for a moment."""
        with contextlib.closing(listen_unix(path)) as other:
            with pytest.raises(HostError, match=r"^/.*/serial: Address already in use$"):
                listen_unix(path)

            assert not poll(other.fileno(), select.POLLIN)
            assert Path(path).is_socket()

    def test_is_refused_where_a_file_is(self, path: str) -> None:
        """A file is not ours to replace."""
        Path(path).write_bytes(b"precious")

        with pytest.raises(HostError, match=r"^/.*/serial: Address already in use$"):
            listen_unix(path)

        assert Path(path).read_bytes() == b"precious"

    def test_no_descriptor_to_listen_with(self, path: str) -> None:
        """One line: the path and what the system says."""
        with no_more_descriptors(), pytest.raises(HostError) as caught:
            listen_unix(path)

        assert str(caught.value) == f"{path}: Too many open files"

    def test_too_long_for_the_system(self, tmp_path: Path) -> None:
        """Some refusals have no number of the system's, and still are one line."""
        with pytest.raises(HostError, match=r"^/.*xxx: AF_UNIX path too long$"):
            listen_unix(str(tmp_path / ("x" * 200)))


class TestTCPAddress:
    def test_a_port_that_is_taken_is_refused(self) -> None:
        """One line: the address and what the system says."""
        with contextlib.closing(listen_tcp("127.0.0.1", 0)) as end:
            port = int(end.name.rpartition(":")[2])

            with pytest.raises(HostError, match=f"^tcp:127.0.0.1:{port}: Address already in use$"):
                listen_tcp("127.0.0.1", port)

    def test_no_descriptor_to_listen_with(self) -> None:
        """One line, before there is anything to close."""
        with no_more_descriptors(), pytest.raises(HostError) as caught:
            listen_tcp("127.0.0.1", 4444)

        assert str(caught.value) == "tcp:127.0.0.1:4444: Too many open files"

    def test_a_port_may_be_taken_again_at_once(self) -> None:
        """A client's old connection does not keep the next start from its port."""
        end = listen_tcp("127.0.0.1", 0)
        port = int(end.name.rpartition(":")[2])
        with connect(end) as client:
            end.write(b"x")
            client.recv(1)
            end.close()

        again = listen_tcp("127.0.0.1", port)
        again.close()

        assert again.name == f"tcp:127.0.0.1:{port}"

    def test_an_unknown_host_is_refused(self) -> None:
        """Whatever the resolver says."""
        with pytest.raises(HostError, match=r"^tcp:no such host:4444: .+$"):
            listen_tcp("no such host", 4444)

    def test_what_cannot_be_a_host_name_is_refused(self) -> None:
        """A label of a name has at most 63 characters, RFC 1035 section 2.3.4."""
        with pytest.raises(HostError, match=r": not a host name$"):
            listen_tcp("x" * 64, 4444)

    @pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this host has no IPv6")
    def test_an_IPv6_address_stands_in_brackets(self) -> None:
        """As in a URL, RFC 3986 section 3.2.2."""
        with contextlib.closing(listen_tcp("::1", 0)) as end, connect(end) as client:
            end.write(b"six")

            assert end.name.startswith("tcp:[::1]:")
            assert client.recv(100) == b"six"


def test_an_interrupt_from_the_keyboard_ends_the_wait(path: str) -> None:
    """A user who waits in vain for a client gets out with Ctrl-C, and the path is removed."""
    program = f"from emu.host.ends import open_end; open_end('unix:{path}')"
    with Child(
        [sys.executable, "-c", program],
        cwd=Path(emu.__file__).parents[1],
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stderr is not None
        assert child.stderr.readline() == f"waiting for a connection on unix:{path}\n"
        os.kill(child.pid, signal.SIGINT)
        child.communicate(timeout=PATIENCE_S)

    assert child.returncode == -signal.SIGINT
    assert not Path(path).exists()
