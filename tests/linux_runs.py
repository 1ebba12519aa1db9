"""Debian's Linux on the machine: which, and booted how.

A boot is worth keeping: `booted` boots each flavour once in a run of the tests, whoever asks first, and
saves it on its way and at its prompt.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import random
from pathlib import Path
from typing import Any, NamedTuple

import guests_fetched
from sessions import Seen, Step, session

HERE = Path(__file__).parent
MEMORY = "48M"
COMMAND_LINE = (
    "console=ttyS0 earlyprintk=serial,ttyS0,115200 noapic nolapic acpi=off pci=off nokaslr "
    "mitigations=off tsc=reliable no_timer_check"
)
PROMPT = "emu# "
BOOT_NS = 12_000_000_000  # the first of it; the prompt comes some seconds later


class Flavour(NamedTuple):
    """A kernel of Debian's, and the processor that it is for."""

    name: str
    cpu: str


FLAVOURS = (Flavour("686", "pentium3"), Flavour("686-pae", "coreduo"))


def machine(flavour: Flavour, folder: Path) -> dict[str, Any]:
    """What to build a machine with that boots *flavour*; the initramfs is made in *folder*.

    The test is skipped where the kernel has not been fetched.
    """
    kernel = guests_fetched.path(f"linux-{flavour.name}/vmlinuz")
    for name in (f"linux-{flavour.name}/zram.ko", "busybox/busybox"):
        guests_fetched.path(name)
    initrd = folder / f"initrd-{flavour.name}"
    initrd.write_bytes(initramfs().build(flavour.name))
    return {
        "kernel": str(kernel),
        "initrd": str(initrd),
        "append": COMMAND_LINE,
        "memory": MEMORY,
        "cpu": flavour.cpu,
    }


def initramfs() -> Any:
    """The module `tests/guests/initramfs.py`, which is a command of its own, too."""
    file = HERE / "guests" / "initramfs.py"
    spec = importlib.util.spec_from_file_location("initramfs", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ==== a boot ==============================================================================


class Boot(NamedTuple):
    """A boot that was saved on its way, and last at its prompt; each save with what was seen then."""

    saves: list[tuple[Path, Seen]]

    @property
    def prompt(self) -> tuple[Path, Seen]:
        return self.saves[-1]


def booted(flavour: Flavour, shared: Path, places: int) -> Boot:
    """*flavour*, booted in *shared*, a folder of all workers', and saved at so many places on the way."""
    folder = shared / f"linux-{flavour.name}-{places}"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second waits here for the first
        record = folder / "seen.json"
        if not record.exists():
            chosen = random.Random(f"{flavour.name} {places}")
            clocks = sorted(chosen.sample(range(1, BOOT_NS), places))
            steps = [Step(clock=ns, save=str(folder / f"{ns}.emu")) for ns in clocks]
            steps.append(Step(text=PROMPT, save=str(folder / "prompt.emu")))
            seen = session(machine(flavour, folder), steps)
            pairs = [(step.save, each) for step, each in zip(steps, seen, strict=True)]
            record.write_text(json.dumps(pairs))
        pairs = json.loads(record.read_text())
    return Boot([(Path(path), Seen(*each)) for path, each in pairs])
