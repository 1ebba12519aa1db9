"""QEMU in the place of an isapc: started, stopped, saved and loaded, and listened to.

One `Qemu` is one process, with the ROM and the processor that `emu.qemu.arguments` names.  Its COM1
is read here; its monitor is a socket that it inherits, and says when a save is complete, so
nothing is polled and nothing sleeps.

Where QEMU is not installed these tests are skipped; with EMU_REQUIRE_GUESTS=1 they fail.
"""

from __future__ import annotations

import json
import selectors
import shlex
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Self

from emu import attrs, drives, images, qemu
from emu.machine import Machine

PROGRAM = "qemu-system-i386"
DEADLINE_S = 15  # of the host's time; each run takes a fraction of one


@attrs.define(eq=False)
class Qemu:
    """A QEMU like *vm*, and all that its COM1 has said."""

    process: subprocess.Popen[bytes]
    monitor: socket.socket
    answers: BinaryIO
    said: bytes = b""
    events: deque[dict[str, Any]] = attrs.field(init=False, factory=deque)

    @classmethod
    def start(cls, vm: Machine, *options: str) -> Self:
        """Start it with the guest and the save that *options* name."""
        ours, its = socket.socketpair()
        ours.settimeout(DEADLINE_S)
        with its:
            command = [PROGRAM, *qemu.arguments(vm.description), "-display", "none"]
            command += ["-bios", str(images.path(images.ROM)), "-serial", "stdio"]
            command += ["-chardev", f"socket,id=monitor,fd={its.fileno()}"]
            command += ["-mon", "chardev=monitor,mode=control", *options]
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                bufsize=0,
                pass_fds=[its.fileno()],
            )
        running = cls(process, ours, ours.makefile("rb"))
        try:
            running.answers.readline()  # its greeting
            running.command("qmp_capabilities")
        except BaseException:
            running.end()
            raise
        return running

    @classmethod
    def with_guest(cls, vm: Machine, name: str, *options: str) -> Self:
        """Start it from power-on, with the guest where our machine has it."""
        guest = images.find(name)
        (file,) = drives.files(guest, None, None)
        return cls.start(vm, "-fw_cfg", f"name={file},file={guest}", *options)

    @classmethod
    def going_on(cls, vm: Machine, save: Path, *options: str) -> Self:
        """Start it from a save."""
        return cls.start(vm, "-incoming", f"exec:cat {shlex.quote(str(save))}", *options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End it; what it had said is all in `said` then."""
        if self.process.stdout.closed:
            return
        self.process.kill()
        self.said += self.process.communicate()[0]
        self.answers.close()
        self.monitor.close()

    def read_until(self, text: bytes) -> None:
        """Read on until it has said *text* last, has ended, or the deadline has passed."""
        self._read(lambda: self.said.endswith(text))

    def read_lines(self, count: int) -> None:
        """Read on until it has said *count* lines, has ended, or the deadline has passed."""
        self._read(lambda: self.said.count(b"\n") >= count)

    def _read(self, enough: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not enough() and (left_s := deadline - time.monotonic()) > 0:
                if not selector.select(left_s):
                    break
                byte = self.process.stdout.read(1)
                if not byte:
                    break
                self.said += byte

    def command(self, name: str, *, file: BinaryIO | None = None, **arguments: Any) -> Any:
        """Have the monitor do something, with *file* if it takes one; what it returns."""
        request = json.dumps({"execute": name, "arguments": arguments}).encode()
        socket.send_fds(self.monitor, [request], [] if file is None else [file.fileno()])
        return self._next("return")["return"]

    def next_event(self) -> dict[str, Any]:
        """The monitor's next event; one that came before an answer is kept for this."""
        return self.events.popleft() if self.events else self._next("event")

    def _next(self, key: str) -> dict[str, Any]:
        for line in self.answers:
            message = json.loads(line)
            if key in message:
                return message
            assert "error" not in message, message
            self.events.append(message)
        raise AssertionError(f"QEMU has ended, with status {self.process.wait(DEADLINE_S)}")

    def stop_halted(self) -> None:
        """Stop it while the processor waits for an interrupt."""
        while True:
            self.command("stop")
            told = self.command("human-monitor-command", **{"command-line": "info registers"})
            if "HLT=1" in told:
                return
            self.command("cont")

    def save(self, path: Path) -> Path:
        """Stop it, save it to *path*, and end it."""
        self.command("stop")
        events = [{"capability": "events", "state": True}]
        self.command("migrate-set-capabilities", capabilities=events)
        with path.open("wb") as file:
            self.command("getfd", file=file, fdname="save")
        self.command("migrate", uri="fd:save")
        status = ""
        while status != "completed":
            event = self.next_event()
            status = event["data"]["status"] if event["event"] == "MIGRATION" else ""
            assert status != "failed"
        self.end()
        return path
