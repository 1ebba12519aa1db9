"""The services of our ROM that are no drives': text, COM1, memory, keys, time.

They are called by `caller.asm`, here and on QEMU's isapc with the same ROM; what a test expects is
true of both, but for a keyboard that somebody types on, which is ours.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest
from bios_calls import CF, IF, ZF, Bios, Ours, Registers, starter

BUFFER = 0x2_0000
SEGMENT = BUFFER >> 4
KIB, MIB = 1 << 10, 1 << 20

HOME = b"\x1b[2J"  # what a change of mode sends
CODE_PAGE_437 = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
CODE_PAGE_437 += bytes(range(0x20, 0x7F)).decode() + "⌂" + bytes(range(0x80, 0x100)).decode("cp437")


@pytest.fixture(scope="module")
def shared(start: Callable[..., Bios]) -> Iterator[Bios]:
    bios = start()
    yield bios
    bios.close()


@pytest.fixture
def bios(shared: Bios) -> Bios:
    return shared


@pytest.fixture
def ours(caller: bytes) -> Iterator[Bios]:
    """A machine of ours for a test alone."""
    bios = starter("auto", caller, None)()
    yield bios
    bios.close()


class TestInt10:
    @pytest.fixture(autouse=True)
    def _clear(self, bios: Bios) -> None:
        """The screen is empty, and the terminal told where it is to write."""
        bios.call(0x10, eax=0x0003)
        bios.call_and_hear(0x10, eax=0x0E0D)
        bios.write(0x4AC, b"\0\0")

    def write(self, bios: Bios, text: bytes) -> bytes:
        return b"".join(bios.call_and_hear(0x10, eax=0x0E00 | each)[1] for each in text)

    def cursor(self, bios: Bios) -> tuple[int, int]:
        """Row and column."""
        return divmod(bios.call(0x10, eax=0x0300).dx, 256)

    def test_ascii_is_sent_as_it_is(self, bios: Bios) -> None:
        """AH = 0Eh: nothing but what is printed, over line ends, bell, backspace and last column."""
        text = b"one\r\ntwo\x07 three\x08\x08\r\n" + b"x" * 100 + b"\r\ny"

        assert self.write(bios, text) == text
        assert self.cursor(bios) == (4, 1)

    def test_the_other_characters_are_a_pc_s_in_utf_8(self, bios: Bios) -> None:
        """Code page 437; in place control characters are characters, too, and one that is empty."""
        said = b"".join(
            bios.call_and_hear(0x10, eax=0x0A00 | code, ecx=1)[1] for code in range(256)
        )
        assert said.decode().replace("\x1b[1;1H", "") == CODE_PAGE_437

    def test_a_teletype_obeys_four_of_them(self, bios: Bios) -> None:
        """BEL, BS, LF, CR; the others are characters, of one column each."""
        obeyed = b"\x07\x08\n\r"
        for code in range(256):
            bios.call(0x10, eax=0x0200, edx=0x0101)
            said = self.write(bios, bytes([code])).replace(b"\x1b[2;2H", b"")
            if code in obeyed:
                assert said == bytes([code])
            else:
                assert (said.decode(), self.cursor(bios)) == (CODE_PAGE_437[code], (1, 2))

    def test_the_cursor_follows(self, bios: Bios) -> None:
        """AH = 03h."""
        places = [(self.write(bios, each), self.cursor(bios))[1] for each in (b"ab", b"\n", b"\r")]

        assert places == [(0, 2), (1, 2), (1, 0)]
        assert self.write(bios, b"\x08") == b""
        assert self.cursor(bios) == (1, 0)

    def test_at_the_end_the_screen_scrolls(self, bios: Bios) -> None:
        """The last row stays the last; and no column is the 81st."""
        self.write(bios, b"\n" * 30 + b"\r" + b"x" * 79)
        assert self.cursor(bios) == (24, 79)
        self.write(bios, b"x")
        assert self.cursor(bios) == (24, 0)

    def test_elsewhere_the_terminal_is_told(self, bios: Bios) -> None:
        """AH = 02h: when the next character comes; counted from 1."""
        assert bios.call_and_hear(0x10, eax=0x0200, edx=0x0C27)[1] == b""
        assert self.write(bios, b"mid") == b"\x1b[13;40Hmid"
        assert self.cursor(bios) == (12, 42)
        bios.call(0x10, eax=0x0200, edx=0x0C2A)
        assert self.write(bios, b"d") == b"d"
        bios.call(0x10, eax=0x0200, edx=0x1809)
        assert self.write(bios, b"\n.") == b"\x1b[25;10H\n."

    @pytest.mark.parametrize("function", [0x09, 0x0A])
    def test_characters_in_place(self, bios: Bios, function: int) -> None:
        """AH = 09h, 0Ah: CX of them; the cursor stays, and a guest that moves it on sends no more."""
        said = b""
        for letter in b"abc":
            said += bios.call_and_hear(0x10, eax=function << 8 | letter, ebx=7, ecx=1)[1]
            row, column = self.cursor(bios)
            bios.call(0x10, eax=0x0200, edx=row << 8 | column + 1)
        assert said == b"abc"
        assert bios.call_and_hear(0x10, eax=function << 8 | 0x2D, ecx=5)[1] == b"-----"
        assert self.cursor(bios) == (0, 3)
        assert self.write(bios, b"!") == b"\x1b[1;4H!"
        assert bios.call_and_hear(0x10, eax=function << 8 | 0x2D, ecx=0)[1] == b""

    def test_modes(self, bios: Bios) -> None:
        """AH = 00h clears, but with bit 7 of AL; AH = 0Fh tells the mode, 80 columns, page 0."""
        self.write(bios, b"ab")
        assert bios.call_and_hear(0x10, eax=0x0093)[1] == b""
        assert self.cursor(bios) == (0, 0)
        assert bios.call(0x10, eax=0x0F00, ebx=0xFFFF).ebx == 0x00FF
        assert bios.call_and_hear(0x10, eax=0x0002)[1] == HOME
        assert bios.call(0x10, eax=0x0F00).ax == 80 << 8 | 2

    def test_scrolling(self, bios: Bios) -> None:
        """AH = 06h, 07h: up and down, or clear."""
        said = [
            bios.call_and_hear(0x10, eax=eax, ebx=0x0700, edx=0x184F)[1]
            for eax in (0x0601, 0x070C, 0x0600, 0x0700)
        ]
        assert said == [b"\x1b[1S", b"\x1b[12T", HOME, HOME]

    def test_strings(self, bios: Bios) -> None:
        """AH = 13h: with or without attributes, and with or without the cursor."""
        bios.write(BUFFER, b"text\r\n" + b"c\x07o\x08l\x0a")
        registers = {"es": SEGMENT, "ebp": 0, "ebx": 7, "ecx": 6}

        assert bios.call_and_hear(0x10, eax=0x1301, edx=0, **registers)[1] == b"text\r\n"
        assert self.cursor(bios) == (1, 0)
        registers |= {"ebp": 6, "ecx": 3}
        assert bios.call_and_hear(0x10, eax=0x1302, edx=0x0203, **registers)[1] == b"\x1b[3;4Hcol"
        assert self.cursor(bios) == (1, 0)

    def test_what_is_read_is_a_space(self, bios: Bios) -> None:
        """AH = 08h; AH = 01h is remembered; others do nothing."""
        assert bios.call(0x10, eax=0x0800).ax == 0x0720
        bios.call(0x10, eax=0x0100, ecx=0x2000)
        assert bios.call(0x10, eax=0x0300).cx == 0x2000
        bios.call(0x10, eax=0x0100, ecx=0x0607)
        for function in (0x05, 0x0B, 0x10, 0x1A, 0x4F):
            answered, said = bios.call_and_hear(0x10, eax=function << 8)
            assert (answered.ax, said) == (function << 8, b"")


class TestInt14:
    def test_characters(self, bios: Bios) -> None:
        """AH = 01h sends, 02h receives, 03h tells how it stands."""
        answered, said = bios.call_and_hear(0x14, eax=0x0141)
        assert (answered.al, said) == (0x41, b"A")
        assert answered.ah & 0x80 == 0

        received = bios.call(0x14, eax=0x0200, meanwhile=b"z")
        assert (received.al, received.ah & 0x9E) == (0x7A, 0)
        assert bios.call(0x14, eax=0x0300).ah & 0x61 == 0x60
        assert bios.call(0x14, eax=0x0300).al & 0x0F == 0

    def test_nothing_comes(self, bios: Bios) -> None:
        """AH = 02h: after two seconds bit 7 says so."""
        before = bios.call(0x1A).dx
        assert bios.call(0x14, eax=0x0200).ah == 0x80
        assert bios.call(0x1A).dx - before >= 36

    @pytest.mark.parametrize("function", [0, 1, 2, 3])
    def test_other_ports_are_not_there(self, bios: Bios, function: int) -> None:
        assert bios.call(0x14, eax=function << 8 | 0x41, edx=1).ax == 0x8041

    def test_speed_and_format(self, ours: Bios) -> None:
        """AH = 00h: 9600 baud, even parity, 2 stop bits, 8 bits; then a character takes 1.25 ms."""
        for eax, character_ns in ((0x00E3, 10 * 104_167), (0x00FF, 12 * 104_167)):
            ours.call(0x14, eax=eax)
            assert ours.line.vm.board.serial.character_ns() == pytest.approx(character_ns, rel=0.01)


class TestInt15:
    def test_A20(self, bios: Bios) -> None:
        """AX = 2400h to 2403h: by both ways that there are."""
        bios.write(0x500, b"\x11")
        assert bios.call(0x15, eax=0x2403, ebx=0) == Registers(eax=3, ebx=3)
        for on in (0, 1, 0, 1):
            assert bios.call(0x15, eax=0x2400 | on, flags=IF | CF).eax == on
            assert bios.call(0x15, eax=0x2402) == Registers(eax=on)
        assert (bios.call(0x15, eax=0x2404).ah, bios.call(0x15, eax=0x2404).cf) == (0x86, True)

    def test_sizes(self, bios: Bios) -> None:
        """AH = 88h and AX = E801h: 16 MiB are 15 above the first."""
        assert bios.call(0x15, eax=0x8800).ax == 15 * KIB
        sizes = bios.call(0x15, eax=0xE801)
        assert (sizes.cf, sizes.ax, sizes.bx, sizes.cx, sizes.dx) == (False, 0x3C00, 0, 0x3C00, 0)

    def test_the_memory_map(self, bios: Bios) -> None:
        """AX = E820h."""
        assert self.memory_map(bios) == [
            (0, 639 * KIB, 1),
            (639 * KIB, KIB, 2),
            (0xF_0000, 64 * KIB, 2),
            (MIB, 15 * MIB, 1),
            (0xFFFF_0000, 64 * KIB, 2),
        ]

    def memory_map(self, bios: Bios) -> list[tuple[int, int, int]]:
        ranges, ebx = [], 0
        while True:
            found = bios.call(
                0x15, eax=0xE820, ebx=ebx, ecx=24, edx=0x534D4150, es=SEGMENT, edi=0xFFFF_0008
            )
            assert (found.cf, found.eax, found.ecx) == (False, 0x534D4150, 20)
            ranges.append(struct.unpack("<QQI", bios.read(BUFFER + 8, 20)))
            ebx = found.ebx
            if not ebx:
                return ranges

    def test_the_memory_map_asked_for_wrongly(self, bios: Bios) -> None:
        """Without "SMAP", with too little room, or past its end."""
        good = {"eax": 0xE820, "ebx": 0, "ecx": 20, "edx": 0x534D4150, "es": SEGMENT}
        for wrong in ({"edx": 0}, {"ecx": 19}, {"ebx": 5}):
            found = bios.call(0x15, **good | wrong)
            assert (found.cf, found.ah) == (True, 0x86)

    @pytest.mark.parametrize(
        ("memory", "kib", "above"), [("1M", 0, 0), ("17M", 0x3C00, 16), ("128M", 0x3C00, 0x700)]
    )
    def test_other_sizes(self, caller: bytes, memory: str, kib: int, above: int) -> None:
        bios = Bios(Ours.start(image=caller[:510], memory=memory))
        bios.wait(b"\n")
        sizes = bios.call(0x15, eax=0xE801)

        assert (sizes.ax, sizes.bx) == (kib, above)
        total = {base: length for base, length, _ in self.memory_map(bios)}[MIB]
        assert total == bios.line.vm.memory.ram.size - MIB
        bios.close()

    def test_copying(self, bios: Bios) -> None:
        """AH = 87h: between any two places; A20 and the caller's GDT are as they were."""
        for on in (1, 0):
            bios.call(0x15, eax=0x2400 | on)
            bios.write(BUFFER, bytes(range(200)))
            self.copy(bios, BUFFER, 3 * MIB + 5, 100)
            bios.write(BUFFER, bytes(200))
            self.copy(bios, 3 * MIB + 5, BUFFER + 0x300, 99)
            assert bios.read(BUFFER + 0x300, 200) == bytes(range(198)) + bytes(2)
            assert bios.call(0x15, eax=0x2402).al == on
        bios.call(0x15, eax=0x2401)

    def copy(self, bios: Bios, source: int, target: int, words: int) -> None:
        def descriptor(base: int) -> bytes:
            low = struct.pack("<HHBB", 0xFFFF, base & 0xFFFF, base >> 16 & 0xFF, 0x93)
            return low + bytes([0, base >> 24])

        table = bytes(16) + descriptor(source) + descriptor(target) + bytes(16)
        bios.write(BUFFER + 0x1000, table)
        done = bios.call(0x15, eax=0x8700, ecx=words, es=SEGMENT + 0x100, esi=0)
        assert (done.cf, done.ah, done.es) == (False, 0, SEGMENT + 0x100)

    def test_features(self, bios: Bios) -> None:
        """AH = C0h: an AT with two 8259s, a clock, a keyboard hook and an EBDA, which C1h tells."""
        found = bios.call(0x15, eax=0xC000)

        assert (found.cf, found.ah) == (False, 0)
        assert bios.read(found.es * 16 + found.bx, 10) == bytes.fromhex("0800 fc0100 74 00000000")
        assert bios.call(0x15, eax=0xC100).es == 0x9FC0
        assert bios.read(0x9_FC00, 1) == b"\1"

    def test_waiting(self, ours: Bios) -> None:
        """AH = 86h: CX:DX microseconds, by refreshes of 15 us.  QEMU's come as fast as one looks."""
        clock = ours.line.vm.clock

        def took(us: int) -> int:
            began_ns = clock.now_ns
            ours.call(0x15, eax=0x8600, ecx=us >> 16, edx=us & 0xFFFF)
            return clock.now_ns - began_ns

        assert took(100_000) - took(0) == pytest.approx(100_000_000, rel=0.01)

    def test_the_keyboard_s_hook_lets_keys_pass(self, bios: Bios) -> None:
        """AH = 4Fh; and what is not done is said so."""
        assert bios.call(0x15, eax=0x4F1E).eax == 0x4F1E
        assert bios.call(0x15, eax=0x4F1E).cf
        for eax in (0x0000, 0x5300, 0xC200, 0xE881):
            found = bios.call(0x15, eax=eax, flags=IF)
            assert (found.cf, found.ax) == (True, 0x8600 | eax & 0xFF)


