"""Who may import whom.

The emulator is a stack.  A module may import from layers below its own, never from its own layer or
above: so it can be read, and tested, knowing only what is under it.  A module that is new
needs a place here, and where it wants one tells much about it.

Also held here: what kinds of things must not be imported where.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Lowest first; an entry is a module, or a package whose inner order is below.
LAYERS = [
    {"emu.errors", "emu.attrs", "emu.shadows"},
    # time, wires, addresses, bytes
    {
        "emu.clock",
        "emu.irq",
        "emu.ports",
        "emu.memory",
        "emu.keys",
        "emu.savevm.stream",
        "emu.images",
    },
    {"emu.savevm.codecs"},
    # State and its declaration; what a save is written to; the host's side of a line, of drives
    {
        "emu.savevm.vmstate",
        "emu.savevm.pages",
        "emu.savevm.files",
        "emu.host",
        "emu.until",
        "emu.drives",
    },
    # what a kernel finds when it is entered
    {"emu.kernels"},
    # the frame of a save
    {"emu.savevm.description"},
    {"emu.savevm.sections"},
    # who is saved; the slot; the end of a cable; how saving and loading go
    {"emu.savevm.entries"},
    {"emu.savevm.loading"},
    {"emu.savevm.registry"},
    {"emu.isa", "emu.ps2", "emu.savevm.ram_saving", "emu.savevm.ram_loading", "emu.savevm.live"},
    {"emu.savevm.ram"},
    {"emu.savevm.load", "emu.savevm.contents"},
    {"emu.savevm.digest"},
    {"emu.savevm.inspect", "emu.savevm.compare"},
    # what is plugged in
    {"emu.hw", "emu.cpu", "emu.timebase", "emu.inputs"},
    {"emu.board"},
    {"emu.nameplate"},
    {"emu.qemu", "emu.desk"},
    {"emu.runloop"},
    # what a user holds in the hand: the package's own names are the machine's
    {"emu.machine"},
    {"emu"},
    {"emu.tools"},
    {"emu.arguments"},
    {"emu.cli"},
    {"emu.__main__"},
]

# The same within each package.
INSIDE = {
    "emu.host": [
        {"emu.host.descriptors", "emu.host.ctrl_c"},
        {"emu.host.pty", "emu.host.sockets", "emu.host.terminal"},
        {"emu.host.ends"},
    ],
    "emu.cpu": [
        # what must be in the process before Unicorn, and what it is compiled from
        {"emu.cpu.sources"},
        {"emu.cpu.preload"},
        # the processor's vocabulary
        {"emu.cpu.bits", "emu.cpu.vectors", "emu.cpu.unicorn_h"},
        {"emu.cpu.layout", "emu.cpu.models"},
        # what an engine is, how Unicorn is reached, and how the guest's memory is
        {"emu.cpu.engine", "emu.cpu.binding", "emu.cpu.paging"},
        {"emu.cpu.state", "emu.cpu.segments", "emu.cpu.wiring", "emu.cpu.stepping"},
        # from State to engine and back; interrupts and exceptions
        {"emu.cpu.exchange", "emu.cpu.tasks", "emu.cpu.corrections"},
        {"emu.cpu.errand", "emu.cpu.delivery"},
        {"emu.cpu.selfcheck", "emu.cpu.instructions"},
        # the two engines, and who drives either
        {"emu.cpu.reference", "emu.cpu.native", "emu.cpu.processor"},
        {"emu.cpu.choose"},
    ],
    "emu.kernels": [
        {"emu.kernels.placement"},
        {"emu.kernels.elf32", "emu.kernels.linux", "emu.kernels.flat"},
        {"emu.kernels.multiboot"},
        {"emu.kernels.files"},
    ],
    "emu.hw": [],  # no card knows another; each is a layer of its own
    "emu.tools": [
        {"emu.tools.progress"},
        {
            "emu.tools.pacing",
            "emu.tools.saves",
            "emu.tools.trace",
            "emu.tools.demo",
            "emu.tools.disassembly",
        },
        {"emu.tools.console", "emu.tools.format_tables", "emu.tools.differences"},
        {"emu.tools.session"},
    ],
}

# All that a card may know of: its slot and what comes with it, and what two of them have in common.
FOR_CARDS = {
    "emu.attrs",
    "emu.clock",
    "emu.errors",
    "emu.irq",
    "emu.isa",
    "emu.kernels.placement",
    "emu.keys",
    "emu.ports",
    "emu.ps2",
    "emu.savevm.codecs",
    "emu.savevm.vmstate",
    "emu.shadows",
}

# A run is repeatable where nobody looks outside: at a clock, at chance, at another thread.
OUTSIDE = {
    "asyncio",
    "concurrent",
    "multiprocessing",
    "random",
    "sched",
    "secrets",
    "threading",
    "time",
    "uuid",
}
OUTSIDE_CALLS = {"now", "today", "utcnow", "urandom", "getrandom", "monotonic", "perf_counter"}

# What pyproject.toml has as an extra, and who goes without where it is not there.
EXTRAS = {"emu.tools.disassembly": {"capstone"}}

# A save is data.  These would make it a program.
PROGRAMS = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "copyreg"}
PROGRAM_CALLS = {"eval", "exec", "__import__"}


def name_of(path: Path) -> str:
    """The module that *path* holds."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {name_of(path): path for path in sorted(ROOT.glob("emu/**/*.py"))}
