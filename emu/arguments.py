"""What may be said on the command line, and the help that `emu COMMAND --help` shows."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import emu
from emu import images
from emu.board import BOARDS
from emu.cpu.engine import EngineChoice
from emu.cpu.models import Model
from emu.errors import ConfigError, HostError
from emu.host.ends import FORMS
from emu.machine import DEFAULT_MEMORY
from emu.savevm.sections import Dialect
from emu.tools.pacing import Pace
from emu.tools.trace import What

WIDTH = 78  # of help, as our own lines have it; argparse would ask the terminal at each option
TIMES = "2s, 10ms, 500us, 1m or nanoseconds"
KEYS = "Ctrl-A X leaves, Ctrl-A S saves, Ctrl-A H helps."

RUN_EXAMPLES = """\
examples:
  emu run hello                        a guest that comes along
  emu run boot.img -m 4M               a boot sector of your own, or a disk
  emu run -fda floppy.img -hda disk.img -boot a
                                       drives; the files are never changed
  emu run -kernel vmlinuz -initrd initrd.img -append console=ttyS0 -m 64M
                                       Linux
  emu run echo --save s.emu            saved there when you leave (Ctrl-A X)
  emu run ticks --until 'serial:tick 7' --for 1s
                                       wait for a text, a second at the most
  emu run echo --record r.jsonl        write down what you type, and when
  emu run echo --replay r.jsonl        let it be typed again

Options that QEMU has go by QEMU's names, with one dash or two.
"""

STATUS = """\
exit status:
  0    done: --until was met, --for is over, the guest halted, or you left
  1    the guest or a save failed, a file could not be read or written, or
       --for was over (or the guest ended) before --until was met
  2    bad usage
  (N << 1) | 1, where the guest ended itself with N through the debug-exit port
  128 + a signal's number, where that ended the run
"""


DIFF = """\
Show what differs between the machines in two saves: the chips' fields by the
chips' own names, pages of RAM, and where code changed both sides of it.  Exit
status 0 where nothing differs; 1 where anything does, or a save is damaged.
"""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help that names an option of QEMU's once, and not with one dash and with two."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=WIDTH)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        once = [name for name in action.option_strings if name[1:] not in action.option_strings]
        metavar = f" {action.metavar}" if action.nargs is None else ""
        return ", ".join(once) + metavar


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and takes no abbreviation: tomorrow's options may clash."""

    def __init__(self, **rest: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Help, **rest)

    def _get_option_tuples(self, option_string: str) -> list[Any]:  # noqa: ARG002
        """What *option_string* may abbreviate: nothing.  allow_abbrev spares names with one dash."""
        return []

    def _print_message(self, message: str, file: Any = None) -> None:
        """Help goes out now, or it is told that it did not."""
        try:
            (file or sys.stderr).write(message)
            (file or sys.stderr).flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise HostError(f"standard output: {error.strerror}") from error

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")


