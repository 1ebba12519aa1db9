"""Sockets: a serial port that one client at a time may reach, by TCP or by a Unix path.

We listen, and the machine starts when its first client is there, so that a guest's first words
are not lost.  After that clients may come and go as they like: while nobody is connected,
output is dropped, as on a line whose cable is unplugged, and the guest runs on.  Whoever knocks
while a client is connected waits in the queue until that one has gone.

A client that has shut down its sending side (``echo ls | nc ...``) still gets the output, until it
is gone altogether or the next one connects.

An empty HOST is the loopback: a serial line often ends in a shell without a password, so
it is open to the network only where that is asked for, as in ``tcp:0.0.0.0:4444``.

Bytes pass as they are.  Not spoken: Telnet, TLS.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
from collections.abc import Callable
from pathlib import Path

from emu.errors import HostError
from emu.host.descriptors import poll, read_ready, refused, write_all


class SocketEnd:
    """A listening socket and the client that it has accepted, if any."""

    at_end = False  # another client may always come

    def __init__(self, listener: socket.socket, name: str, path: Path | None = None) -> None:
        """Take over *listener*, bound and listening; *path* is to be removed in the end."""
        listener.settimeout(0)
        self.name = name  # where clients find it, as in tcp:127.0.0.1:4444
        self._listener = listener
        self._path = path
        self._path_id = None if path is None else file_id(path)
        self._client: socket.socket | None = None
        self._client_listens_only = False

    def wait_for_client(self, announce: Callable[[str], None]) -> SocketEnd:
        """Say where we are and wait until somebody connects; interrupted, leave nothing behind."""
        try:
            announce(f"waiting for a connection on {self.name}")
            while self._client is None:
                poll(self._listener.fileno(), select.POLLIN, timeout_s=None)
                self._accept()
        except BaseException:
            self.close()
            raise
        return self

    def write(self, data: bytes) -> None:
        self._accept()
        if self._client is None:
            return
        try:
            write_all(self._client.fileno(), data)
        except OSError:  # whatever the reason, this client is gone
            self._drop_client()

    def read(self, most: int) -> bytes:
        self._accept()
        if self._client is None or self._client_listens_only:
            return b""
        try:
            data = read_ready(self._client.fileno(), most)
        except OSError:
            self._drop_client()
            return b""
        if data == b"":
            self._client_listens_only = True
        return data or b""

    def fileno(self) -> int:
        if self._client is None or self._client_listens_only:
            return self._listener.fileno()
        return self._client.fileno()

    def close(self) -> None:
        self._drop_client()
        self._listener.close()
        if self._path is not None and self._path_id == file_id(self._path):
            with contextlib.suppress(OSError):  # a directory that has become read-only
                self._path.unlink()
        self._path = None

    def _accept(self) -> None:
        """Take the next client if there is one and the last has nothing more to say."""
        if self._client is not None and not self._client_listens_only:
            return
        try:
            client, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # nobody, or gone again already
            return
        except OSError as problem:
            raise refused(self.name, problem) from None
        self._drop_client()
        client.settimeout(0)
        self._client = client

    def _drop_client(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None
        self._client_listens_only = False


def listen_unix(path: str) -> SocketEnd:
    """Listen at *path*, in the place of a socket there that nobody listens on any more."""
    try:
        if is_stale(path):
            Path(path).unlink()
        listener = listener_at(socket.AF_UNIX, path)
    except OSError as problem:
        raise refused(path, problem) from None
    return SocketEnd(listener, f"unix:{path}", Path(path).absolute())


def listen_tcp(host: str, port: int) -> SocketEnd:
    """Listen at *host*, any name or address of this machine's; *port* 0 is any free one."""
    wanted = f"tcp:{host}:{port}"
    try:
        addresses = socket.getaddrinfo(host or "127.0.0.1", port, type=socket.SOCK_STREAM)
        # IPv4 first: localhost is 127.0.0.1 everywhere, and ::1 only where there is IPv6
        family, *_, address = min(addresses, key=lambda found: found[0] != socket.AF_INET)
        listener = listener_at(family, address)
    except OSError as problem:
        raise refused(wanted, problem) from None
    except UnicodeError:  # from the encoding that host names have
        raise HostError(f"{wanted}: not a host name") from None
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # clients inherit it
    host, port = listener.getsockname()[:2]
    return SocketEnd(listener, f"tcp:[{host}]:{port}" if ":" in host else f"tcp:{host}:{port}")


def listener_at(family: int, address: str | tuple[object, ...]) -> socket.socket:
    """A stream socket that is bound to *address* and listens."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not wait for old clients
        listener.bind(address)
        listener.listen(1)
    except OSError:
        listener.close()
        raise
    return listener


def is_stale(path: str) -> bool:
    """Tell whether *path* is a socket that no process has open.

    A datagram socket asks: a stream socket's owner refuses it for its type, and has not
    been given a client that goes away again at once.
    """
    if not Path(path).is_socket():
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(path) == errno.ECONNREFUSED


def file_id(path: Path) -> tuple[int, int] | None:
    """Which file *path* is, or None if it is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
