"""One run at the command line: recorded or replayed, saved at its end, and its exit status."""

from __future__ import annotations

import os
import signal

from emu import attrs, until
from emu.errors import StreamError
from emu.hw.debug_exit import exit_code
from emu.inputs import Recorder, read_recording
from emu.machine import Machine
from emu.savevm.sections import Dialect
from emu.tools.console import BY_SIGNAL, Console
from emu.until import Condition, Reason, Stopped

DONE, FAILED = 0, 1


@attrs.frozen
class Plan:
    """What is to be done with a machine; *record* and *replay* exclude each other."""

    goals: tuple[Condition, ...] = ()  # each of them is what the run is for
    limit: Condition | None = None  # so long, and no longer
    save: str | None = None
    dialect: Dialect = Dialect.EMU
    record: str | os.PathLike[str] | None = None
    replay: str | os.PathLike[str] | None = None
    text: str = ""  # to be typed as the run begins

    @property
    def conditions(self) -> list[Condition]:
        return [*self.goals, *([] if self.limit is None else [self.limit])]


def run(vm: Machine, plan: Plan, console: Console) -> int:
    """Run *vm* as *plan* says; the exit status."""
    with console.signals():
        if plan.replay is not None:
            stopped = _replayed(vm, plan, plan.replay, console)
        else:
            stopped = _recorded(vm, plan, console)
        if plan.save is not None:
            console.save_machine(plan.save, plan.dialect)
            if console.has_person or console.signal_number is not None:
                console.say_saved(plan.save)
        return _status(stopped, plan, console)


def _recorded(vm: Machine, plan: Plan, console: Console) -> Stopped:
    """Run, and where it is asked for write down what enters."""
    if plan.record is None:
        _type(vm, plan)
        return vm.run(plan.conditions, front=console)
    from pathlib import Path

    recorder = Recorder(Path(plan.record), vm.digest())
    vm.inputs.recorders.append(recorder.record)
    _type(vm, plan)
    stopped = vm.run(plan.conditions, front=console)
    recorder.finish(vm.clock.now_ns, vm.digest())
    return stopped


def _type(vm: Machine, plan: Plan) -> None:
    if plan.text:
        vm.keyboard.type(plan.text)


def _replayed(vm: Machine, plan: Plan, path: str | os.PathLike[str], console: Console) -> Stopped:
    """Run as the recording says, and compare where it ends."""
    from pathlib import Path

    recording = read_recording(Path(path))
    _check_same(f"{path}: recorded on another machine", vm.digest(), recording.start_digest)
    vm.serial.listening = False
    vm.inputs.play(recording.inputs)
    end = until.clock(recording.end_ns)
    stopped = vm.run([end, *plan.conditions], front=console)
    broken_off = stopped.reason is Reason.STOPPED
    if broken_off or (stopped.reason is Reason.UNTIL and stopped.condition is not end):
        return stopped
    _check_same(
        f"{path}: the replay ended differently",
        f"{vm.digest()} at {vm.clock.now_ns} ns",
        f"{recording.end_digest} at {recording.end_ns} ns",
    )
    console.say(f"emu: the replay ended as recorded: {recording.end_digest}")
    return Stopped(Reason.UNTIL, end)  # whatever the recorded run ended with


def _check_same(problem: str, found: str, expected: str) -> None:
    if found != expected:
        raise StreamError(problem, found=found, expected=expected)


def _status(stopped: Stopped, plan: Plan, console: Console) -> int:
    """The exit status of a run; and a line for whoever is there, or waits for something else."""
    why, status = _ending(stopped, console)
    broken_off = stopped.reason is Reason.STOPPED
    if plan.goals and not broken_off and stopped.condition not in plan.goals:
        console.say(f"emu: {why}, and before that not met: {', '.join(map(str, plan.goals))}")
        return status or FAILED
    if console.has_person:
        console.say(f"emu: stopped at {console.vm.clock.now_ns} ns: {why}")
    return status


def _ending(stopped: Stopped, console: Console) -> tuple[str, int]:
    """Why the run ended, and the exit status if nobody had wanted anything else."""
    why = stopped.reason.value
    match stopped.reason:
        case Reason.STOPPED if console.signal_number is not None:
            number = signal.Signals(console.signal_number)
            return number.name, BY_SIGNAL + number
        case Reason.STOPPED:
            return "Ctrl-A X", DONE
        case Reason.UNTIL:
            return f"{stopped.condition}", DONE
        case Reason.EXIT:
            return f"{why}, with {stopped.value}", exit_code(stopped.value or 0)
        case Reason.SHUTDOWN:
            return why, FAILED
        case Reason.HALTED | Reason.IDLE:
            return why, DONE