TREES = {module: ast.parse(path.read_text()) for module, path in PATHS.items()}


def imports(module: str) -> set[str]:
    """Every module that an import statement in *module* leads to, at any depth."""
    found = set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in PATHS else str(node.module))
    return found


def calls(module: str) -> Iterator[str]:
    """The names of the functions and methods that *module* calls."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    yield name


def package_of(module: str) -> str | None:
    """The package with an inner order that *module* is in."""
    return next((each for each in INSIDE if module.startswith(f"{each}.")), None)


def height(module: str, layers: list[set[str]]) -> int | None:
    """The index in *layers* of *module*, or of its package; None if it is in none."""
    for index, layer in enumerate(layers):
        if module in layer or package_of(module) in layer:
            return index
    return None


PACKAGES = ("emu.savevm", *INSIDE)  # without code of their own; those of savevm are layers

modules = pytest.mark.parametrize("module", [name for name in PATHS if name not in PACKAGES])


@modules
def test_imports_point_down(module: str) -> None:
    mine = height(module, LAYERS)
    package = package_of(module)

    assert mine is not None, f"{module} has no place in LAYERS"
    for other in imports(module) & PATHS.keys():
        if package is not None and package_of(other) == package:
            inner = INSIDE[package]
            here, there = height(module, inner), height(other, inner)
            assert here is not None, f"{module} has no place in INSIDE[{package!r}]"
            assert there is not None, f"{module} may not import {other}"
            assert there < here, f"{module} may not import {other}"
        else:
            below = height(other, LAYERS)
            assert below is not None, f"{module} may not import {other}"
            assert below < mine, f"{module} may not import {other}"


def test_every_place_is_taken() -> None:
    """Nobody stands in the tables who has left."""
    for layers in (LAYERS, *INSIDE.values()):
        for each in set().union(*layers):
            assert each in PATHS


@pytest.mark.parametrize("module", PACKAGES)
def test_a_package_is_empty_but_for_what_it_says_of_itself(module: str) -> None:
    """And for what its modules must not be imported without."""
    assert imports(module) == ({"emu.cpu.preload"} if module == "emu.cpu" else set())


@pytest.mark.parametrize("module", [name for name in PATHS if name.startswith("emu.hw.")])
def test_a_card_knows_its_slot_and_no_more(module: str) -> None:
    assert imports(module) & PATHS.keys() <= FOR_CARDS


@pytest.mark.parametrize("module", [name for name in PATHS if name.startswith("emu.host.")])
def test_the_host_s_side_knows_nothing_of_the_machine(module: str) -> None:
    theirs = {name for name in imports(module) if name.startswith("emu")}

    assert all(name == "emu.errors" or name.startswith("emu.host.") for name in theirs)


@modules
def test_nothing_is_imported_from_elsewhere(module: str) -> None:
    """Not even from Unicorn, whose library is used, and whose binding is not."""
    others = {name.partition(".")[0] for name in imports(module)}

    assert others <= sys.stdlib_module_names | {"emu"} | EXTRAS.get(module, set())


@pytest.mark.parametrize(
    "module", [name for name in PATHS if name.startswith(("emu.cpu.", "emu.hw.", "emu.savevm."))]
)
def test_nobody_within_the_machine_looks_outside(module: str) -> None:
    """Time is the guest's, and there is one thread."""
    others = {name.partition(".")[0] for name in imports(module)}

    assert not others & OUTSIDE
    assert not set(calls(module)) & OUTSIDE_CALLS


@modules
def test_a_save_is_data_and_no_program(module: str) -> None:
    others = {name.partition(".")[0] for name in imports(module)}

    assert not others & PROGRAMS
    assert not set(calls(module)) & PROGRAM_CALLS
