"""The commands.

    emu run [IMAGE]     boot a guest; the terminal is its serial port
    emu restore FILE    go on from a save
    emu inspect FILE    what a save holds, without a machine
    emu verify FILE     check every checksum and field of a save
    emu diff A B        what differs between two saves
    emu info            engine, versions, what was found
    emu demo            a guest saved in mid-sentence and finished in another process

Exit status: 0 done, 1 the guest or the save failed, 2 bad usage; a guest that ends through the
debug-exit port with N makes it (N << 1) | 1, as QEMU does.  Errors are one line on standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import enum
import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

import emu
from emu import arguments as command_line
from emu import images, keys, until
from emu.cpu import preload
from emu.cpu.engine import EngineChoice
from emu.errors import ConfigError, EmuError, HostError
from emu.machine import DEFAULT_RTC_BASE, Machine
from emu.memory import FOUR_GIB
from emu.savevm.sections import Dialect
from emu.savevm.stream import Progress
from emu.tools import progress, session, trace
from emu.tools.console import BY_SIGNAL, Console
from emu.tools.pacing import Pace
from emu.tools.session import DONE, FAILED, Plan

BAD_USAGE = 2
DIFFERENT = 1  # as diff(1) has it

Choice = TypeVar("Choice", bound=enum.Enum)


# ==== run and restore =====================================================================


def _run(arguments: argparse.Namespace) -> int:
    """Everything that is said is looked at before anything happens."""
    plan = _plan(arguments)
    watched = trace.parse(arguments.trace) if arguments.trace is not None else set()
    pace = _choice(Pace, "pace", arguments.pace)
    if pace is Pace.AUTO and plan.replay is not None:
        pace = Pace.OFF
    if arguments.serial == arguments.debugcon == "stdio":
        raise ConfigError("-serial and -debugcon cannot both be stdio")
    with _machine(arguments) as vm:
        console = Console(vm, plan.save, pace)
        vm.no_reboot = arguments.no_reboot
        vm.notice = lambda text: console.say(f"emu: {text}")
        if preload.LOADED == preload.STALE and arguments.engine == EngineChoice.AUTO.value:
            console.say(f"emu: the reference engine runs, which is slow: {preload.STALE}")
        trace.install(vm, watched, console.say)
        if console.has_person:
            console.say("emu: Ctrl-A H for help, Ctrl-A X to leave")
        return session.run(vm, plan, console)


def _plan(arguments: argparse.Namespace) -> Plan:
    if arguments.record is not None and arguments.replay is not None:
        raise ConfigError("--record and --replay exclude each other")
    if arguments.type is not None and arguments.replay is not None:
        raise ConfigError("--type and --replay exclude each other: a recording has what was typed")
    for name in (arguments.save, arguments.record):
        if name is not None:
            _check_can_be_made(name)
    return Plan(
        goals=tuple(until.parse(each) for each in arguments.until),
        limit=until.after(arguments.time) if arguments.time is not None else None,
        save=arguments.save,
        dialect=_choice(Dialect, "dialect", arguments.dialect),
        record=arguments.record,
        replay=arguments.replay,
        text=keys.unescape(arguments.type) if arguments.type is not None else "",
    )


def _check_can_be_made(name: str) -> None:
    """ConfigError where no file can be made, as far as that can be known before."""
    from pathlib import Path

    file = Path(name).absolute()
    try:
        if not file.parent.is_dir():
            raise ConfigError(f"{name}: there is no such folder")
        if file.exists() and not file.is_file():
            raise ConfigError(f"{name}: is there, and is not a file")
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror}") from error


def _machine(arguments: argparse.Namespace) -> Machine:
    """The machine that the arguments ask for, new or restored."""
    ends = {"serial": arguments.serial, "debugcon": arguments.debugcon, "engine": arguments.engine}
    if arguments.command == "restore":
        with _reading(arguments.file) as told:
            return emu.load(arguments.file, progress=told, **ends)
    drives = (arguments.image, arguments.floppy, arguments.disk)
    given = (*drives, arguments.bios, arguments.kernel, arguments.incoming)
    if not any(each is not None for each in given) and not arguments.load:
        raise ConfigError(f"nothing to boot: name a file, or one of {', '.join(images.guests())}")
    vm = Machine(
        arguments.image,
        board=arguments.machine,
        cpu=arguments.cpu,
        memory=arguments.m,
        bios=arguments.bios,
        floppy=arguments.floppy,
        disk=arguments.disk,
        kernel=arguments.kernel,
        initrd=arguments.initrd,
        append=arguments.append,
        load=[_flat(each) for each in arguments.load],
        entry=_address("entry", arguments.entry) if arguments.entry is not None else None,
        boot=arguments.boot,
        rtc_base=_rtc_base(arguments.rtc_base),
        **ends,
    )
    if arguments.incoming is not None:
        try:
            with _reading(arguments.incoming) as told:
                vm.load(arguments.incoming, progress=told)
        except EmuError:
            vm.close()
            raise
    return vm


def _reading(path: str) -> contextlib.AbstractContextManager[Progress]:
    """Shows how much of a save has been read."""
    try:
        size = os.stat(path).st_size  # noqa: PTH116 - None of a pipe's is no mistake
    except OSError:  # whoever opens it will say so
        size = 0
    return progress.shown(f"restoring {path}", size or None)


def _flat(text: str) -> tuple[str, int]:
    """The file and the address of ``--load FILE@ADDRESS``."""
    file, at, address = text.rpartition("@")
    if not at or not file:
        raise ConfigError(f"load {text!r}: expected FILE@ADDRESS")
    return file, _address("load", address)


def _address(option: str, text: str) -> int:
    try:
        address = int(text, 0)
    except ValueError:
        address = -1
    if not 0 <= address < FOUR_GIB:
        raise ConfigError(f"{option} {text!r}: expected an address such as 0x100000")
    return address


def _rtc_base(text: str | None) -> datetime:
    if text is None:
        return DEFAULT_RTC_BASE
    if text == "now":
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"rtc-base {text!r}: expected now or 2000-01-01T00:00:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _choice(kind: type[Choice], option: str, text: str) -> Choice:
    """The member of *kind* whose value is *text*."""
    try:
        return kind(text)
    except ValueError:
        known = ", ".join(each.value for each in kind)
        raise ConfigError(f"{option} {text!r}: expected {known}") from None


# ==== the others ==========================================================================


def _inspect(arguments: argparse.Namespace) -> int:
    from emu.tools import saves

    report = saves.inspect(arguments.file)
    _show(report.to_json() if arguments.json else report.to_text())
    return DONE


def _diff(arguments: argparse.Namespace) -> int:
    from emu.tools import differences, saves

    with saves.diff(arguments.a, arguments.b, wire=arguments.wire) as found:
        tell = differences.json_text if arguments.json else differences.lines
        for piece in tell(found):
            _show(piece, end="" if arguments.json else "\n")
        if arguments.json:
            _show("")
        return DIFFERENT if found else DONE


def _info() -> int:
    import platform

    from emu.cpu import binding, native
    from emu.cpu.choose import choose

    chosen = choose(EngineChoice.AUTO)
    problem = native.UNAVAILABLE
    _show(
        f"emu        {emu.__version__}, Python {platform.python_version()}, {platform.platform()}"
    )
    _show(f"engine     {chosen.name}: {chosen.why}")
    _show(f"native     {'yes' if problem is None else f'no: {problem}'}")
    _show("reference  yes")
    _show(f"unicorn    {binding.VERSION}")
    _show(f"firmware   {images.path(images.ROM).parent}")
    _show(f"guests     {', '.join(images.guests())}")
    return DONE


def _dispatch(arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "run" | "restore":
            return _run(arguments)
        case "inspect":
            return _inspect(arguments)
        case "verify":
            from emu.tools import saves

            _show(saves.verify(arguments.file))
        case "diff":
            return _diff(arguments)
        case "info":
            return _info()
        case "demo":
            from emu.tools import demo

            demo.demonstrate(_show)
    return DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    _open_standard_descriptors()
    try:
        return _dispatch(command_line.parse(arguments))
    except ConfigError as error:
        _complain(error)
        return BAD_USAGE
    except EmuError as error:
        _complain(error)
        return FAILED
    except MemoryError:
        _complain("out of memory")
        return FAILED
    except BrokenPipeError:  # whoever read our output has seen enough
        return FAILED
    except KeyboardInterrupt:
        return BY_SIGNAL + signal.SIGINT
    finally:
        _give_up_unwritten()


# ==== standard output and error ===========================================================


def _show(text: str, end: str = "\n") -> None:
    """A command's output."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise HostError(f"standard output: {error.strerror}") from error


def _complain(problem: EmuError | str) -> None:
    """One line, whatever names are in it, and nothing that a terminal would obey."""
    line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(problem))
    with contextlib.suppress(OSError):  # nobody there to be told
        print(f"emu: {line}", file=sys.stderr, flush=True)


def _open_standard_descriptors() -> None:
    """What we were started without leads nowhere now; or a save might become standard output."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def _give_up_unwritten() -> None:
    """What could not be written is not tried again as the interpreter ends."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
