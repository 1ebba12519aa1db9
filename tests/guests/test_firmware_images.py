"""The committed ROM and guests are what their sources say, and run on a PC that is not ours.

The oracle is `qemu-system-i386`, on two of its boards: `isapc`, and `microvm` without its APIC.
A golden is all that COM1 says, from the ROM's first line on, with its CR LF stored as LF; the
tests of our own machine compare with the same files.

Where nasm or QEMU is not installed these tests are skipped; with EMU_REQUIRE_GUESTS=1 they fail.
"""

from __future__ import annotations

import hashlib
import selectors
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest
from programs import require

from emu import attrs

GOLDEN = Path(__file__).parent / "golden"
FIRMWARE = Path(__file__).parents[2] / "firmware"
IMAGES = FIRMWARE / "images"
SUMS = dict(
    reversed(line.split("  ", 1)) for line in (IMAGES / "SHA256SUMS").read_text().splitlines()
)

README = (FIRMWARE / "README.md").read_text()

QEMU = "qemu-system-i386"
BOARDS = {
    "isapc": ["-M", "isapc"],
    "microvm": [
        "-M",
        "microvm,pit=on,pic=on,rtc=on,isa-serial=on,x-option-roms=off,auto-kernel-cmdline=off",
    ],
}
DEADLINE_S = 15  # of the host's time; each run takes well under one
DEBUG_EXIT_0 = 0 << 1 | 1  # QEMU's exit status after a guest has written 0 to the debug exit


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.txt").read_bytes().replace(b"\n", b"\r\n")


class TestImages:
    def test_every_image_is_in_the_list_of_sums(self) -> None:
        """And the list names nothing that is not there."""
        assert {path.name for path in IMAGES.iterdir()} == {"SHA256SUMS", *SUMS}

    @pytest.mark.parametrize("name", SUMS)
    def test_each_image_has_the_sum_listed(self, name: str) -> None:
        assert hashlib.sha256((IMAGES / name).read_bytes()).hexdigest() == SUMS[name]

    def test_the_ROM_fills_the_last_64_KiB_below_1_MiB(self) -> None:
        """A far jump at the reset vector, FCh as the model byte, FFh where nothing is."""
        rom = (IMAGES / "emu.rom").read_bytes()

        assert len(rom) == 0x10000
        assert rom[:0xE000] == b"\xff" * 0xE000
        assert rom[0xFFF0:] == bytes.fromhex("ea 00e0 00f0 ffffffffffffffffff fc ff")

    @pytest.mark.parametrize("name", ["hello", "ticks", "echo", "keys"])
    def test_a_boot_sector_is_512_bytes_and_ends_with_its_mark(self, name: str) -> None:
        image = (IMAGES / f"{name}.bin").read_bytes()

        assert len(image) == 512
        assert image.endswith(b"\x55\xaa")

    def test_the_README_shows_what_hello_says(self) -> None:
        assert (GOLDEN / "hello.txt").read_text() in README

    @pytest.mark.parametrize("name", ["primes", "services"])
    def test_the_other_guests_are_small(self, name: str) -> None:
        assert (IMAGES / f"{name}.bin").stat().st_size < 1024


