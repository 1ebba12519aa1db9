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
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import emu
from emu import images, until
from emu.cpu import native
from emu.cpu.choose import choose
from emu.cpu.engine import EngineChoice
from emu.cpu.models import Model
from emu.errors import ConfigError, EmuError, StreamError
from emu.host.ends import HostEnd, open_end
from emu.hw.debug_exit import exit_code
from emu.inputs import Recorder, read_recording
from emu.machine import DEFAULT_MEMORY, DEFAULT_RTC_BASE, Machine
from emu.tools import demo, saves, trace
from emu.tools.console import Console
from emu.until import Condition, Reason, Stopped

DONE, FAILED, BAD_USAGE = 0, 1, 2
BY_SIGNAL = 128  # added to the signal's number, as shells do


# ==== arguments ===========================================================================


def _option(parser: argparse._ActionsContainer, name: str, **rest: Any) -> None:
    """An option under QEMU's name, with one dash or two."""
    parser.add_argument(f"-{name}", f"--{name}", **rest)


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    run = parser.add_argument_group("the run")
    run.add_argument(
        "--for", dest="time", metavar="TIME", help="stop after so much virtual time: 2s, 10ms"
    )
    run.add_argument(
        "--until",
        action="append",
        default=[],
        metavar="WHAT",
        help="stop at serial:TEXT or clock:NS; may be given more than once",
    )
    run.add_argument("--save", metavar="FILE", help="save the machine there when the run ends")
    run.add_argument(
        "--record", metavar="FILE", help="write down everything that enters from outside"
    )
    run.add_argument("--replay", metavar="FILE", help="let a recording enter instead, and compare")
    run.add_argument(
        "--trace", metavar="WHAT", help="tell of ports, interrupts, inputs on standard error"
    )
    run.add_argument("--engine", default="auto", metavar="NAME", help="auto, native or reference")
    run.add_argument(
        "--pace",
        choices=("auto", "on", "off"),
        default="auto",
        help="hold virtual time to the host's; auto: where a person types",
    )
    _option(
        run,
        "serial",
        default="stdio",
        metavar="END",
        help="stdio, file:PATH, unix:PATH, tcp:HOST:PORT, pty or none",
    )
    _option(run, "debugcon", default="none", metavar="END", help="where the debug console goes")
    _option(run, "no-reboot", action="store_true", help="leave at a triple fault")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="emu",
        description="A small PC that can be saved at any moment and restored so that nobody can tell.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"emu {emu.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="boot a guest", allow_abbrev=False)
    run.add_argument(
        "image", nargs="?", help="a guest: a file, or one that comes along, such as hello"
    )
    machine = run.add_argument_group("the machine")
    _option(machine, "M", default="isapc", metavar="BOARD", help="the board: isapc")
    _option(
        machine,
        "cpu",
        default="pentium3",
        metavar="MODEL",
        help=", ".join(model.value for model in Model),
    )
    _option(
        machine, "m", default=DEFAULT_MEMORY, metavar="SIZE", help=f"RAM: 16M, 1G; {DEFAULT_MEMORY}"
    )
    _option(machine, "bios", metavar="FILE", help="a ROM in place of ours")
    _option(
        machine, "boot", metavar="ORDER", help="the boot order: a floppy, c disk, d CD, n network"
    )
    machine.add_argument(
        "--rtc-base", metavar="TIME", help="the clock at power-on: now, or 2000-01-01T00:00:00"
    )
    _add_run_options(run)

    restore = commands.add_parser("restore", help="go on from a save", allow_abbrev=False)
    restore.add_argument("file")
    _add_run_options(restore)

    inspect = commands.add_parser("inspect", help="what a save holds", allow_abbrev=False)
    inspect.add_argument("file")
    inspect.add_argument("--json", action="store_true", help="for programs")
    verify = commands.add_parser("verify", help="check a save", allow_abbrev=False)
    verify.add_argument("file")

    diff = commands.add_parser("diff", help="what differs between two saves", allow_abbrev=False)
    diff.add_argument("a")
    diff.add_argument("b")

    commands.add_parser("info", help="engine, versions, what was found", allow_abbrev=False)
    commands.add_parser("demo", help="a guest saved in mid-sentence", allow_abbrev=False)
    return parser


# ==== run and restore =====================================================================


class _NoInput:
    """A host end whose input is left alone: a replay has its own."""

    def __init__(self, end: HostEnd) -> None:
        self._end = end

    @property
    def at_end(self) -> bool:
        return True

    def write(self, data: bytes) -> None:
        self._end.write(data)

    def read(self, most: int) -> bytes:  # noqa: ARG002 - the shape of a host end
        return b""

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        self._end.close()


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


@contextlib.contextmanager
def _machine(arguments: argparse.Namespace, serial: HostEnd) -> Iterator[Machine]:
    """The machine that the arguments ask for, new or restored; switched off at the end."""
    ends = {"serial": serial, "debugcon": arguments.debugcon, "engine": arguments.engine}
    if arguments.command == "restore":
        vm = emu.load(arguments.file, **ends)
    else:
        vm = Machine(
            arguments.image,
            board=arguments.M,
            cpu=arguments.cpu,
            memory=arguments.m,
            bios=arguments.bios,
            boot=arguments.boot,
            rtc_base=_rtc_base(arguments.rtc_base),
            **ends,
        )
    with vm:
        yield vm


