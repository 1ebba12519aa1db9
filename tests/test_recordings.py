"""What enters a machine is written down with its time, and let in again it makes the same run."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import emu
from emu import attrs
from emu.clock import NEVER
from emu.cpu import native
from emu.errors import EmuError, HostError, StreamError
from emu.inputs import DATA_MOST, Input, Inputs, Recorder, Recording, Source, read_recording
from emu.machine import Machine
from emu.tools import session
from emu.tools.console import Console
from emu.tools.pacing import Pace
from emu.tools.session import DONE, FAILED, Plan
from emu.until import parse

MS = 1_000_000
HEAD = '{"emu-record": 1, "digest": "e1:00"}'
TYPED = '{"ns": 1500, "source": "serial", "data": "68690d"}'
END = '{"end": 2000, "digest": "e1:ff"}'

needs_native = pytest.mark.skipif(
    native.UNAVAILABLE is not None, reason=f"no native engine: {native.UNAVAILABLE}"
)
ENGINES = [pytest.param("native", marks=needs_native), "reference"]


class TestInputs:
    @pytest.fixture
    def seen(self) -> list[tuple[str, bytes]]:
        return []

    @pytest.fixture
    def inputs(self, seen: list[tuple[str, bytes]]) -> Inputs:
        inputs = Inputs(lambda what: seen.append(("applied", what.data)))
        inputs.listeners.append(lambda what: seen.append(("heard", what.data)))
        inputs.recorders.append(lambda what: seen.append(("recorded", what.data)))
        return inputs

    @staticmethod
    def at(ns: int, data: bytes) -> Input:
        return Input(ns, Source.SERIAL, data)

    def test_what_enters_now(self, inputs: Inputs, seen: list[tuple[str, bytes]]) -> None:
        """It is recorded, told of, and then it happens."""
        inputs.enter(self.at(5, b"a"))

        assert seen == [("recorded", b"a"), ("heard", b"a"), ("applied", b"a")]

    def test_what_is_scheduled(self, inputs: Inputs, seen: list[tuple[str, bytes]]) -> None:
        """It is part of the machine already: a recording need not have it."""
        inputs.schedule([self.at(7, b"b"), self.at(5, b"a")])
        inputs.enter_due(6)

        assert seen == [("heard", b"a"), ("applied", b"a")]
        assert inputs.next_ns == 7
        assert inputs.state.pending == [self.at(7, b"b")]

    def test_what_is_played(self, inputs: Inputs, seen: list[tuple[str, bytes]]) -> None:
        """It comes from outside, and the machine does not know of it before its time."""
        inputs.play([self.at(5, b"a"), self.at(7, b"b")])
        pending = inputs.state.pending
        inputs.enter_due(6)

        assert pending == []
        assert inputs.next_ns == 7
        assert seen == [("recorded", b"a"), ("heard", b"a"), ("applied", b"a")]

    def test_the_same_time(self, inputs: Inputs, seen: list[tuple[str, bytes]]) -> None:
        """What was scheduled comes first, as it did when the other was recorded."""
        inputs.play([self.at(5, b"played")])
        inputs.schedule([self.at(5, b"first"), self.at(5, b"second")])
        inputs.enter_due(5)

        applied = [data for kind, data in seen if kind == "applied"]
        assert applied == [b"first", b"second", b"played"]
        assert inputs.next_ns == NEVER


class TestFiles:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "r.jsonl"

    def test_what_is_written(self, path: Path) -> None:
        """The form that the documentation has, a line at a time."""
        recorder = Recorder(path, "e1:00")
        recorder.record(Input(1500, Source.SERIAL, b"hi\r"))
        recorder.record(Input(1500, Source.BOOT_SET, b"cd"))
        unfinished = path.read_text()
        recorder.finish(2000, "e1:ff")

        assert unfinished.splitlines() == [
            HEAD,
            TYPED,
            '{"ns": 1500, "source": "boot_set", "data": "6364"}',
        ]
        assert path.read_text() == f"{unfinished}{END}\n"

    def test_is_read_again(self, path: Path) -> None:
        """As it was written."""
        path.write_text(f"{HEAD}\n{TYPED}\n{TYPED}\n{END}\n")
        typed = Input(1500, Source.SERIAL, b"hi\r")

        assert read_recording(path) == Recording("e1:00", (typed, typed), 2000, "e1:ff")

    def test_an_old_one_is_replaced(self, path: Path) -> None:
        """A new recording begins anew."""
        path.write_text("old")
        Recorder(path, "e1:00").finish(2000, "e1:ff")

        assert read_recording(path) == Recording("e1:00", (), 2000, "e1:ff")

    @pytest.mark.parametrize("place", [".", "no/such/folder/r"])
    def test_a_file_that_cannot_be_written(self, tmp_path: Path, place: str) -> None:
        """One line, before anything has run."""
        with pytest.raises(HostError, match=r": (Is a directory|No such file or directory)$"):
            Recorder(tmp_path / place, "e1:00")

    @pytest.mark.parametrize("place", [".", "nosuch"])
    def test_a_file_that_cannot_be_read(self, tmp_path: Path, place: str) -> None:
        """One line."""
        with pytest.raises(HostError, match=r": (Is a directory|No such file or directory)$"):
            read_recording(tmp_path / place)

    @pytest.mark.parametrize(
        ("lines", "problem"),
        [
            ([HEAD, TYPED], ", line 2: the recording breaks off here"),
            ([HEAD], ", line 1: the recording breaks off here"),
            (
                [HEAD, TYPED, END[:-1]],
                ", line 3: not a JSON object: damaged, or not of a recording",
            ),
            (
                [HEAD, TYPED[:-9], END],
                ", line 2: not a JSON object: damaged, or not of a recording",
            ),
            ([HEAD, "[" * 100_000, END], ", line 2: not a JSON object"),
            ([HEAD, "", END], ", line 2: not a JSON object"),
            (["[1]", END], ", line 1: not a JSON object"),
            (
                [TYPED, END],
                ", line 1: not its fields, found ns, source, data, expected emu-record,",
            ),
            ([HEAD, END, END], ", line 2: not its fields, found end, digest, expected ns, source"),
            ([HEAD, TYPED, END, TYPED], ", line 4: the recording breaks off here"),
            ([HEAD.replace("1", "2", 1), END], ", line 1: version, found 2, expected 1"),
            ([HEAD.replace("1", "true", 1), END], ", line 1: not its fields"),
            ([HEAD, TYPED.replace("1500", "1.5"), END], ", line 2: not its fields"),
            ([HEAD, TYPED.replace("1500", "-1"), END], ", line 2: out of order, found -1"),
            (
                [HEAD, TYPED, TYPED.replace("1500", "1499"), END],
                ", line 3: out of order, found 1499",
            ),
            ([HEAD, TYPED, END.replace("2000", "1499")], ", line 3: out of order, found 1499"),
            ([HEAD, END.replace("2000", "9" * 30)], ", line 2: out of order, found 9999"),
            (
                [HEAD, TYPED.replace("serial", "kettle"), END],
                ", line 2: an unknown source, found 'ke",
            ),
            ([HEAD, TYPED.replace("68690d", "6869z0"), END], ", line 2: data is not hexadecimal"),
            (
                [HEAD, TYPED.replace("68690d", "00" * (DATA_MOST + 1)), END],
                ", line 2: too much data, found 65537, expected 65536",
            ),
            ([], ": not a recording: it is empty"),
        ],
    )
    def test_a_damaged_one_is_refused(self, path: Path, lines: list[str], problem: str) -> None:
        """In one line that names the line."""
        path.write_text("\n".join(lines))

        with pytest.raises(StreamError) as caught:
            read_recording(path)
        assert str(caught.value).startswith(f"{path}{problem}")
        assert "\n" not in str(caught.value)

    def test_another_kind_of_file_is_refused(self, path: Path) -> None:
        """A save, for one."""
        path.write_bytes(b"QEVM\xff\xff")

        with pytest.raises(StreamError, match=r": not a recording$"):
            read_recording(path)

    @pytest.mark.parametrize("length", range(0, len(f"{HEAD}\n{TYPED}\n{END}"), 7))
    def test_a_cut_one_is_refused(self, path: Path, length: int) -> None:
        """Wherever it is cut."""
        path.write_text(f"{HEAD}\n{TYPED}\n{END}"[:length])

        with pytest.raises(StreamError):
            read_recording(path)


@attrs.define(eq=False)
class Typist:
    """A host end with somebody at it, who types each answer as its question is on the screen."""

    answers: list[tuple[bytes, bytes]] = attrs.field(factory=list)
    sent: bytearray = attrs.field(init=False, factory=bytearray)
    _typed: bytes = attrs.field(init=False, default=b"")

    at_end = False

    def write(self, data: bytes) -> None:
        self.sent += data
        if self.answers and self.sent.endswith(self.answers[0][0]):
            self._typed += self.answers.pop(0)[1]

    def read(self, most: int) -> bytes:
        data, self._typed = self._typed[:most], self._typed[most:]
        return data

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        pass


@attrs.frozen
class Ended:
    """What can be seen of a run that has ended."""

    output: bytes
    now_ns: int
    digest: str


@attrs.define(eq=False)
class Session:
    """A machine in the hands of `emu.tools.session`, as on the command line."""

    vm: Machine
    end: Typist

    def run(self, **plan: Any) -> int:
        """Run as *plan* says, at the host's full speed; the exit status."""
        return session.run(self.vm, Plan(**plan), Console(self.vm, pace=Pace.OFF))

    def look(self) -> Ended:
        return Ended(bytes(self.end.sent), self.vm.clock.now_ns, self.vm.digest())