class TestBuild:
    """`firmware/build.py`, run as a reader would; one of its own on a copy of the tree."""

    def build(self, firmware: Path, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(firmware / "build.py"), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    @pytest.fixture
    def copy(self, tmp_path: Path) -> Path:
        require("nasm")
        return shutil.copytree(FIRMWARE, tmp_path / "a copy")

    def test_the_committed_images_are_what_the_sources_give(self) -> None:
        require("nasm")

        done = self.build(FIRMWARE, "--check")

        assert (done.returncode, done.stderr) == (0, "")
        assert [line.split()[-1] for line in done.stdout.splitlines()] == ["same"] * (len(SUMS) + 1)
        assert done.stdout in README  # which shows it

    def test_the_images_do_not_depend_on_where_they_are_built(self, copy: Path) -> None:
        shutil.rmtree(copy / "images")

        assert self.build(copy).returncode == 0
        for path in IMAGES.iterdir():
            assert (copy / "images" / path.name).read_bytes() == path.read_bytes()

    def test_a_byte_changed_is_found_and_named(self, copy: Path) -> None:
        image = bytearray((copy / "images" / "ticks.bin").read_bytes())
        image[0x20] ^= 1
        (copy / "images" / "ticks.bin").write_bytes(image)

        done = self.build(copy, "--check")

        assert done.returncode == 1
        assert "ticks.bin        512 bytes  differs from offset 0x20 on" in done.stdout

    def test_an_image_that_is_missing_or_has_no_source_is_named(self, copy: Path) -> None:
        (copy / "images" / "ticks.bin").rename(copy / "images" / "tocks.bin")

        done = self.build(copy, "--check")

        assert done.returncode == 1
        assert "ticks.bin        512 bytes  missing" in done.stdout
        assert "tocks.bin        512 bytes  has no source" in done.stdout

    def test_a_source_that_does_not_assemble_leaves_the_images_alone(self, copy: Path) -> None:
        (copy / "guests" / "hello.asm").write_text("nonsense here\n")

        done = self.build(copy)

        assert done.returncode == 1
        assert done.stderr.endswith("build.py: nasm could not assemble guests/hello.asm\n")
        for path in IMAGES.iterdir():
            assert (copy / "images" / path.name).read_bytes() == path.read_bytes()

    def test_without_nasm_it_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")

        done = self.build(FIRMWARE, "--check")

        assert done.returncode == 2
        assert done.stderr == "build.py: nasm is not installed, or not on the PATH\n"


@attrs.define(eq=False)
class Terminal:
    """A QEMU with our ROM, and its COM1: what it has said so far, and what is typed to it."""

    process: subprocess.Popen[bytes]
    transcript: bytes = b""

    @classmethod
    def start(cls, board: str, *options: str | Path) -> Self:
        command = [QEMU, *BOARDS[board], "-cpu", "486", "-m", "4", "-nodefaults"]
        command += ["-display", "none", "-serial", "stdio", "-bios", str(IMAGES / "emu.rom")]
        command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", *map(str, options)]
        pipe = subprocess.PIPE
        return cls(subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def read_until(self, text: bytes) -> None:
        """Read on until the transcript ends with *text*, QEMU ends, or the deadline has passed."""
        deadline = time.monotonic() + DEADLINE_S
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not self.transcript.endswith(text):
                if not selector.select(deadline - time.monotonic()):
                    break
                byte = self.process.stdout.read(1)
                if not byte:
                    break
                self.transcript += byte

    def type(self, text: bytes) -> None:
        self.process.stdin.write(text)

    def exit_status(self) -> int:
        return self.process.wait(DEADLINE_S)


def guest(name: str) -> list[str]:
    return file(IMAGES / f"{name}.bin")


def file(path: Path) -> list[str]:
    return ["-fw_cfg", f"name=opt/emu/guest,file={path}"]


# What QEMU's monitor calls a key, by what a US keyboard prints on it.
KEY_NAMES = {
    "\n": "ret",
    " ": "spc",
    ",": "comma",
    "!": "shift-1",
    "~": "shift-grave_accent",
    '"': "shift-apostrophe",
    "\\": "backslash",
    "|": "shift-backslash",
    "{": "shift-bracket_left",
    "+": "shift-equal",
    "}": "shift-bracket_right",
    "?": "shift-slash",
}


def key_name(character: str) -> str:
    """What is to be sent to the monitor for *character*."""
    letter = f"shift-{character.lower()}" if character.isupper() else character
    return KEY_NAMES.get(character, letter)


@pytest.fixture(params=BOARDS)
def board(request: pytest.FixtureRequest) -> str:
    require(QEMU)
    return request.param


class TestOnQEMU:
    @pytest.mark.parametrize("name", ["hello", "ticks"])
    def test_a_guest_that_does_not_end_says_its_text(self, board: str, name: str) -> None:
        """Ticks goes on for ever: the golden holds its first dozen."""
        with Terminal.start(board, *guest(name)) as terminal:
            terminal.read_until(golden(name)[-12:])

        assert terminal.transcript == golden(name)

    def test_primes_ends_by_the_debug_exit(self, board: str) -> None:
        with Terminal.start(board, *guest("primes")) as terminal:
            terminal.read_until(b"Done.\r\n")

            assert terminal.transcript == golden("primes")
            assert terminal.exit_status() == DEBUG_EXIT_0

    @pytest.mark.parametrize("name", ["paging", "ring3", "tasks", "numbers"])
    def test_the_chapters_on_protected_mode(self, board: str, name: str) -> None:
        """QEMU has no #XM, so a square root of -1 gives its NaN there though it is unmasked."""
        expected = golden(name).replace(
            b"#XM; signs of what was there: 0", b"signs of what was there: 8"
        )

        with Terminal.start(board, *guest(name), "-cpu", "pentium3,-apic") as terminal:
            assert terminal.exit_status() == DEBUG_EXIT_0
            terminal.read_until(b"\0")

        assert terminal.transcript == expected

    def test_echo_answers_lines_and_ends_at_control_d(self, board: str) -> None:
        """CR, LF and CR LF each end one line; backspace and DEL erase; the bell refuses."""
        with Terminal.start(board, *guest("echo")) as terminal:
            terminal.read_until(b"> ")
            terminal.type(b"hello\rHullo\x08\x7f\x08\x08ello\n\r\n\x08\x04")
            terminal.read_until(b"bye\r\n")

            assert terminal.transcript == golden("echo")
            assert terminal.exit_status() == DEBUG_EXIT_0

    def test_echo_loses_nothing_of_what_is_pasted(self, board: str) -> None:
        """Far more than its ring of 256 bytes and the UART's FIFO hold."""
        lines = [f"line {number} of what is pasted" for number in range(100)]

        with Terminal.start(board, *guest("echo")) as terminal:
            terminal.read_until(b"> ")
            terminal.type("".join(f"{line}\r" for line in lines).encode() + b"\x04")
            terminal.read_until(b"bye\r\n")

        answers = [f"> {line}\r\n{len(line)}: {line[::-1]}\r\n" for line in lines]
        rom = b"emu ROM: guest at 0000:7C00\r\n"
        assert terminal.transcript == rom + "".join(answers).encode() + b"> bye\r\n"

    def test_the_services_of_the_ROM_answer_as_an_AT(self, board: str) -> None:
        with Terminal.start(board, *guest("services")) as terminal:
            terminal.read_until(b"no key: AX 0100 CF 0 ZF 1\r\n")
            terminal.type(b"k")
            terminal.read_until(b"INT 16h AH 00, key: AX 256B CF 0 ZF 0\r\n")
            terminal.type(b"w")
            terminal.read_until(b"waited: AX 1177 CF 0 ZF 0\r\n")

            assert terminal.transcript == golden("services")
            assert terminal.exit_status() == DEBUG_EXIT_0

    def test_the_keyboard_controller_s_golden_is_QEMU_s(self) -> None:
        """The walk of `kbc`; a microvm has no keyboard controller."""
        require(QEMU)
        with Terminal.start("isapc", *guest("kbc")) as terminal:
            assert terminal.exit_status() == DEBUG_EXIT_0
            terminal.read_until(b"\0")

        assert terminal.transcript == golden("kbc")

    def test_keys_prints_what_is_typed(self, tmp_path: Path) -> None:
        """Each key goes down and up when the one before has been printed."""
        require(QEMU)
        monitor = tmp_path / "monitor"
        options = ["-monitor", f"unix:{monitor},server=on,wait=off"]
        with Terminal.start("isapc", *guest("keys"), *options) as terminal:
            terminal.read_until(b"ends.\r\n")
            with socket.socket(socket.AF_UNIX) as keyboard:
                keyboard.connect(str(monitor))
                for text in golden("keys").splitlines(keepends=True)[2:]:
                    for character in text.decode().replace("\r\n", "\n"):
                        keyboard.sendall(f"sendkey {key_name(character)} 1\n".encode())
                        terminal.read_until(character.replace("\n", "\r\n").encode())
                keyboard.sendall(b"sendkey esc 1\n")
                assert terminal.exit_status() == DEBUG_EXIT_0

        assert terminal.transcript == golden("keys")

    def test_without_a_guest_the_ROM_says_so(self, board: str) -> None:
        with Terminal.start(board, "-fw_cfg", "name=opt/emu/guests,string=not it") as terminal:
            terminal.read_until(b"\n")

        assert terminal.transcript == golden("no-guest")

    def test_the_largest_guest_arrives_whole(self, board: str, tmp_path: Path) -> None:
        """512 KiB that jump to their last 8 bytes, which print a mark; all between stands still."""
        path = tmp_path / "guest.bin"
        jump = bytes.fromhex("ea 0800 bf87 90")  # JMP 87BF:0008, 8 bytes before 7C00 + 512 KiB
        stay = bytes.fromhex("eb fe")  # JMP $
        code = bytes.fromhex("b0 21 ba f803 ee fa f4")  # MOV AL,'!'; MOV DX,3F8; OUT; CLI; HLT
        stays = (512 * 1024 - len(jump) - len(code)) // len(stay)
        path.write_bytes(jump + stays * stay + code)
        assert path.stat().st_size == 512 * 1024

        with Terminal.start(board, *file(path)) as terminal:
            terminal.read_until(b"!")

        assert terminal.transcript == b"emu ROM: guest at 0000:7C00\r\n!"

    def test_a_larger_guest_is_refused(self, board: str, tmp_path: Path) -> None:
        path = tmp_path / "guest.bin"
        path.write_bytes(bytes(512 * 1024 + 1))

        with Terminal.start(board, *file(path)) as terminal:
            terminal.read_until(b"\n")

        assert terminal.transcript == b"emu ROM: guest is larger than 512 KiB\r\n"

    def test_the_debug_console_repeats_what_POST_says(self, board: str, tmp_path: Path) -> None:
        log = tmp_path / "log"
        console = ["-chardev", f"file,id=log,path={log}"]
        console += ["-device", "isa-debugcon,iobase=0x402,chardev=log"]

        with Terminal.start(board, *guest("hello"), *console) as terminal:
            terminal.read_until(b"Hello")

        assert log.read_bytes() == b"emu ROM: guest at 0000:7C00\r\n"