class TestInt16:
    def empty(self, bios: Bios) -> None:
        while not bios.call(0x16, eax=0x0100).zf:
            bios.call(0x16)

    @pytest.mark.parametrize(
        ("character", "key"),
        [
            (b"a", 0x1E61),
            (b"Z", 0x2C5A),
            (b"1", 0x0231),
            (b"!", 0x0221),
            (b" ", 0x3920),
            (b"\r", 0x1C0D),
            (b"\n", 0x1C0A),
            (b"\t", 0x0F09),
            (b"\x08", 0x0E08),
            (b"\x7f", 0x0E08),
            (b"\x1b", 0x011B),
            (b"\x03", 0x2E03),
            (b"\x1a", 0x2C1A),
            (b"~", 0x297E),
            (b"\\", 0x2B5C),
            (b"\xe4", 0x00E4),
        ],
    )
    def test_a_character_of_COM1_is_a_key(self, bios: Bios, character: bytes, key: int) -> None:
        """AH = 00h and 10h wait for it."""
        self.empty(bios)

        assert bios.call(0x16, eax=0x0000, meanwhile=character).ax == key
        assert bios.call(0x16, eax=0x1000, meanwhile=character).ax == key

    def test_looking(self, bios: Bios) -> None:
        """AH = 01h and 11h: the key stays."""
        self.empty(bios)
        assert bios.call(0x16, eax=0x0100, flags=IF) == Registers(eax=0x0100, flags=IF | ZF | 2)

        bios.call(0x16, eax=0x0500, ecx=0x1E61)
        for eax in (0x0100, 0x1100, 0x0100):
            assert bios.call(0x16, eax=eax, flags=IF | ZF) == Registers(eax=0x1E61)
        assert bios.call(0x16).ax == 0x1E61
        assert bios.call(0x16, eax=0x1100).zf

    def test_the_ring_has_room_for_15(self, bios: Bios) -> None:
        """AH = 05h: AL = 1 where there is none; they come in order, round the ring's end, too."""
        self.empty(bios)
        for first in (1, 100, 200):
            put = [bios.call(0x16, eax=0x05FF, ecx=first + number).ax for number in range(16)]
            assert put == [0x0500] * 15 + [0x0501]
            assert [bios.call(0x16).ax for _ in range(15)] == [*range(first, first + 15)]
            bios.call(0x16, eax=0x0500, ecx=7)
            bios.call(0x16)

    def test_no_key_is_shifted(self, bios: Bios) -> None:
        """AH = 02h and 12h; others do nothing."""
        assert bios.call(0x16, eax=0x02FF).ax == 0x0200
        assert bios.call(0x16, eax=0x12FF).ax == 0
        assert bios.call(0x16, eax=0x0305).ax == 0x0305