RECORDING = Path("r.jsonl")
HELLO = [(b"> ", b"hello\r"), (b"olleh\r\n> ", b"bye\x7f"), (b"\x08", b"!\r"), (b"\n> ", b"\x04")]
EXPECTED = (
    b"emu ROM: guest at 0000:7C00\r\n> hello\r\n5: olleh\r\n> bye\x08 \x08!\r\n3: !yb\r\n> bye\r\n"
)


class TestSessions:
    """A machine runs as it was recorded, in every respect."""

    @pytest.fixture(autouse=True)
    def _here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    @pytest.fixture
    def start(self) -> Iterator[Callable[..., Session]]:
        """Start a session with a guest or a save, and answers to what it says."""
        machines: list[Machine] = []

        def start(source: str | io.BytesIO = "echo", answers: Any = (), **rest: Any) -> Session:
            end = Typist(list(answers))
            if isinstance(source, str):
                vm = Machine(source, memory="1M", serial=end, **rest)
            else:
                vm = emu.load(source, serial=end, **rest)
            machines.append(vm)
            return Session(vm, end)

        yield start
        for vm in machines:
            vm.close()

    @pytest.fixture
    def recorded(self, start: Callable[..., Session]) -> Session:
        """The guest that echoes, after a session that was recorded."""
        recorded = start("echo", HELLO)
        recorded.run(record=RECORDING)
        return recorded

    def test_what_was_typed(self, recorded: Session) -> None:
        """The guest has heard it, and the recording has it."""
        entered = read_recording(RECORDING).inputs

        assert recorded.look().output == EXPECTED
        assert b"".join(each.data for each in entered) == b"hello\rbye\x7f!\r\x04"

    @pytest.mark.parametrize("engine", ENGINES)
    def test_replayed(
        self,
        recorded: Session,
        start: Callable[..., Session],
        capsys: pytest.CaptureFixture[str],
        engine: str,
    ) -> None:
        """The same output, clock and digest on either engine, said in one line; status 0."""
        replayed = start(engine=engine)
        status = replayed.run(replay=RECORDING)

        assert replayed.look() == recorded.look()
        assert status == DONE
        assert capsys.readouterr().err == (
            f"emu: the replay ended as recorded: {recorded.vm.digest()}\n"
        )

    def test_nobody_else_is_heard(self, recorded: Session, start: Callable[..., Session]) -> None:
        """What is typed while a recording plays does not reach the guest."""
        replayed = start("echo", [(b"> h", b"xyz\r")])
        replayed.run(replay=RECORDING)

        assert replayed.look() == recorded.look()

    @pytest.mark.parametrize("moment", ["serial:5: ol", "clock:4ms", "clock:0", "serial:3: !y"])
    def test_on_the_way(self, start: Callable[..., Session], moment: str) -> None:
        """In the middle a replay is what the recorded run was there: it knows no future."""
        there = start("echo", HELLO)
        there.run(record=RECORDING, goals=(parse(moment),))
        before = there.look()
        whole = start("echo", HELLO)
        whole.run(record=RECORDING)
        replayed = start()
        status = replayed.run(replay=RECORDING, goals=(parse(moment),))

        assert (status, replayed.look()) == (DONE, before)

    @pytest.mark.parametrize("moment", ["serial:5: ol", "serial:3: !y"])
    def test_of_a_restored_machine(self, start: Callable[..., Session], moment: str) -> None:
        """A recording begins anywhere, and plays where the same save is restored."""
        first = start("echo", HELLO)
        first.run(goals=(parse(moment),))
        save = io.BytesIO()
        first.vm.save(save)
        recorded = start(io.BytesIO(save.getvalue()), [(b"> ", b"after\r"), (b"\n> ", b"\x04")])
        recorded.run(record=RECORDING)
        replayed = start(io.BytesIO(save.getvalue()))
        status = replayed.run(replay=RECORDING)

        assert b"5: retfa" in recorded.end.sent
        assert (status, replayed.look()) == (DONE, recorded.look())

    def test_of_a_machine_with_inputs_to_come(self, start: Callable[..., Session]) -> None:
        """What was scheduled, and saved, enters once."""
        scheduled = [Input(8 * MS, Source.SERIAL, b"ab"), Input(NEVER - 1, Source.SERIAL, b"never")]
        recorded = start("echo", [(b"> a", b"c\r"), (b"\n> ", b"\x04")])
        recorded.vm.inputs.schedule(scheduled)
        recorded.run(record=RECORDING)
        replayed = start()
        replayed.vm.inputs.schedule(scheduled)
        status = replayed.run(replay=RECORDING)

        assert b"3: cba" in recorded.end.sent or b"3: bca" in recorded.end.sent
        assert (status, replayed.look()) == (DONE, recorded.look())

    def test_all_kinds_of_input(self, start: Callable[..., Session]) -> None:
        """The reset button and a boot order are inputs, too."""
        recorded = start("echo", [(b"> ", b"one\r")])
        recorder = Recorder(RECORDING, recorded.vm.digest())
        recorded.vm.inputs.recorders.append(recorder.record)
        recorded.vm.run(emu.clock("7ms"))
        recorded.vm.reset()
        recorded.vm.boot_set("dc")
        recorded.vm.serial.send("two\r")
        recorded.vm.run(emu.clock("20ms"))
        recorder.finish(recorded.vm.clock.now_ns, recorded.vm.digest())
        replayed = start()
        status = replayed.run(replay=RECORDING)

        assert recorded.end.sent.count(b"emu ROM") == 2
        assert (status, replayed.look()) == (DONE, recorded.look())

    @pytest.mark.parametrize("guest", ["hello", "primes"])
    @pytest.mark.parametrize("limit", [None, emu.after("5ms")])
    def test_runs_that_nobody_types_to(
        self, start: Callable[..., Session], guest: str, limit: Any
    ) -> None:
        """However they end: by themselves, or after a time."""
        recorded = start(guest)
        recorded.run(record=RECORDING, limit=limit)
        replayed = start(guest)
        status = replayed.run(replay=RECORDING)

        assert (status, replayed.look()) == (DONE, recorded.look())

    def test_a_goal_that_the_recording_does_not_reach(
        self,
        recorded: Session,
        start: Callable[..., Session],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """The replay was right, and yet whoever waited did so in vain: status 1."""
        replayed = start()
        status = replayed.run(replay=RECORDING, goals=(emu.serial("never"),))

        assert status == FAILED
        assert capsys.readouterr().err.splitlines() == [
            f"emu: the replay ended as recorded: {recorded.vm.digest()}",
            f"emu: clock:{recorded.vm.clock.now_ns}, and before that not met: serial:never",
        ]

    def test_a_limit_before_the_end(self, recorded: Session, start: Callable[..., Session]) -> None:
        """``--for`` ends a replay as it does any run."""
        replayed = start()
        status = replayed.run(replay=RECORDING, limit=emu.after("1ms"))

        assert status == DONE
        assert 1 * MS <= replayed.vm.clock.now_ns < recorded.vm.clock.now_ns

    def test_saved_at_its_end(self, recorded: Session, start: Callable[..., Session]) -> None:
        """A replay is a run like any other."""
        start().run(replay=RECORDING, save="end.emu")
        restored = emu.load("end.emu")

        assert restored.digest() == recorded.vm.digest()
        restored.close()

    @pytest.mark.usefixtures("recorded")
    def test_on_another_machine(self, start: Callable[..., Session]) -> None:
        """It is refused before anything has run."""
        other = start("hello")

        with pytest.raises(StreamError, match=r"^r.jsonl: recorded on another machine, found e1:"):
            other.run(replay=RECORDING)
        assert other.look().now_ns == 0

    @pytest.mark.usefixtures("recorded")
    def test_that_ends_differently(self, start: Callable[..., Session]) -> None:
        """A letter that was changed by hand is found out."""
        lines = RECORDING.read_text().splitlines()
        first = json.loads(lines[1])
        lines[1] = json.dumps({**first, "data": "6a" + first["data"][2:]})
        RECORDING.write_text("\n".join(lines))

        with pytest.raises(StreamError, match=r"^r.jsonl: the replay ended differently, found e1:"):
            start().run(replay=RECORDING)

    def test_more_than_the_line_can_hold(self, start: Callable[..., Session]) -> None:
        """A recording made by hand cannot break the machine."""
        digest = start().vm.digest()
        flood = json.dumps({"ns": 5, "source": "serial", "data": "78" * DATA_MOST})
        head, end = ({"emu-record": 1, "digest": digest}, {"end": 10, "digest": digest})
        RECORDING.write_text("\n".join([json.dumps(head), flood, flood, json.dumps(end)]))

        with pytest.raises(HostError, match=r"^serial port: more was sent than can wait"):
            start().run(replay=RECORDING)

    @pytest.mark.parametrize("order", [b"x", b"\xff\xfe", b"", b"aa"])
    def test_a_boot_order_that_is_none(self, start: Callable[..., Session], order: bytes) -> None:
        """It is refused in one line, or means nothing."""
        digest = start().vm.digest()
        wrong = {"ns": 5, "source": "boot_set", "data": order.hex()}
        head, end = ({"emu-record": 1, "digest": digest}, {"end": 10, "digest": digest})
        RECORDING.write_text("\n".join(json.dumps(line) for line in (head, wrong, end)))

        with pytest.raises(EmuError, match=r"^(boot order|r.jsonl: the replay ended diff)[^\n]+$"):
            start().run(replay=RECORDING)
