"""A session with a guest, in a process of its own: `sessions.py` starts it.

On standard input it takes its plan, and on standard output it gives what could be seen, as JSON:

    {"machine": {...}} or {"load": PATH}       the machine: new, or restored
    "steps": [{"type": TEXT,                   sent to the serial port first
               "clock": NS or "text": TEXT,    run to then, or until that has been said
               "save": PATH}, ...]             and saved

    [[clock, output so far in Latin 1, digest], ...]        after each step
"""

from __future__ import annotations

import json
import sys

import emu
from emu.host.ends import Memory
from emu.until import Condition

PATIENCE = "600s"  # of the guest's time; no step takes so long, unless something is wrong


def main() -> None:
    """Do as the plan says."""
    plan = json.load(sys.stdin)
    end = Memory()
    if "load" in plan:
        vm = emu.load(plan["load"], serial=end)
    else:
        vm = emu.Machine(serial=end, **plan["machine"])
    seen = []
    for step in plan["steps"]:
        if step["type"]:
            vm.serial.send(step["type"])
        goal: Condition = (
            emu.clock(step["clock"]) if step["text"] is None else emu.serial(step["text"])
        )
        vm.run(until=[goal, emu.after(PATIENCE)])
        if step["save"] is not None:
            vm.save(step["save"])
        seen.append([vm.clock.now_ns, bytes(end.sent).decode("latin-1"), vm.digest()])
    vm.close()
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
