"""The keys of a 101/102-key keyboard: where they are, what codes they have, what a US one prints.

A key is known by its number in IBM's drawing of the keyboard, whatever is printed on it:

     110   112-115 116-119 120-123   124 125 126
       1  2  3  4  5  6  7  8  9 10 11 12 13  15    75 80 85    90  95 100 105
      16 17 18 19 20 21 22 23 24 25 26 27 28  29    76 81 86    91  96 101 106
      30 31 32 33 34 35 36 37 38 39 40 41 42  43                92  97 102
      44 45 46 47 48 49 50 51 52 53 54 55     57       83       93  98 103 108
      58    60          61          62        64    79 84 89      99   104

29 is on the 101-key keyboard alone, 42 and 45 on the 102-key one; 29 and 42 have the same code.

A keystroke, in a recording as in a save, is a byte: the number, with bit 7 set when the key
is let go.

Sources: IBM PS/2 Hardware Interface Technical Reference, "101- and 102-Key Keyboards": the
drawing, and the tables of scan code sets 1 and 2.
"""

from __future__ import annotations

import enum
import re

from emu.errors import ConfigError

LET_GO = 0x80  # bit 7 of a keystroke

EXTENDED = 0xE0  # before the code of a key that the 84-key keyboard had not
EXTENDED_PAUSE = 0xE1


class Key(enum.IntEnum):
    """A key by its number; named by what a US keyboard prints on it."""

    GRAVE = 1
    DIGIT_1 = 2
    DIGIT_2 = 3
    DIGIT_3 = 4
    DIGIT_4 = 5
    DIGIT_5 = 6
    DIGIT_6 = 7
    DIGIT_7 = 8
    DIGIT_8 = 9
    DIGIT_9 = 10
    DIGIT_0 = 11
    MINUS = 12
    EQUALS = 13
    BACKSPACE = 15
    TAB = 16
    Q = 17
    W = 18
    E = 19
    R = 20
    T = 21
    Y = 22
    U = 23
    I = 24  # noqa: E741 - it is what the key is called
    O = 25  # noqa: E741
    P = 26
    LEFT_BRACKET = 27
    RIGHT_BRACKET = 28
    BACKSLASH = 29
    CAPS_LOCK = 30
    A = 31
    S = 32
    D = 33
    F = 34
    G = 35
    H = 36
    J = 37
    K = 38
    L = 39
    SEMICOLON = 40
    APOSTROPHE = 41
    HASH_102 = 42
    ENTER = 43
    LEFT_SHIFT = 44
    ANGLE_102 = 45
    Z = 46
    X = 47
    C = 48
    V = 49
    B = 50
    N = 51
    M = 52
    COMMA = 53
    PERIOD = 54
    SLASH = 55
    RIGHT_SHIFT = 57
    LEFT_CTRL = 58
    LEFT_ALT = 60
    SPACE = 61
    RIGHT_ALT = 62
    RIGHT_CTRL = 64
    INSERT = 75
    DELETE = 76
    LEFT = 79
    HOME = 80
    END = 81
    UP = 83
    DOWN = 84
    PAGE_UP = 85
    PAGE_DOWN = 86
    RIGHT = 89
    NUM_LOCK = 90
    KEYPAD_7 = 91
    KEYPAD_4 = 92
    KEYPAD_1 = 93
    KEYPAD_DIVIDE = 95
    KEYPAD_8 = 96
    KEYPAD_5 = 97
    KEYPAD_2 = 98
    KEYPAD_0 = 99
    KEYPAD_MULTIPLY = 100
    KEYPAD_9 = 101
    KEYPAD_6 = 102
    KEYPAD_3 = 103
    KEYPAD_PERIOD = 104
    KEYPAD_MINUS = 105
    KEYPAD_PLUS = 106
    KEYPAD_ENTER = 108
    ESC = 110
    F1 = 112
    F2 = 113
    F3 = 114
    F4 = 115
    F5 = 116
    F6 = 117
    F7 = 118
    F8 = 119
    F9 = 120
    F10 = 121
    F11 = 122
    F12 = 123
    PRINT_SCREEN = 124
    SCROLL_LOCK = 125
    PAUSE = 126