def _qemus(parser: argparse._ActionsContainer, *names: str, **rest: Any) -> None:
    """An option under QEMU's *names*, with one dash or two."""
    dashed = [f"{dashes}{name}" for name in names for dashes in ("-", "--")]
    parser.add_argument(*dashed, dest=names[-1].replace("-", "_"), **rest)


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    run = parser.add_argument_group("the run")
    run.add_argument(
        "--until",
        action="append",
        default=[],
        metavar="WHAT",
        help="run until the guest has sent a text, serial:TEXT, or its clock is at a time, "
        "clock:NS; of several, whichever comes first",
    )
    run.add_argument(
        "--for", dest="time", metavar="TIME", help=f"run for so much virtual time: {TIMES}"
    )
    run.add_argument(
        "--save",
        metavar="FILE",
        help="save the machine there when the run ends; and at SIGUSR1, and Ctrl-A S",
    )
    run.add_argument(
        "--dialect",
        default=Dialect.EMU.value,
        metavar="NAME",
        help="how --save writes it: "
        + ", ".join(each.value for each in Dialect)
        + " (default emu, which forgets nothing)",
    )
    run.add_argument(
        "--record", metavar="FILE", help="write down everything that enters from outside, and when"
    )
    run.add_argument(
        "--replay",
        metavar="FILE",
        help="let a recording enter instead of the keyboard, and compare how it ends",
    )
    run.add_argument(
        "--type",
        metavar="TEXT",
        help=r"type TEXT on the keyboard as the run begins, as fast as the guest reads it: "
        r"\n is Enter, \t Tab, \b Backspace, \e Esc, \\ a backslash",
    )
    run.add_argument(
        "--trace",
        metavar="WHAT",
        help="tell on standard error of "
        + ", ".join(each.value for each in What)
        + "; several with commas between",
    )
    run.add_argument(
        "--pace",
        metavar="WHEN",
        help="hold virtual time to the host's: on, off, or auto, which is the default: as long "
        "as somebody may type",
        default=Pace.AUTO.value,
    )
    run.add_argument(
        "--engine",
        default=EngineChoice.AUTO.value,
        metavar="NAME",
        help=", ".join(each.value for each in EngineChoice) + " (default auto: see emu info)",
    )
    _qemus(run, "no-reboot", action="store_true", help="leave at a triple fault, with status 1")

    ends = parser.add_argument_group("where the guest's characters go", f"END is one of {FORMS}.")
    _qemus(
        ends,
        "serial",
        default="stdio",
        metavar="END",
        help="the serial port (default stdio)",
    )
    _qemus(ends, "debugcon", default="none", metavar="END", help="the debug console (default none)")


def _add_run(commands: argparse._SubParsersAction[_Parser]) -> None:
    run = commands.add_parser(
        "run",
        help="boot a guest",
        usage="emu run [OPTION ...] [IMAGE]",
        description=f"Boot a guest.  The terminal is its serial port:\n{KEYS}",
        epilog=RUN_EXAMPLES + "\n" + STATUS,
    )
    run.add_argument(
        "image",
        nargs="?",
        metavar="IMAGE",
        help="the guest: a floppy or a disk with a boot sector, a program to be loaded "
        "at 7C00h, or one that comes along: " + ", ".join(images.guests()),
    )
    machine = run.add_argument_group("the machine")
    _qemus(
        machine,
        "M",
        "machine",
        default="isapc",
        metavar="BOARD",
        help=f"{', '.join(BOARDS)} (default isapc)",
    )
    _qemus(
        machine,
        "cpu",
        default=Model.PENTIUM3.value,
        metavar="MODEL",
        help=", ".join(model.value for model in Model) + " (default pentium3)",
    )
    _qemus(
        machine,
        "m",
        default=DEFAULT_MEMORY,
        metavar="SIZE",
        help=f"RAM, such as 4M or 1G (default {DEFAULT_MEMORY})",
    )
    _qemus(machine, "fda", "floppy", metavar="FILE", help="a floppy, drive 00h of our ROM")
    _qemus(machine, "hda", "disk", metavar="FILE", help="a disk, drive 80h of our ROM")
    _qemus(machine, "bios", metavar="FILE", help="a ROM in place of ours")
    _qemus(
        machine,
        "kernel",
        metavar="FILE",
        help="a Linux bzImage or a Multiboot kernel, in place of IMAGE: it is entered at once, "
        "without firmware, and again at each reset",
    )
    _qemus(
        machine,
        "initrd",
        metavar="FILE",
        help="its initrd; for Multiboot its modules: 'FILE WORDS,FILE WORDS'",
    )
    _qemus(machine, "append", metavar="TEXT", default="", help="its command line")
    machine.add_argument(
        "--load",
        action="append",
        default=[],
        metavar="FILE@ADDRESS",
        help="a flat image at a physical address such as 0x100000, in place of IMAGE, entered in "
        "32-bit protected mode; may be given again",
    )
    machine.add_argument(
        "--entry", metavar="ADDRESS", help="where it is entered (default the first --load's)"
    )
    _qemus(
        machine,
        "boot",
        metavar="ORDER",
        help="what to boot from: a floppy, c disk, d CD, n network; as in ca (default: floppy, "
        "disk)",
    )
    machine.add_argument(
        "--rtc-base",
        metavar="TIME",
        help="the clock at power-on: now, or such as 2000-01-01T00:00:00, which is the default "
        "and makes each run the same",
    )
    _qemus(
        machine,
        "incoming",
        metavar="FILE",
        help="begin as the machine saved in FILE, which must be like this one, or QEMU's",
    )
    _add_run_options(run)


