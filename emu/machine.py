"""A machine: power, reset, boot order, saving and loading; what a user holds in the hand.

    vm = emu.Machine(image="hello")            power-on
    vm.run(until=emu.serial("Hello"))          run; says why it stopped
    vm.save("hello.emu")                       everything, into one file
    vm = emu.load("hello.emu")                 the same machine, in this process or another

What happens between `run` and its return is the run loop's (runloop.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import BinaryIO, Protocol, Self

from emu import attrs, desk, drives, images, inputs, nameplate
from emu.board import BOARDS, Board, Options, Outside, Part
from emu.clock import Clock
from emu.cpu import state as cpu_state
from emu.cpu.choose import Chosen, choose
from emu.cpu.engine import EngineChoice
from emu.cpu.models import Model
from emu.errors import ConfigError, HostError, StreamError
from emu.host import ends
from emu.host.ends import HostEnd
from emu.images import Source as File
from emu.inputs import Input, Source
from emu.isa import Slot
from emu.kernels.placement import Placement
from emu.memory import ROM_MOST, Memory, parse_size
from emu.runloop import RunLoop
from emu.savevm import stream
from emu.savevm.sections import Dialect, Foreign, Reader
from emu.savevm.stream import Progress, Stream, untold
from emu.until import After, AtClock, Condition, SerialText, Stopped

DEFAULT_MEMORY = "16M"
RTC_BASE_MOST_S = (1 << 40) - 1
DEFAULT_RTC_BASE = datetime(2000, 1, 1, tzinfo=UTC)  # the same every time, so that runs are, too

CardFactory = Callable[[Slot], object]


class Front(Protocol):
    """Whoever sits before the machine while it runs: paces it, takes commands."""

    def attend(self, vm: Machine) -> None:
        """Called between slices, every few milliseconds; may wait, `vm.save` and `vm.stop`."""


class Machine:
    """A PC.  Every parameter has a default; see `emu.cli` for what the command line makes of them.

    *image* is a guest: a floppy or a disk whose boot sector our ROM enters at 7C00h, or a program
    that it loads there (`emu.drives` says which).  *floppy* and *disk* are what is in those drives.
    *bios* is a ROM to use instead of ours.

    *kernel* is a Linux bzImage or a Multiboot kernel, with its *initrd* (for Multiboot: modules,
    "FILE WORDS,FILE WORDS") and, as *append*, its command line; it is entered at power-on and at each
    reset, and firmware never runs.  *load* are flat images, (file, address), entered so too: at
    *entry*, or else at the first one's address.

    *serial* and *debugcon* are host ends: a specification (``stdio``, ``file:PATH``, ``unix:PATH``,
    ``tcp:HOST:PORT``, ``pty``, ``none``) or an object of `emu.host.ends`.  *rtc_base* is a `datetime`
    or seconds since 1970.  *cards* are functions that plug a card of the caller's into the slot
    they are given.

    Raises ConfigError for a machine that cannot be built, HostError for a file that cannot be read.
    """

    def __init__(
        self,
        image: File | None = None,
        *,
        board: str = "isapc",
        cpu: str = "pentium3",
        memory: int | str = DEFAULT_MEMORY,
        bios: File | None = None,
        floppy: File | None = None,
        disk: File | None = None,
        kernel: File | None = None,
        initrd: File | None = None,
        append: str = "",
        load: Sequence[tuple[File, int]] = (),
        entry: int | None = None,
        boot: str | None = None,
        serial: str | HostEnd = "none",
        debugcon: str | HostEnd = "none",
        engine: str = "auto",
        rtc_base: datetime | int = DEFAULT_RTC_BASE,
        cards: Iterable[CardFactory] = (),
    ) -> None:
        files = drives.files(image, floppy, disk)
        rom = images.rom(bios, ROM_MOST)
        if board not in BOARDS:
            raise ConfigError(f"no board {board!r}: there is {', '.join(BOARDS)}")
        models = [model.value for model in Model]
        if cpu not in models:
            raise ConfigError(f"no processor {cpu!r}: there are {', '.join(models)}")
        base_s = rtc_base if isinstance(rtc_base, int) else int(rtc_base.timestamp())
        if not 0 <= base_s <= RTC_BASE_MOST_S:
            raise ConfigError(f"rtc_base {rtc_base}: expected a time from 1970 on")
        options = Options(Model(cpu), parse_size(memory), base_s)
        placement = None
        if kernel is not None or initrd is not None or append or load or entry is not None:
            from emu.kernels import files as kernels

            placement = kernels.place(kernel, initrd, append, load, entry, options.memory_bytes)
            if image is not None:
                raise ConfigError("a kernel and a guest for the ROM exclude each other")
            options = attrs.evolve(options, parts=(*options.parts, Part.LOADER))
        self._build(board, options, rom, files, placement, choose(_choice(engine)), cards)
        try:
            self._board.reset()
            if boot is not None:
                self._set_boot_order(boot)
            self._connect(serial, debugcon)
        except BaseException:
            self.close()
            raise

    def _build(
        self,
        board: str,
        options: Options,
        rom: bytes,
        files: dict[str, bytes],
        placement: Placement | None,
        chosen: Chosen,
        cards: Iterable[CardFactory],
    ) -> None:
        self.engine = chosen
        self.no_reboot = False
        self.notice: Callable[[str], None] = lambda _line: None
        self.serial = desk.SerialPort(self.enter, self._serial_space)
        self.keyboard = desk.Keyboard(self.enter, self._keyboard_space)
        self.mouse = desk.Mouse(self.enter, self._held_buttons)
        self._ends: list[HostEnd] = []
        self._clock = Clock(options.costs)
        outside = Outside(self._serial_out, self._debug_out, self._leave, self._ask_reset)
        self._board: Board = BOARDS[board](
            options, outside, rom, files, placement, chosen.make, self._clock
        )
        self._is_on = True
        self._nameplate = nameplate.describe(board, options, len(rom))
        slot = self._board.slot
        slot.registry.register_state(nameplate.SAVED, self._nameplate, head=True)
        self._inputs = inputs.attach(slot, self._apply)
        self._loop = RunLoop(self._board, self._clock, self._inputs, self.serial, self._shut_down)
        try:
            for plug_in in cards:
                plug_in(slot)
        except BaseException:
            self.close()
            raise

    def _connect(self, serial: str | HostEnd, debugcon: str | HostEnd) -> None:
        self.serial.end = self._open(serial)
        self._debug_end = self._open(debugcon)

    def _open(self, end: str | HostEnd) -> HostEnd:
        if isinstance(end, str):
            end = ends.open_end(end)
        self._ends.append(end)
        return end

    def close(self) -> None:
        """Switch off: host ends are closed, memory goes back to the host.  Twice is once."""
        if self._is_on:
            self._is_on = False
            for end in self._ends:
                end.close()
            self._board.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- looking --------------------------------------------------------------------------

    @property
    def clock(self) -> Clock:
        """The machine's time; `clock.now_ns` counts from power-on."""
        return self._clock

    @property
    def memory(self) -> Memory:
        """Physical memory: ``vm.memory[a:b]``, ``vm.memory.write(address, data)``."""
        return self._board.memory

    @property
    def cpu(self) -> cpu_state.State:
        """The processor's registers by name, as they are now: a copy."""
        return self._board.processor.state

    @property
    def board(self) -> Board:
        return self._board

    @property
    def description(self) -> nameplate.State:
        """Which machine this is: board, processor, sizes."""
        return self._nameplate.state

    @property
    def inputs(self) -> inputs.Inputs:
        """The log through which everything from outside enters."""
        return self._inputs

    @property
    def ends(self) -> Sequence[HostEnd]:
        """The host's side of it: what serial port and debug console lead to."""
        return self._ends

    def digest(self) -> str:
        """What stands for the whole state: equal digests, equal machines.  FORMAT.md defines it."""
        from emu.savevm import digest

        return digest.digest_of(self._board.slot.registry)

    # --- what comes from outside ----------------------------------------------------------

    def enter(self, source: Source, data: bytes = b"") -> None:
        """Let something happen to the machine, now, between two blocks."""
        for start in range(0, max(1, len(data)), inputs.DATA_MOST):
            piece = data[start : start + inputs.DATA_MOST]
            self._inputs.enter(Input(self._clock.now_ns, source, piece))

    def reset(self) -> None:
        """Press the reset button."""
        self.enter(Source.RESET)

    def boot_set(self, order: str) -> None:
        """Set the boot order, ``"cda"``: disk, CD, floppy; ConfigError for what is none."""
        self.enter(Source.BOOT_SET, order.encode())

    def _apply(self, what: Input) -> None:
        match what.source:
            case Source.SERIAL:
                if self._board.cable is None:
                    raise ConfigError("this machine has no serial port to send to")
                if len(what.data) > self._board.cable.space():
                    raise HostError("serial port: more was sent than can wait for the guest")
                self._board.cable.send(what.data)
            case Source.RESET:
                self._board.reset()
            case Source.BOOT_SET:
                self._set_boot_order(what.data.decode(errors="replace"))
            case Source.KEYBOARD:
                self._type(what.data)
            case Source.MOUSE:
                self._move_mouse(what.data)

    def _type(self, strokes: bytes) -> None:
        if self._board.typist is None:
            raise ConfigError("this machine has no keyboard to type on")
        if len(strokes) > self._board.typist.space():
            raise HostError("keyboard: more was typed than can wait for the guest")
        self._board.typist.type(strokes)

    def _move_mouse(self, events: bytes) -> None:
        if self._board.mouse is None:
            raise ConfigError("this machine has no mouse to move")
        for right, away, wheel, buttons in desk.mouse_events(events):
            self._board.mouse.move(right, away, wheel)
            self._board.mouse.press(buttons)

    def _serial_space(self) -> int:
        """How many more characters can wait; without a serial port `_apply` says what is wrong."""
        cable = self._board.cable
        return inputs.DATA_MOST if cable is None else cable.space()

    def _keyboard_space(self) -> int:
        """How many more strokes can wait; without a keyboard `_type` says what is wrong."""
        typist = self._board.typist
        return inputs.DATA_MOST if typist is None else typist.space()

    def _held_buttons(self) -> int:
        return 0 if self._board.mouse is None else self._board.mouse.state.buttons

    def _set_boot_order(self, order: str) -> None:
        self._board.slot.boot_set(order)
        self._nameplate.state.boot = order

    # --- what the guest does to the outside -----------------------------------------------

    def _serial_out(self, character: int) -> None:
        data = bytes([character])
        self.serial.end.write(data)
        self._loop.see(data)

    def _debug_out(self, character: int) -> None:
        self._debug_end.write(bytes([character]))

    def _leave(self, value: int) -> None:
        self._loop.leave(value)

    def _ask_reset(self) -> None:
        self._loop.ask_reset()

    def _shut_down(self) -> bool:
        """A triple fault: True if the machine is to be reset."""
        self.notice(f"triple fault\n{cpu_state.describe(self.cpu)}")
        return not self.no_reboot

    # --- running --------------------------------------------------------------------------

    def stop(self) -> None:
        """End the run under way at the next sampling point; from a callback or a signal handler."""
        self._loop.stop()

    def run(
        self, until: Condition | Sequence[Condition] = (), *, front: Front | None = None
    ) -> Stopped:
        """Run until a condition of *until* is met or the guest cannot go on; says which it was."""
        conditions = [until] if isinstance(until, SerialText | After | AtClock) else until
        return self._loop.run(conditions, None if front is None else lambda: front.attend(self))

    # --- saving and loading ---------------------------------------------------------------

    def save(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        dialect: Dialect | str = Dialect.EMU,
        *,
        progress: Progress = untold,
    ) -> None:
        """Save everything to a file, whole or not at all, or to a binary file object.

        *progress* is told as it goes on how many bytes have been written.

        Raises ExportError where the dialect cannot express what the machine holds, HostError
        where the host refuses.
        """
        from emu import qemu
        from emu.savevm.files import save_file
        from emu.savevm.live import Saving

        chosen = Dialect(dialect) if isinstance(dialect, str) else dialect
        # The engine's TLB is in no save: who goes on from here starts with an empty one, too.
        self._board.processor.engine.flush_tlb()

        name, foreign = self._board.name, Foreign()
        if chosen is Dialect.QEMU_7_2:
            name, foreign = qemu.MACHINE, qemu.foreign(self._board)

        def write(f: Stream) -> None:
            Saving(self._board.slot.registry, f, name, chosen, foreign).save_whole()

        if isinstance(target, str | os.PathLike):
            save_file(target, write, progress)
        else:
            f = stream.open_file(target, writing=True, progress=progress)
            write(f)
            f.fflush()

    def load(
        self, source: str | os.PathLike[str] | BinaryIO, *, progress: Progress = untold
    ) -> None:
        """Become the machine that was saved in *source*, which must be one like this.

        *progress* is told as it goes on how many bytes have been read.

        Raises StreamError where it is refused, and then nothing has changed.
        """
        from emu import qemu
        from emu.savevm.load import read_head

        f, close = _open_save(source, progress)
        try:
            reader = Reader(f)
            if reader.dialect is Dialect.EMU:
                theirs = read_head(reader, nameplate.SAVED)
                nameplate.check_same(self._nameplate.state, theirs)
                self._load(reader)
            else:
                qemu.check(reader)
                self._load(reader, qemu.foreign(self._board))
        finally:
            close()

    def _load(self, reader: Reader, foreign: Foreign | None = None) -> None:
        from emu.savevm.load import load as load_stream

        load_stream(reader, self._board.slot.registry, foreign)
        self._board.processor.engine.invalidate_all()
        self._loop.forget_reset()


