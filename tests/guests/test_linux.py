r"""Debian's Linux, unmodified: its own bzImage unpacks itself, boots and answers at a shell.

The kernels and busybox are fetched by `tests/guests/fetch.py`; what they boot into is made by
`initramfs.py` beside it.  Every session is a process of its own.  Whole boots at twenty places,
and hours of work, are marked `soak`:

    pytest -m soak tests/guests/test_linux.py
    EMU_LINUX_MINUTES=60 pytest -m soak tests/guests/test_linux.py -k at_work

"The same" is three things: the output so far, the clock, and the digest of the whole machine.
A restored machine is compared with the run that saved it, at the places where that saved again: as
FORMAT.md has it, whoever saves starts with an empty TLB, too.
"""

from __future__ import annotations

import gc
import hashlib
import os
import re
import subprocess
from pathlib import Path

import linux_runs
import processes
import pytest
from linux_runs import FLAVOURS, PROMPT, Boot, Flavour
from sessions import Seen, Step, command, session

import emu
from emu.host.ends import Memory as MemoryEnd

PLACES, SOAK_PLACES = 3, 20
MS = 1_000_000
GENERATIONS = 5

each_flavour = pytest.mark.parametrize("flavour", FLAVOURS, ids=lambda flavour: flavour.name)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is the same for all workers of this run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="module")
def boot(shared: Path) -> Boot:
    """The first flavour, saved on its way and at its prompt."""
    return linux_runs.booted(FLAVOURS[0], shared, PLACES)


def last_lines(seen: Seen, count: int) -> list[str]:
    """The last so many lines before the prompt."""
    return seen.output.replace("\r", "").splitlines()[-1 - count : -1]


# ==== the boot ============================================================================


@each_flavour
def test_it_reaches_a_shell_that_answers(flavour: Flavour, shared: Path) -> None:
    places = PLACES if flavour is FLAVOURS[0] else 0
    path, seen = linux_runs.booted(flavour, shared, places).prompt

    assert "Linux version 6.1." in seen.output
    for found in ("is a 16550A", "i8042 KBD port", "rtc_cmos: registered as rtc0"):
        assert found in seen.output
    assert "Oops" not in seen.output
    assert "WARNING" not in seen.output
    (answer,) = session(path, [Step(type="echo $((6 * 7)); uname -m\r", text=f"i686\r\n{PROMPT}")])
    assert last_lines(answer, 2) == ["42", "i686"]


def saved_and_restored(boot: Boot) -> None:
    """Each save of *boot*, restored in a fresh process, comes to the next as the boot itself did."""
    for (path, before), (_, after) in zip(boot.saves, boot.saves[1:], strict=False):
        (seen,) = session(path, [Step(clock=after.now_ns)])

        assert seen.after(before.output) == after


def test_saved_on_its_way_and_restored_in_fresh_processes(boot: Boot) -> None:
    saved_and_restored(boot)


@pytest.mark.soak
@each_flavour
def test_saved_at_twenty_places_and_restored_in_fresh_processes(
    flavour: Flavour, shared: Path
) -> None:
    saved_and_restored(linux_runs.booted(flavour, shared, SOAK_PLACES))


@pytest.mark.soak
@each_flavour
def test_saved_at_any_of_twenty_places_it_comes_to_the_prompt(
    flavour: Flavour, shared: Path
) -> None:
    """In one go, and not from save to save: the boot never looks at what a TLB may hide."""
    boot = linux_runs.booted(flavour, shared, SOAK_PLACES)
    _, at_prompt = boot.prompt
    for path, before in boot.saves[:-1]:
        (seen,) = session(path, [Step(text=PROMPT)])

        assert seen.after(before.output) == at_prompt


@pytest.mark.soak
@each_flavour
def test_two_boots_are_the_same(flavour: Flavour, shared: Path, tmp_path: Path) -> None:
    """And the same as the one that was saved on its way."""
    first, second = (
        session(linux_runs.machine(flavour, tmp_path), [Step(text=PROMPT)]) for _ in range(2)
    )

    assert first == second
    assert first[0] == linux_runs.booted(flavour, shared, SOAK_PLACES).prompt[1]


# ==== at the prompt =======================================================================


def test_five_generations_deep_variables_and_files_are_there(boot: Boot, tmp_path: Path) -> None:
    """Each generation is a process that adds to a variable of the shell, and to a file in a tmpfs."""
    add = 'n=$((${n:-0} + 7)); echo "generation $n" >> /tmp/log; md5sum < /tmp/log; echo "n is $n"'
    steps = [command(add, f"n is {7 * n}") for n in range(1, GENERATIONS + 1)]
    start, _ = boot.prompt
    saving = [
        step._replace(save=str(tmp_path / f"straight-{number}.emu"))
        for number, step in enumerate(steps)
    ]
    straight = session(start, [*saving, command("cat /tmp/log", "generation 35\r\n")])

    output, path = "", start
    for number, step in enumerate(steps):
        following = tmp_path / f"{number}.emu"
        (seen,) = session(path, [step._replace(save=str(following))])
        assert seen.after(output) == straight[number]
        output, path = straight[number].output, following
    (seen,) = session(path, [command("cat /tmp/log", "generation 35\r\n")])
    assert seen.after(output) == straight[-1]