def _run(arguments: argparse.Namespace) -> int:
    if arguments.record and arguments.replay:
        raise ConfigError("--record and --replay exclude each other")
    conditions: list[Condition] = [until.parse(each) for each in arguments.until]
    limit = until.after(arguments.time) if arguments.time is not None else None
    what = trace.parse(arguments.trace) if arguments.trace else []
    for file in (arguments.save, arguments.record):
        if file is not None and not Path(file).absolute().parent.is_dir():
            raise ConfigError(f"{file}: there is no such folder")
    end = open_end(arguments.serial)
    with contextlib.closing(end):
        interactive = arguments.serial == "stdio" and sys.stdin.isatty()
        paced = interactive if arguments.pace == "auto" else arguments.pace == "on"
        console = Console(end, arguments.save, paced=paced and not arguments.replay)
        with _machine(arguments, _NoInput(end) if arguments.replay else end) as vm:
            vm.no_reboot = arguments.no_reboot
            vm.notice = console.say
            trace.install(vm, what, console.say)
            if interactive:
                console.say("emu: Ctrl-A H for help, Ctrl-A X to leave")
            if arguments.replay:
                return _replay(vm, Path(arguments.replay), console)
            stopped = _recorded(vm, arguments, console, conditions, limit)
            if arguments.save is not None:
                vm.save(arguments.save)
            return _status(stopped, console, conditions, limit)


def _recorded(
    vm: Machine,
    arguments: argparse.Namespace,
    console: Console,
    conditions: list[Condition],
    limit: Condition | None,
) -> Stopped:
    """Run, and where it is asked for write down what enters."""
    recorder = None
    if arguments.record:
        recorder = Recorder(Path(arguments.record), vm.digest())
        vm.inputs.listeners.append(recorder.record)
    with console.signals():
        stopped = vm.run([*conditions, *([limit] if limit else [])], front=console)
    if recorder is not None:
        recorder.finish(vm.clock.now_ns, vm.digest())
    return stopped


def _replay(vm: Machine, path: Path, console: Console) -> int:
    """Run as the recording says, and compare where it ends."""
    recording = read_recording(path)
    if vm.digest() != recording.start_digest:
        raise StreamError(
            f"{path}: recorded on another machine",
            found=recording.start_digest,
            expected=vm.digest(),
        )
    vm.inputs.schedule(recording.inputs)
    with console.signals():
        vm.run(until.clock(recording.end_ns), front=console)
    if console.signal_number is not None:
        return BY_SIGNAL + console.signal_number
    if (vm.clock.now_ns, vm.digest()) != (recording.end_ns, recording.end_digest):
        raise StreamError(
            f"{path}: the replay ended differently",
            found=f"{vm.digest()} at {vm.clock.now_ns} ns",
            expected=f"{recording.end_digest} at {recording.end_ns} ns",
        )
    console.say(f"emu: the replay ended as recorded: {recording.end_digest}")
    return DONE


def _status(
    stopped: Stopped, console: Console, conditions: list[Condition], limit: Condition | None
) -> int:
    """The exit status of a run, and a line where somebody waits for something else."""
    if console.signal_number is not None:
        return BY_SIGNAL + console.signal_number
    if console.left:
        return DONE
    if stopped.reason is Reason.EXIT and stopped.value is not None:
        return exit_code(stopped.value)
    if stopped.reason is Reason.SHUTDOWN:
        return FAILED
    if stopped.reason is Reason.UNTIL and stopped.condition in conditions:
        return DONE
    if conditions:
        wanted = ", ".join(str(each) for each in conditions)
        what = f"{limit}" if stopped.reason is Reason.UNTIL else stopped.reason.value
        console.say(f"emu: {what}, and before that not met: {wanted}")
        return FAILED
    return DONE


# ==== the others ==========================================================================


def _info() -> int:
    chosen = choose(EngineChoice.AUTO)
    problem = native.UNAVAILABLE
    print(
        f"emu        {emu.__version__}, Python {platform.python_version()}, {platform.platform()}"
    )
    print(f"engine     {chosen.name}: {chosen.why}")
    print(f"native     {'yes' if problem is None else 'no: ' + problem}")
    print("reference  yes")
    print(f"unicorn    {_unicorn_version()}")
    print(f"firmware   {images.path(images.ROM).parent}")
    return DONE


def _unicorn_version() -> str:
    from emu.cpu import binding  # noqa: PLC0415 - nobody else here needs it

    return binding.VERSION


def _dispatch(arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "run" | "restore":
            return _run(arguments)
        case "inspect":
            report = saves.inspect(arguments.file)
            print(report.to_json() if arguments.json else report.to_text())
        case "verify":
            print(saves.verify(arguments.file))
        case "diff":
            differences = saves.diff(arguments.a, arguments.b)
            print(differences.to_text())
            return FAILED if differences.fields or differences.pages else DONE
        case "info":
            return _info()
        case "demo":
            demo.demonstrate()
    return DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    try:
        return _dispatch(_parser().parse_args(arguments))
    except ConfigError as error:
        print(f"emu: {error}", file=sys.stderr)
        return BAD_USAGE
    except EmuError as error:
        print(f"emu: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        # Whoever read our output has gone; and the interpreter must not try to flush to it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return BY_SIGNAL + 2
