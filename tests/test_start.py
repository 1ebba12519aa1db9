"""What a start leaves out: modules that most runs have no use for are imported where they are used.

Every module costs each start some of its time, of which a run from power-on to the guest's first
character spends nearly all.  So whoever needs one of these on the way there has to take it off this
list, and to know what for.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
from rig import python

import emu

# A module, and what it is for.
LEFT_OUT = {
    "attr": "classes, by the package attrs: emu.attrs is quicker to import",
    "unicorn": "the Python binding: emu.cpu.binding calls the library",
    "emu.cpu.reference": "--engine reference, and where there is no native one",
    "emu.cpu.selfcheck": "builds of Unicorn that native.c was not made with",
    "emu.kernels.files": "-kernel and flat images",
    "emu.qemu": "saves in QEMU's dialect",
    "emu.savevm.compare": "emu diff",
    "emu.savevm.contents": "looking into saves",
    "emu.savevm.digest": "vm.digest()",
    "emu.savevm.files": "saving",
    "emu.savevm.inspect": "emu inspect",
    "emu.savevm.live": "saving",
    "emu.savevm.load": "loading",
    "emu.savevm.ram_loading": "loading",
    "emu.savevm.ram_saving": "saving",
    "emu.tools.demo": "emu demo",
    "emu.tools.saves": "emu inspect, verify and diff",
    "emu.host.pty": "-serial pty",
    "emu.host.sockets": "-serial tcp and unix",
    "ast": "",
    "bz2": "shutil",
    "calendar": "",
    "copy": "undoing what a card's own handlers have loaded",
    "dataclasses": "",
    "hashlib": "digests",
    "importlib.metadata": "",
    "importlib.resources": "",
    "inspect": "",
    "json": "recordings, and the descriptions of saves",
    "logging": "",
    "platform": "emu info",
    "random": "tempfile",
    "shutil": "tempfile; argparse, as long as it does not know how wide help is to be",
    "socket": "-serial tcp and unix",
    "subprocess": "emu demo",
    "threading": "",
    "pathlib": "names of files that are to be made",
    "tempfile": "saving",
}

RUN = """
import sys
from emu.cli import main
status = main(["run", "hello", "--until", "serial:Hello"])
print(status, *sys.modules, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """What is there at the end of a run, in a process of its own that has no other start-up."""
    command = [sys.executable, "-S", "-c", RUN]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    told = run.stderr.split()
    assert told[0] == "0"
    return set(told[1:])


@pytest.mark.parametrize("module", LEFT_OUT)
def test_a_run_does_without(module: str, imported: set[str]) -> None:
    assert module not in imported


@pytest.mark.parametrize("module", [name for name in LEFT_OUT if name.startswith("emu.")])
def test_what_is_left_out_is_there(module: str) -> None:
    """Nobody stands on the list who has left."""
    assert importlib.util.find_spec(module) is not None


def test_the_machine_is_there(imported: set[str]) -> None:
    """It has been looked at after the run, and not before."""
    assert {"emu.machine", "emu.cpu.native", "emu.hw.ns16550a", "emu.tools.session"} <= imported


class TestThePackage:
    """Its own names; some bring in a machine, and come when they are asked for."""

    def test_a_machine_comes_when_it_is_asked_for(self) -> None:
        told = python(
            "import emu, sys; print('emu.machine' in sys.modules);"
            "print(emu.Machine.__name__, emu.load.__name__, 'emu.machine' in sys.modules)"
        )

        assert told.stdout.split() == ["False", "Machine", "load", "True"]

    def test_every_name_is_there(self) -> None:
        assert all(getattr(emu, name) is not None for name in emu.__all__)

    def test_another_is_not(self) -> None:
        with pytest.raises(AttributeError, match="module 'emu' has no attribute 'Computer'"):
            _ = emu.Computer

    def test_a_time_is_no_module(self) -> None:
        """`emu.clock` is a function and a module; who asks the package means the function."""
        told = python("import emu; emu.Machine; print(emu.clock(5))")

        assert told.stdout == "clock:5\n"


def test_the_collector_works_while_a_guest_runs() -> None:
    """It rests as the command starts, and what has been imported is none of its business later."""
    told = python(
        "import gc, sys; sys.argv = ['emu', 'info']; from emu.__main__ import main; main();"
        "print(gc.isenabled(), gc.get_freeze_count() > 10_000)"
    )

    assert told.stdout.splitlines()[-1] == "True True"