# The make codes in sets 1 and 2, row by row of the drawing.  Those of Print Screen and Pause are the
# keyboard's to make: they depend on other keys, or come several at once.
CODES: dict[Key, tuple[int, int]] = {
    Key.ESC: (0x01, 0x76),
    Key.F1: (0x3B, 0x05),
    Key.F2: (0x3C, 0x06),
    Key.F3: (0x3D, 0x04),
    Key.F4: (0x3E, 0x0C),
    Key.F5: (0x3F, 0x03),
    Key.F6: (0x40, 0x0B),
    Key.F7: (0x41, 0x83),
    Key.F8: (0x42, 0x0A),
    Key.F9: (0x43, 0x01),
    Key.F10: (0x44, 0x09),
    Key.F11: (0x57, 0x78),
    Key.F12: (0x58, 0x07),
    Key.SCROLL_LOCK: (0x46, 0x7E),
    Key.GRAVE: (0x29, 0x0E),
    Key.DIGIT_1: (0x02, 0x16),
    Key.DIGIT_2: (0x03, 0x1E),
    Key.DIGIT_3: (0x04, 0x26),
    Key.DIGIT_4: (0x05, 0x25),
    Key.DIGIT_5: (0x06, 0x2E),
    Key.DIGIT_6: (0x07, 0x36),
    Key.DIGIT_7: (0x08, 0x3D),
    Key.DIGIT_8: (0x09, 0x3E),
    Key.DIGIT_9: (0x0A, 0x46),
    Key.DIGIT_0: (0x0B, 0x45),
    Key.MINUS: (0x0C, 0x4E),
    Key.EQUALS: (0x0D, 0x55),
    Key.BACKSPACE: (0x0E, 0x66),
    Key.TAB: (0x0F, 0x0D),
    Key.Q: (0x10, 0x15),
    Key.W: (0x11, 0x1D),
    Key.E: (0x12, 0x24),
    Key.R: (0x13, 0x2D),
    Key.T: (0x14, 0x2C),
    Key.Y: (0x15, 0x35),
    Key.U: (0x16, 0x3C),
    Key.I: (0x17, 0x43),
    Key.O: (0x18, 0x44),
    Key.P: (0x19, 0x4D),
    Key.LEFT_BRACKET: (0x1A, 0x54),
    Key.RIGHT_BRACKET: (0x1B, 0x5B),
    Key.BACKSLASH: (0x2B, 0x5D),
    Key.CAPS_LOCK: (0x3A, 0x58),
    Key.A: (0x1E, 0x1C),
    Key.S: (0x1F, 0x1B),
    Key.D: (0x20, 0x23),
    Key.F: (0x21, 0x2B),
    Key.G: (0x22, 0x34),
    Key.H: (0x23, 0x33),
    Key.J: (0x24, 0x3B),
    Key.K: (0x25, 0x42),
    Key.L: (0x26, 0x4B),
    Key.SEMICOLON: (0x27, 0x4C),
    Key.APOSTROPHE: (0x28, 0x52),
    Key.HASH_102: (0x2B, 0x5D),
    Key.ENTER: (0x1C, 0x5A),
    Key.LEFT_SHIFT: (0x2A, 0x12),
    Key.ANGLE_102: (0x56, 0x61),
    Key.Z: (0x2C, 0x1A),
    Key.X: (0x2D, 0x22),
    Key.C: (0x2E, 0x21),
    Key.V: (0x2F, 0x2A),
    Key.B: (0x30, 0x32),
    Key.N: (0x31, 0x31),
    Key.M: (0x32, 0x3A),
    Key.COMMA: (0x33, 0x41),
    Key.PERIOD: (0x34, 0x49),
    Key.SLASH: (0x35, 0x4A),
    Key.RIGHT_SHIFT: (0x36, 0x59),
    Key.LEFT_CTRL: (0x1D, 0x14),
    Key.LEFT_ALT: (0x38, 0x11),
    Key.SPACE: (0x39, 0x29),
    Key.RIGHT_ALT: (0x38, 0x11),
    Key.RIGHT_CTRL: (0x1D, 0x14),
    Key.INSERT: (0x52, 0x70),
    Key.HOME: (0x47, 0x6C),
    Key.PAGE_UP: (0x49, 0x7D),
    Key.DELETE: (0x53, 0x71),
    Key.END: (0x4F, 0x69),
    Key.PAGE_DOWN: (0x51, 0x7A),
    Key.UP: (0x48, 0x75),
    Key.LEFT: (0x4B, 0x6B),
    Key.DOWN: (0x50, 0x72),
    Key.RIGHT: (0x4D, 0x74),
    Key.NUM_LOCK: (0x45, 0x77),
    Key.KEYPAD_DIVIDE: (0x35, 0x4A),
    Key.KEYPAD_MULTIPLY: (0x37, 0x7C),
    Key.KEYPAD_MINUS: (0x4A, 0x7B),
    Key.KEYPAD_7: (0x47, 0x6C),
    Key.KEYPAD_8: (0x48, 0x75),
    Key.KEYPAD_9: (0x49, 0x7D),
    Key.KEYPAD_PLUS: (0x4E, 0x79),
    Key.KEYPAD_4: (0x4B, 0x6B),
    Key.KEYPAD_5: (0x4C, 0x73),
    Key.KEYPAD_6: (0x4D, 0x74),
    Key.KEYPAD_1: (0x4F, 0x69),
    Key.KEYPAD_2: (0x50, 0x72),
    Key.KEYPAD_3: (0x51, 0x7A),
    Key.KEYPAD_ENTER: (0x1C, 0x5A),
    Key.KEYPAD_0: (0x52, 0x70),
    Key.KEYPAD_PERIOD: (0x53, 0x71),
}