class TestKeyboard:
    """IRQ 1, by scan codes that a command of the controller's says have come from the keyboard."""

    def press(self, bios: Bios, *codes: int) -> None:
        """Each code as the keyboard's: the controller's command D2h."""
        for code in codes:
            vm = bios.line.vm
            vm.board.slot.ports.write(0x64, 0xD2, 1)
            vm.board.slot.ports.write(0x60, code, 1)
            bios.call(0x11)  # the guest goes on, and the interrupt is served

    def keys(self, bios: Bios) -> list[int]:
        found = []
        while not (seen := bios.call(0x16, eax=0x0100)).zf:
            assert bios.call(0x16).ax == seen.ax
            found.append(seen.ax)
        return found

    @pytest.mark.parametrize(
        ("codes", "expected"),
        [
            ("1e 9e", [0x1E61]),
            ("2a 1e 9e aa 1e", [0x1E41, 0x1E61]),
            ("36 03 83 b6", [0x0340]),
            ("3a ba 1e 02 2a 1e aa 3a ba 1e", [0x1E41, 0x0231, 0x1E61, 0x1E61]),
            ("3a 3a 3a ba 1e", [0x1E41]),
            ("1d 2e ae 9d", [0x2E03]),
            ("1d 03 07 0c 1c 02 9d", [0x0300, 0x071E, 0x0C1F, 0x1C0A]),
            ("38 2d b8", [0x2D00]),
            ("38 02 0d 39 1c b8", [0x7800, 0x8300, 0x3920]),
            ("e0 38 10 e0 b8 10", [0x1000, 0x1071]),
            ("0f 2a 0f aa", [0x0F09, 0x0F00]),
            ("1c e0 1c e0 9c", [0x1C0D, 0x1C0D]),
            ("e0 35 35", [0x352F, 0x352F]),
            ("3b 44 57 58", [0x3B00, 0x4400, 0x8500, 0x8600]),
            ("2a 3b 57 aa", [0x5400, 0x8700]),
            ("1d 3b 57 9d", [0x5E00, 0x8900]),
            ("38 3b 57 b8", [0x6800, 0x8B00]),
            ("47 48 4b 53", [0x4700, 0x4800, 0x4B00, 0x5300]),
            ("45 c5 47 48 4c 53", [0x4737, 0x4838, 0x4C35, 0x532E]),
            ("45 c5 2a 47 aa", [0x4700]),
            ("2a 47 aa", [0x4737]),
            ("4a 4e", [0x4A2D, 0x4E2B]),
            ("45 c5 e0 48 e0 c8", [0x4800]),
            ("e0 2a e0 47 e0 c7 e0 aa 1e", [0x4700, 0x1E61]),
            ("1d 4b 4d 9d e0 1d e0 4b e0 9d", [0x7300, 0x7400, 0x7300]),
            ("e0 52 e0 d2", [0x5200]),
            ("56 2a 56 aa", [0x565C, 0x567C]),
            ("e1 1d 45 e1 9d c5 1e", [0x1E61]),
            ("1e e0 46 e0 c6", [0x0000]),
            ("59 5b 70 e0 5b", []),
        ],
    )
    def test_scan_codes(self, ours: Bios, codes: str, expected: list[int]) -> None:
        """AT Technical Reference, "Keyboard", character codes."""
        self.press(ours, *bytes.fromhex(codes))

        assert self.keys(ours) == expected

    def test_what_is_held_and_locked(self, ours: Bios) -> None:
        """AH = 02h."""
        states = []
        for codes in ("36", "2a", "1d", "38", "b6 aa 9d b8", "3a ba", "45 c5", "46 c6", "52 d2"):
            self.press(ours, *bytes.fromhex(codes))
            states.append(ours.call(0x16, eax=0x0200).al)

        assert states == [0x01, 0x03, 0x07, 0x0F, 0x00, 0x40, 0x60, 0x70, 0xF0]

    def test_typing(self, ours: Bios) -> None:
        """A keyboard with a typist: all goes through the controller."""
        ours.line.vm.keyboard.type("Hi, 5!\n")

        assert [ours.call(0x16).ax for _ in range(7)] == [
            *(0x2348, 0x1769, 0x332C, 0x3920, 0x0635, 0x0221, 0x1C0D)
        ]

    def test_both_come_in_one_queue(self, ours: Bios) -> None:
        """A key and a character of COM1."""
        assert ours.call(0x16, meanwhile=b"b").ax == 0x3062
        self.press(ours, 0x1E)
        assert ours.call(0x16).ax == 0x1E61
        assert ours.call(0x16, meanwhile=b"b").ax == 0x3062

    def test_Ctrl_Alt_Del_boots(self, ours: Bios) -> None:
        self.press(ours, 0x1D, 0x38)
        vm = ours.line.vm
        vm.board.slot.ports.write(0x64, 0xD2, 1)
        vm.board.slot.ports.write(0x60, 0x53, 1)

        assert ours.wait(b"7C00\r\n") == b"emu ROM: guest at 0000:7C00\r\n"