def load(
    source: str | os.PathLike[str] | BinaryIO,
    *,
    serial: str | HostEnd = "none",
    debugcon: str | HostEnd = "none",
    engine: str = "auto",
    cards: Iterable[CardFactory] = (),
    progress: Progress = untold,
) -> Machine:
    """The machine that was saved in *source*, in the very state it was saved in.

    *serial* and *debugcon* are the host's side of it anew; *cards* must plug in what the caller
    plugged in then.  Raises StreamError, with section, field and offset, for a save that is damaged
    or is no save, HostError for a file that cannot be read.
    """
    from emu.savevm.load import read_head

    f, close = _open_save(source, progress)
    try:
        reader = Reader(f)
        if reader.dialect is not Dialect.EMU:
            raise StreamError(
                "a save of QEMU's; it is loaded into a machine that is there: Machine(...).load()"
            )
        state = read_head(reader, nameplate.SAVED)
        options = nameplate.options_from(state)
        chosen = choose(_choice(engine))
        vm = Machine.__new__(Machine)
        rom = bytes(state.rom_bytes)  # what is in it comes with the save, as RAM does
        try:
            vm._build(  # noqa: SLF001 - the other way to make one
                state.board, options, rom, {}, None, chosen, cards
            )
        except ConfigError as error:
            raise StreamError(str(error), section=nameplate.NAME) from error
        try:
            vm._load(reader)  # noqa: SLF001
            vm._connect(serial, debugcon)  # noqa: SLF001
        except BaseException:
            vm.close()
            raise
        return vm
    finally:
        close()


# ==== helpers =============================================================================


def _open_save(
    source: str | os.PathLike[str] | BinaryIO, progress: Progress
) -> tuple[Stream, Callable[[], None]]:
    if isinstance(source, str | os.PathLike):
        f = stream.open(source, "rb", progress)
        return f, f.fclose
    return stream.open_file(source, writing=False, progress=progress), lambda: None


def _choice(name: str) -> EngineChoice:
    try:
        return EngineChoice(name)
    except ValueError:
        names = ", ".join(each.value for each in EngineChoice)
        raise ConfigError(f"no engine {name!r}: there are {names}") from None