def _add_restore(commands: argparse._SubParsersAction[_Parser]) -> None:
    restore = commands.add_parser(
        "restore",
        help="go on from a save",
        usage="emu restore [OPTION ...] FILE",
        description=f"Go on from a save.  The terminal is the serial port:\n{KEYS}",
        epilog=STATUS,
    )
    restore.add_argument("file", metavar="FILE", help="what --save or Ctrl-A S has written")
    _add_run_options(restore)


def _add_inspect(commands: argparse._SubParsersAction[_Parser]) -> None:
    inspect = commands.add_parser(
        "inspect",
        help="what a save holds",
        description="Show every section, field and checksum of a save, without a machine.",
    )
    inspect.add_argument("file", metavar="FILE")
    inspect.add_argument("--json", action="store_true", help="for programs")


def _add_verify(commands: argparse._SubParsersAction[_Parser]) -> None:
    verify = commands.add_parser(
        "verify",
        help="check a save",
        description="Check every checksum and field of a save, and print its digest.",
    )
    verify.add_argument("file", metavar="FILE")


def _add_diff(commands: argparse._SubParsersAction[_Parser]) -> None:
    diff = commands.add_parser(
        "diff",
        help="what differs between two saves",
        description=DIFF,
    )
    diff.add_argument("a", metavar="A")
    diff.add_argument("b", metavar="B")
    diff.add_argument("--json", action="store_true", help="for programs")
    diff.add_argument(
        "--wire",
        action="store_true",
        help="compare the streams, field by field as they are written, and not the machines",
    )


def _add_info(commands: argparse._SubParsersAction[_Parser]) -> None:
    description = "Tell which engine runs, and why, and what was found."
    commands.add_parser("info", help=description.rstrip(".").lower(), description=description)


def _add_demo(commands: argparse._SubParsersAction[_Parser]) -> None:
    description = "A guest saved in mid-sentence by one process and finished by another."
    commands.add_parser("demo", help=description.rstrip(".").lower(), description=description)


_COMMANDS = {
    "run": _add_run,
    "restore": _add_restore,
    "inspect": _add_inspect,
    "verify": _add_verify,
    "diff": _add_diff,
    "info": _add_info,
    "demo": _add_demo,
}


def _parser(names: Iterable[str]) -> argparse.ArgumentParser:
    """A parser that knows these commands."""
    parser = _Parser(
        prog="emu",
        usage="emu COMMAND [ARGUMENT ...]",
        description="A small PC that can be saved at any moment and restored so that nobody can tell.",
        epilog="emu COMMAND --help tells more.",
    )
    parser.add_argument("--version", action="version", version=f"emu {emu.__version__}")
    commands = parser.add_subparsers(
        title="commands", dest="command", required=True, metavar="COMMAND", prog="emu"
    )
    for name in names:
        _COMMANDS[name](commands)
    return parser


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What *arguments*, or else the process's, say; ConfigError in one line where it is nothing."""
    words = sys.argv[1:] if arguments is None else arguments
    asked_for = [name for name in words[:1] if name in _COMMANDS]
    return _parser(asked_for or _COMMANDS).parse_args(words)  # the others' options take their time