class TestInt1A:
    def test_ticks(self, bios: Bios) -> None:
        """AH = 01h sets them, AH = 00h tells them, and once that midnight has passed."""
        bios.call(0x1A, eax=0x0100, ecx=0x0018, edx=0x00AF)
        passed = [bios.call(0x1A, eax=0x00FF)]
        while passed[-1].cx == 0x18:
            passed.append(bios.call(0x1A, eax=0x00FF))

        assert {each.ax for each in passed[:-1]} <= {0x0000}
        assert passed[-1].ax == 0x0001
        assert passed[-1].dx < 0x100
        assert bios.call(0x1A, eax=0x00FF).ax == 0x0000

    def test_time_and_date(self, bios: Bios) -> None:
        """AH = 03h and 05h set them, 02h and 04h tell them."""
        assert not bios.call(0x1A, eax=0x0300, ecx=0x2358, edx=0x3000).cf
        assert not bios.call(0x1A, eax=0x0500, ecx=0x1999, edx=0x1231).cf
        time, date = bios.call(0x1A, eax=0x0200), bios.call(0x1A, eax=0x0400)

        assert (time.cf, time.cx, time.dx & 0xFFFF in (0x3000, 0x3100)) == (False, 0x2358, True)
        assert (date.cf, date.cx, date.dx) == (False, 0x1999, 0x1231)

    def test_daylight_saving(self, ours: Bios) -> None:
        """DL = 1; setting the date leaves it."""
        ours.call(0x1A, eax=0x0300, ecx=0x1200, edx=0x0001)
        ours.call(0x1A, eax=0x0500, ecx=0x2001, edx=0x0203)
        assert ours.call(0x1A, eax=0x0200).dx & 0xFF == 1
        ours.call(0x1A, eax=0x0300, ecx=0x1200, edx=0x0000)
        assert ours.call(0x1A, eax=0x0200).dx & 0xFF == 0

    @pytest.mark.parametrize("function", [0x06, 0x07, 0x80, 0xB1])
    def test_what_is_not_done(self, bios: Bios, function: int) -> None:
        found = bios.call(0x1A, eax=function << 8 | 0x01)
        assert (found.cf, found.ax) == (True, function << 8 | 0x01)

    @pytest.mark.parametrize(
        ("base_s", "ticks"),
        [(0, 0), (3600, 65_543), (86_399, 0x1800B0 - 18), (86_400 * 9 + 60, 1092)],
    )
    def test_at_power_on_the_ticks_are_those_since_midnight(
        self, caller: bytes, base_s: int, ticks: int
    ) -> None:
        """By the clock: 1,193,182 / 65,536 a second."""
        bios = Bios(Ours.start(image=caller[:510], rtc_base=base_s))
        bios.wait(b"\n")
        found = bios.call(0x1A)

        assert ticks <= (found.cx << 16 | found.dx) <= ticks + 2
        bios.close()


class TestOthers:
    @pytest.mark.parametrize("vector", [0x05, 0x1B, 0x1C, 0x00, 0x41, 0x4A, 0x60, 0xFF])
    def test_what_nobody_has_taken_returns(self, bios: Bios, vector: int) -> None:
        if vector == 0x41:
            vector = 0x43  # INT 41h is a table's place
        assert bios.call(vector, eax=0x1234) == Registers(eax=0x1234)

    @pytest.mark.parametrize("vector", [0x0A, 0x0F, 0x70, 0x77])
    def test_a_vector_of_the_hardware_s_that_is_called_returns(
        self, bios: Bios, vector: int
    ) -> None:
        """No interrupt is ended that was none: the timer goes on."""
        assert bios.call(vector, eax=0x1234) == Registers(eax=0x1234)
        before = bios.call(0x1A).dx
        assert bios.call(0x14, eax=0x0200).ah == 0x80  # two seconds later
        assert bios.call(0x1A).dx > before