def test_short_of_memory_it_swaps_and_nobody_can_tell(boot: Boot, tmp_path: Path) -> None:
    """Pages go to a compressed swap device of memory and come back, while it is saved and restored.

    That is where Linux clears accessed bits in its page tables: what a TLB hides.
    """
    prepare = (
        "insmod /lib/zsmalloc.ko; insmod /lib/zram.ko; echo 48M > /sys/block/zram0/disksize; "
        "mkswap /dev/zram0 >/dev/null; swapon /dev/zram0; "
        "mount -o remount,size=64M /tmp; echo ready"
    )
    work = (
        "seq 1 200000 > /tmp/a; for i in $(seq 20); do cat /tmp/a; done > /tmp/big; "
        "md5sum < /tmp/big; echo worked"
    )
    start, _ = boot.prompt
    (ready,) = session(
        start, [command(prepare, "ready")._replace(save=str(tmp_path / "ready.emu"))]
    )
    assert "ready" in ready.output
    clocks = [ready.now_ns + ms * MS for ms in (500, 1200, 1900, 2600)]
    saving = [Step(clock=ns, save=str(tmp_path / f"{ns}.emu")) for ns in clocks]
    ask = "grep -E 'pswp(in|out)' /proc/vmstat; echo asked"
    steps = [
        saving[0]._replace(type=f"{work}\r"),
        *saving[1:],
        Step(text="\nworked", save=str(tmp_path / "worked.emu")),
        command(ask, "asked"),
    ]

    straight = session(tmp_path / "ready.emu", steps)

    swapped = dict(re.findall(r"(pswp\w+) (\d+)", straight[-1].output))
    assert int(swapped["pswpout"]) > 500
    assert int(swapped["pswpin"]) > 500
    big = 20 * "".join(f"{number}\n" for number in range(1, 200_001)).encode()
    assert hashlib.md5(big, usedforsecurity=False).hexdigest() in straight[-1].output
    for number, step in enumerate(steps[:-1]):
        (seen,) = session(Path(step.save or ""), [steps[number + 1]._replace(save=None)])
        assert seen.after(straight[number].output) == straight[number + 1]


def test_what_is_typed_is_recorded_and_replayed_in_another_process(
    boot: Boot, tmp_path: Path
) -> None:
    """To the same digest, or the replay would fail; with no keyboard at all the second time."""
    path, _ = boot.prompt
    record = tmp_path / "session.jsonl"
    typed = b"for i in 1 2 3; do echo line $i; done | md5sum\recho $((1 + 1))nd\r"
    ending = ("--until", "serial:\n2nd", "--pace", "off")

    recorded = processes.run("restore", str(path), "--record", str(record), *ending, input=typed)
    replayed = processes.run("restore", str(path), "--replay", str(record), *ending)

    assert (recorded.returncode, replayed.returncode) == (0, 0)
    assert replayed.stdout == recorded.stdout
    assert b"\n2nd" in recorded.stdout


@pytest.mark.soak
@each_flavour
def test_a_whole_boot_with_its_session_is_recorded_and_replayed(
    flavour: Flavour, tmp_path: Path
) -> None:
    """Typed at the prompt, as soon as it is there."""
    options = linux_runs.machine(flavour, tmp_path)
    words = [
        "run",
        "-kernel",
        options["kernel"],
        "-initrd",
        options["initrd"],
        "-m",
        options["memory"],
    ]
    words += ["-append", options["append"], "-cpu", options["cpu"], "--pace", "off"]
    words += ["--until", "serial:\n2nd"]
    record = str(tmp_path / "boot.jsonl")

    with processes.start(
        *words,
        "--record",
        record,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as recording:
        said = processes.read_until(recording.stdout.fileno(), PROMPT.encode())
        recording.stdin.write(b"dmesg | md5sum; ls -l /bin | md5sum; echo $((1 + 1))nd\r")
        recording.stdin.flush()
        said += recording.communicate()[0]
    with processes.start(*words, "--replay", record, stdout=subprocess.PIPE) as replayed:
        output, _ = replayed.communicate()

    assert (recording.returncode, replayed.returncode) == (0, 0)
    assert output == said


# ==== at work =============================================================================


@pytest.mark.soak
@each_flavour
def test_at_work_saved_and_restored_each_minute(flavour: Flavour, shared: Path) -> None:
    """md5sum, gzip, sort and fork loops; a minute of the guest's a time, its results right each time.

    The machine is saved, closed and restored in this one process, whose memory does not grow.
    """
    minutes = int(os.environ.get("EMU_LINUX_MINUTES", "3"))
    path, _ = linux_runs.booted(flavour, shared, 0).prompt
    save = path.with_name("at-work.emu")
    jobs = ("md5sum", "gzip", "sort", "fork", "shell")
    work = "while :; do " + "".join(f"sh /jobs/{job}; " for job in jobs) + "echo round; done\r"
    end = MemoryEnd()
    vm = emu.load(path, serial=end)
    vm.serial.send(work)
    output, resident = b"", []
    for _ in range(minutes):
        vm.run(until=emu.after("60s"))
        vm.save(save)
        digest = vm.digest()
        output += bytes(end.sent)
        vm.close()
        end = MemoryEnd()
        vm = emu.load(save, serial=end)
        assert vm.digest() == digest
        gc.collect()  # machines are garbage in rings: what waits for the collector is no leak
        resident.append(int(Path("/proc/self/statm").read_text().split()[1]))
    vm.close()

    _, *rounds, _ = output.replace(b"\r", b"").split(b"round\n")
    assert len(rounds) > minutes
    assert len(set(rounds)) == 1
    assert resident[-1] <= 1.05 * resident[min(1, minutes - 1)] + 2048