# Those that have the code of another key, with E0h before it.
EXTENDED_KEYS = frozenset(
    {
        Key.RIGHT_ALT,
        Key.RIGHT_CTRL,
        Key.INSERT,
        Key.HOME,
        Key.PAGE_UP,
        Key.DELETE,
        Key.END,
        Key.PAGE_DOWN,
        Key.UP,
        Key.LEFT,
        Key.DOWN,
        Key.RIGHT,
        Key.KEYPAD_DIVIDE,
        Key.KEYPAD_ENTER,
    }
)


# ==== a US layout =========================================================================

# Rows of keys from the left one on, and what they print without Shift and with it.
_ROWS = (
    (Key.GRAVE, "`1234567890-=", "~!@#$%^&*()_+"),
    (Key.Q, "qwertyuiop[]\\", "QWERTYUIOP{}|"),
    (Key.A, "asdfghjkl;'", 'ASDFGHJKL:"'),
    (Key.Z, "zxcvbnm,./", "ZXCVBNM<>?"),
)

_PLAIN = {
    character: Key(first + index)
    for first, plain, _ in _ROWS
    for index, character in enumerate(plain)
} | {
    " ": Key.SPACE,
    "\n": Key.ENTER,
    "\t": Key.TAB,
    "\b": Key.BACKSPACE,
    "\x1b": Key.ESC,
}
_SHIFTED = {
    character: Key(first + index)
    for first, _, shifted in _ROWS
    for index, character in enumerate(shifted)
}


_ESCAPES = {"n": "\n", "t": "\t", "b": "\b", "e": "\x1b", "\\": "\\"}


def pressed(key: Key) -> bytes:
    """The keystroke of pressing *key*."""
    return bytes([key])


def released(key: Key) -> bytes:
    """The keystroke of letting *key* go."""
    return bytes([key | LET_GO])


def strokes(text: str) -> bytes:
    """The keystrokes that type *text* on a US keyboard, one key after the other.

    Line feed is Enter; tab, backspace and escape are the keys of these names.  ConfigError for a
    character that is on no key.
    """
    typed = []
    for character in text:
        if character in _PLAIN:
            key = _PLAIN[character]
            typed.append(pressed(key) + released(key))
        elif character in _SHIFTED:
            key, shift = _SHIFTED[character], Key.LEFT_SHIFT
            typed.append(pressed(shift) + pressed(key) + released(key) + released(shift))
        else:
            raise ConfigError(f"{character!r} is on no key of a US keyboard")
    return b"".join(typed)


def unescape(text: str) -> str:
    r"""What *text* of a command line stands for: \n Enter, \t Tab, \b Backspace, \e Esc, \\ itself.

    ConfigError for anything else after a backslash.
    """

    def stands_for(escape: re.Match[str]) -> str:
        if escape[1] not in _ESCAPES:
            known = " ".join(_ESCAPES)
            raise ConfigError(f"type: {escape[0]}: a backslash stands before one of {known}")
        return _ESCAPES[escape[1]]

    return re.sub(r"\\(.?)", stands_for, text, flags=re.DOTALL)


def key_named(name: str) -> Key:
    """The key called *name*: "a", "7", "enter", "f1", "left_shift", "keypad_7"; ConfigError if none.

    A character that is printed on a key names it, too; otherwise it is called as in `Key`.
    """
    if name in _PLAIN:
        return _PLAIN[name]
    if name in _SHIFTED:
        return _SHIFTED[name]
    try:
        return Key[name.upper()]
    except KeyError:
        raise ConfigError(f"no key {name!r}") from None
