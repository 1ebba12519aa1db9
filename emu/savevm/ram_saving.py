"""RAM, sent to a save: every page, and again what the guest has changed meanwhile.

Every page is sent, a zero page in nine bytes: so a page that is missing is noticed.

While a guest runs it changes pages that have been sent.  What was sent of each is remembered as a
hash, and pages that differ from theirs are sent again.  (Not what changed since some earlier
look: a page that is changed, sent and changed back has to be sent again too.)

Not saved: that a page was never written; it is zero, which is all the guest can see.
"""

from __future__ import annotations

import struct
import sys
from collections import deque
from collections.abc import Iterator, Sequence

from emu import attrs
from emu.memory import PAGE_BYTES, ZERO_PAGE, Block, page_hash
from emu.savevm import entries
from emu.savevm.pages import (
    CONTINUE,
    EOS,
    FULL_BYTES,
    MEM_SIZE,
    PAGE,
    UNIFORM_BYTES,
    ZERO,
    uniform_run,
)
from emu.savevm.stream import Stream

PART_BYTES = 1 << 20  # so much is sent in a PART, about
SCAN_PAGES = 2048  # and so many pages looked through for changes
BATCH_PAGES = 16  # are read and written at a time: more would not stay in the host's cache

Segment = tuple[str, Block, range, bool]  # name in the stream, RAM, pages, known to be zero


@attrs.define(eq=False)
class RamSaving:
    """One save of RAM; called with each stage."""

    rams: Sequence[tuple[str, Block]]  # by their name in the stream
    any_fill: bool
    live: bool
    _todo: deque[Segment] = attrs.field(init=False, factory=deque)
    _scan: deque[Segment] = attrs.field(init=False, factory=deque)  # what to look through again
    _unchanged: bool = attrs.field(init=False, default=True)  # as far as _scan has come
    _sent: dict[str, dict[int, bytes]] = attrs.field(init=False, factory=dict)  # hashes, not zero's
    _block: str | None = attrs.field(init=False, default=None)  # of the page sent last

    def __call__(self, f: Stream, stage: int) -> bool:
        """Send a stage; True where nothing was left to send."""
        match stage:
            case entries.STAGE_START:
                self._start(f)
            case entries.STAGE_PART:
                self._send(f, PART_BYTES)
                if not self._todo and self.live:
                    self._look_for_changes(SCAN_PAGES)
            case _:
                self._send(f, None)
                if self.live:
                    self._scan = self._all_pages()
                    self._look_for_changes(None)
                    self._send(f, None)
        f.put_be64(EOS)
        return not self._todo and self._unchanged and not self._scan

    def _start(self, f: Stream) -> None:
        f.put_be64(sum(ram.size for _, ram in self.rams) | MEM_SIZE)
        for name, ram in self.rams:
            f.put_name(name)
            f.put_be64(ram.size)
            self._sent[name] = {}
        self._todo = self._all_pages()

    def _all_pages(self) -> deque[Segment]:
        """Every page there is, in order; those never written are known to be zero."""
        pages: deque[Segment] = deque()
        for name, ram in self.rams:
            done = 0
            for run in ram.written():
                pages.append((name, ram, range(done, run.start), True))
                pages.append((name, ram, run, False))
                done = run.stop
            pages.append((name, ram, range(done, ram.pages), True))
        return deque(segment for segment in pages if segment[2])

    # --- sending --------------------------------------------------------------------------

    def _send(self, f: Stream, most: int | None) -> None:
        """Send what is outstanding; with *most* no more than about so many bytes of it.

        Where it stops depends on the pages' contents alone, or on the stream's rate limit.
        """
        left = most if most is not None else sys.maxsize
        while self._todo and left > 0:
            name, ram, pages, zero = self._todo.popleft()
            some = pages[: -(-left // UNIFORM_BYTES)] if zero else pages[:BATCH_PAGES]
            if zero:
                data, used = self._uniform(name, some, 0), UNIFORM_BYTES * len(some)
            else:
                data, some, used = self._contents(name, ram, some, left)
            f.put_buffer(data)
            left -= used
            if len(some) < len(pages):
                self._todo.appendleft((name, ram, pages[len(some) :], zero))
            if most is not None and f.rate_limit():
                return

    def _uniform(self, name: str, pages: range, fill: int) -> bytes:
        if self._block == name:
            return uniform_run(pages.start, len(pages), fill)
        head = self._word(name, pages.start, ZERO) + bytes([fill])
        return head + uniform_run(pages.start + 1, len(pages) - 1, fill)

    def _contents(self, name: str, ram: Block, pages: range, left: int) -> tuple[bytes, range, int]:
        """The bytes of *pages* or of the first of them, which these are, what they count."""
        contents = ram.read(pages.start * PAGE_BYTES, len(pages) * PAGE_BYTES)
        pieces: list[bytes] = []
        used = 0
        for index, number in enumerate(pages):
            page = contents[index * PAGE_BYTES : (index + 1) * PAGE_BYTES]
            fill = self._fill_of(page)
            if fill is None:
                pieces += (self._word(name, number, PAGE), page)
                used += FULL_BYTES
            else:
                pieces.append(self._uniform(name, range(number, number + 1), fill))
                used += UNIFORM_BYTES
            if self.live:
                self._remember(name, number, page)
            if used >= left:
                pages = range(pages.start, number + 1)
                break
        return b"".join(pieces), pages, used

    def _fill_of(self, page: bytes) -> int | None:
        """The byte that *page* consists of, where it can be sent as that."""
        if page == ZERO_PAGE:
            return 0
        fill = page[0]
        if self.any_fill and page[-1] == fill and page == bytes([fill]) * PAGE_BYTES:
            return fill
        return None

    def _word(self, name: str, number: int, flag: int) -> bytes:
        """The word that begins a page, and the block's name where it is needed."""
        word = number * PAGE_BYTES | flag
        if self._block == name:
            return struct.pack(">Q", word | CONTINUE)
        self._block = name
        return struct.pack(">QB", word, len(name)) + name.encode("ascii")

    # --- what the guest has changed -------------------------------------------------------

    def _remember(self, name: str, number: int, page: bytes) -> None:
        if page == ZERO_PAGE:
            self._sent[name].pop(number, None)
        else:
            self._sent[name][number] = page_hash(page)

    def _look_for_changes(self, most: int | None) -> None:
        """Look through *most* pages, or all, for those that are not as they were sent."""
        if not self._scan:
            self._scan = self._all_pages()
            self._unchanged = True
        left = most if most is not None else sys.maxsize
        while self._scan and left > 0:
            name, ram, pages, zero = self._scan.popleft()
            some = pages if zero else pages[:left]
            left -= 0 if zero else len(some)
            if len(some) < len(pages):
                self._scan.appendleft((name, ram, pages[len(some) :], zero))
            for number in self._changed(name, ram, some, zero=zero):
                self._todo.append((name, ram, range(number, number + 1), False))
                self._unchanged = False

    def _changed(self, name: str, ram: Block, pages: range, *, zero: bool) -> Iterator[int]:
        sent = self._sent[name]
        if zero:
            yield from (number for number in sorted(sent) if number in pages)
            return
        for number in pages:
            page = ram.page(number)
            if sent.get(number) != (page_hash(page) if page != ZERO_PAGE else None):
                yield number
