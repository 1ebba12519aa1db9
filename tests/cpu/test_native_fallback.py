"""Where the native engine cannot be had, the reference engine serves, and one line says why.

Each case is a copy of the package in which one thing is not as it should be, and a process of its own.
"""

from __future__ import annotations

import importlib.machinery
import platform
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from rig import ENGINES, Rig, needs_native, python

from emu import attrs
from emu.cpu import binding, choose, errand, layout, native, preload, selfcheck
from emu.cpu.engine import EngineChoice
from emu.cpu.layout import Registers
from emu.errors import ConfigError

PACKAGE = Path(native.__file__).parent.parent
ROOT = PACKAGE.parent

PROGRAM = """
{before}
import emu.cli
print(emu.cli.main(["info"]))
with emu.Machine("hello", memory="1M") as vm:
    print(vm.run(until=emu.after("1us")).reason)
print(emu.cli.main(["run", "--engine", "native", "-m", "1M", "hello"]))
"""


@attrs.frozen
class Copy:
    """The package in another place."""

    root: Path

    @property
    def shared_object(self) -> Path:
        return next((self.root / "emu" / "cpu").glob("_native*.so"))

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.root / "emu" / "cpu" / file
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))

    def change(self, file: str) -> None:
        path = self.root / "emu" / "cpu" / file
        path.write_bytes(path.read_bytes() + b"/* and more */\n")

    def rename(self, name: str) -> None:
        """Let the shared object have another *name* there, that begins with an x."""
        data = self.shared_object.read_bytes()
        wanted = b"\0%s\0" % name.encode()
        assert wanted in data
        self.shared_object.write_bytes(data.replace(wanted, b"\0x" + wanted[2:]))

    def make_a_checkout(self) -> None:
        (self.root / "setup.py").touch()

    def complaint(self, *options: str) -> str:
        """What `emu run` says of it on standard error."""
        words = ["run", "hello", "-m", "1M", "--until", "serial:Hello", *options]
        return python(f"import emu.cli; emu.cli.main({words})", folder=self.root).stderr

    def engine(self) -> str:
        """What `emu info` says of it."""
        run = python("import emu.cli; emu.cli.main(['info'])", folder=self.root)
        return dict(line.split(maxsplit=1) for line in run.stdout.splitlines())["engine"]

    def why(self, before: str = "") -> str:
        """What it says when it is started, everywhere the same."""
        run = python(PROGRAM.format(before=before), folder=self.root)
        *info, status, reason, refused = run.stdout.splitlines()
        facts = dict(line.split(maxsplit=1) for line in info)
        engine, problem, why = facts["engine"].partition(": no native engine: ")

        assert (engine, problem) == ("reference", ": no native engine: ")
        assert facts["native"] == f"no: {why}"
        assert facts["reference"] == "yes"
        assert (status, reason, refused) == ("0", "Reason.UNTIL", "2")
        assert run.stderr == f"emu: no native engine: {why}\n"
        return why


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    shutil.copytree(PACKAGE, tmp_path / "emu", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "firmware").mkdir()
    (tmp_path / "firmware" / "images").symlink_to(ROOT / "firmware" / "images")
    return Copy(tmp_path)


@needs_native
class TestWhy:
    """The line, as it comes out; the shared object is in the process, or is not."""

    def test_no_compiler_when_it_was_installed(self, copy: Copy) -> None:
        copy.shared_object.unlink()

        assert copy.why() == (
            "emu/cpu/native.c was not compiled when emu was installed (no C compiler?)"
        )

    @pytest.mark.parametrize("file", ["shadows.c", "native.h"])
    def test_compiled_from_other_sources(self, file: str, copy: Copy) -> None:
        """In a checkout they can change, and the shared object not."""
        copy.make_a_checkout()
        copy.change(file)

        assert copy.why() == preload.STALE

    def test_which_a_run_says_as_nobody_wants_it(self, copy: Copy) -> None:
        """But nothing where the slow engine was asked for, or the fast one runs."""
        copy.make_a_checkout()
        assert copy.complaint() == ""
        copy.change("native.h")

        assert (
            copy.complaint() == f"emu: the reference engine runs, which is slow: {preload.STALE}\n"
        )
        assert copy.complaint("--engine", "reference") == ""

    def test_compiled_before_it_said_from_what(self, copy: Copy) -> None:
        copy.make_a_checkout()
        copy.rename("emu_native_sources")

        assert copy.why() == preload.STALE

    def test_compiled_from_these_sources(self, copy: Copy) -> None:
        copy.make_a_checkout()

        assert copy.engine() == "native: its self-check passes"

    def test_what_is_installed_came_whole(self, copy: Copy) -> None:
        """So nobody spends a start's time on its sources."""
        copy.change("shadows.c")

        assert copy.engine() == "native: its self-check passes"

    def test_Unicorn_was_there_first(self, copy: Copy) -> None:
        """Its own functions are bound to each other already."""
        assert copy.why("import unicorn") == "unicorn was imported before emu"

    def test_another_version_of_Unicorn(self, copy: Copy) -> None:
        """The stand-ins are in the way by then, and forward."""
        copy.edit("layout.py", 'VERSION = "2.1.4"', 'VERSION = "2.0.0"')

        assert copy.why() == "made for Unicorn 2.0.0, this is 2.1.4"

    def test_a_function_that_Unicorn_does_not_have(self, copy: Copy) -> None:
        """The name is looked up by the text that the shared object has of it."""
        copy.rename("tlb_set_dirty_x86_64")

        assert copy.why() == "Unicorn has no xlb_set_dirty_x86_64"

    def test_stand_ins_that_nobody_calls(self, copy: Copy) -> None:
        copy.edit("preload.py", "ctypes.RTLD_GLOBAL", "ctypes.RTLD_LOCAL")

        assert copy.why() == "its translator does not call the stand-ins"


FOR_IT = sys.platform == "linux" and platform.machine() == "x86_64"
BUILT = FOR_IT and bool(list((PACKAGE / "cpu").glob("_native*.so")))


@pytest.mark.skipif(not BUILT, reason="native.c is not compiled: no C compiler, or another machine")
def test_it_is_there_where_it_is_built() -> None:
    """Or else all its tests would be skipped, and nobody would notice."""
    assert native.UNAVAILABLE is None


class TestLoading:
    """What is looked at before anything is loaded."""

    def test_another_platform(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(preload.sys, "platform", "beos")

        assert preload._load() == "made for Linux on x86-64, this is beos on another machine"

    def test_another_processor(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(preload.sys, "platform", "linux")
        uname = types.SimpleNamespace(machine="riscv64")
        monkeypatch.setattr(preload.os, "uname", lambda: uname)

        assert preload._load() == "made for Linux on x86-64, this is linux on riscv64"

    @needs_native
    def test_Unicorn_was_there_first(self) -> None:
        """It is in the process by now."""
        assert preload._load() == "unicorn was imported before emu"

    @needs_native
    def test_no_shared_object(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(preload, "_is_loaded", lambda _path: False)
        monkeypatch.setattr(preload.importlib.util, "find_spec", lambda _name: None)

        assert "was not compiled" in str(preload._load())

    @needs_native
    def test_one_that_does_not_load(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        file = tmp_path / "_native.so"
        file.write_bytes(b"no ELF file")
        spec = importlib.machinery.ModuleSpec("emu.cpu._native", None, origin=str(file))
        monkeypatch.setattr(preload, "_is_loaded", lambda _path: False)
        monkeypatch.setattr(preload.importlib.util, "find_spec", lambda _name: spec)

        assert str(preload._load()).startswith("the compiled native.c does not load: ")


@pytest.mark.skipif(not binding.KNOWN_BUILD, reason="another version of Unicorn, or not on Linux")
class TestMeasuredBuild:
    """The library that everything was made with is known by what its linker has called it."""

    def test_it_is(self) -> None:
        assert binding.MEASURED_BUILD

    def test_another_is_not(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        library = Path(preload.UNICORN).read_bytes()
        other = tmp_path / "libunicorn.so.2"
        other.write_bytes(library.replace(layout.BUILD_ID, layout.BUILD_ID[::-1], 1))
        monkeypatch.setattr(preload, "UNICORN", str(other))

        assert not binding._is_measured()

    @needs_native
    def test_it_needs_no_guest_to_be_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(native, "_check", lambda _library: "it is looked at")

        assert native._find_problem() == (native._library, None)

    @needs_native
    def test_any_other_does(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(binding, "MEASURED_BUILD", False)
        monkeypatch.setattr(native, "_check", lambda _library: "it is looked at")

        assert native._find_problem() == (None, "it is looked at")


@needs_native
class TestSelfCheck:
    """What is looked at when it is loaded, and is not the build that everything was made with."""

    @pytest.fixture(autouse=True)
    def _another_build(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(binding, "MEASURED_BUILD", False)

    def test_another_version_of_Unicorn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(layout, "VERSION", "2.0.0")

        assert native._find_problem() == (None, "made for Unicorn 2.0.0, this is 2.1.4")

    def test_another_layout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(binding, "check_layout", lambda _uc, _read: "all is elsewhere")

        assert native._find_problem() == (None, "all is elsewhere")
        with pytest.raises(ConfigError, match=r"this Unicorn .* is not known: all is elsewhere"):
            Rig("reference")

    def test_stand_ins_that_nobody_calls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(errand, "run", lambda *_: None)

        assert native._find_problem() == (None, "its translator does not call the stand-ins")

    def test_blocks_counted_differently(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(selfcheck, "BLOCKS", 96)

        assert native._find_problem() == (
            None,
            "in slices of 970 a guest enters 97 blocks, not 96",
        )

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("b9 20 00", "b9 21 00"),  # once round too often
            ("e2 f6 f4", "e2 f6 e6 80 f4"),  # out 80h, al
            ("e2 f6 f4", "e2 f6 eb fe"),  # no end
        ],
    )
    def test_a_guest_that_goes_wrong(
        self, old: str, new: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        code = selfcheck.CODE.replace(bytes.fromhex(old), bytes.fromhex(new))
        monkeypatch.setattr(selfcheck, "CODE", code)

        assert native._find_problem() == (
            None,
            "a guest that changes its own code computes wrongly",
        )

    def test_nothing(self) -> None:
        assert native._find_problem() == (native._library, None)

    def test_nothing_loaded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(preload, "LOADED", "it rains")

        assert native._find_problem() == (None, "it rains")

    def test_no_memory_for_another_engine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(native._library, "emu_native_register", lambda _engine: -1)

        with pytest.raises(MemoryError):
            Rig("native")


class TestLayout:
    """The table of layout.py is checked with registers that are written by id."""

    def problem(self, engine: str, spoil: Callable[[Registers], None]) -> str | None:
        """What is found where what is read is not quite what was written."""
        rig = Rig(engine)
        running = rig.processor.engine

        def read() -> Registers:
            live = running._pull() if engine == "reference" else running.registers
            registers = Registers.from_buffer_copy(live)
            spoil(registers)
            return registers

        problem = binding.check_layout(running._uc, read)
        rig.close()
        return problem

    @pytest.mark.parametrize("engine", ENGINES)
    def test_it_is_right(self, engine: str) -> None:
        assert self.problem(engine, lambda _registers: None) is None

    @pytest.mark.parametrize(
        ("spoil", "named"),
        [
            (lambda registers: registers.regs.__setitem__(7, 0), "regs"),
            (lambda registers: setattr(registers, "fpop", 0), "fpop"),
            (lambda registers: setattr(registers.xmm[3], "high", 0), "XMM3"),
            (lambda registers: setattr(registers.fpregs[5], "mantissa", 0), "x87 register 5"),
            (lambda registers: setattr(registers.idt, "limit", 0), "idt"),
        ],
    )
    def test_a_register_elsewhere(self, spoil: Callable[[Registers], None], named: str) -> None:
        problem = self.problem("reference", spoil)

        assert problem is not None
        assert problem.removeprefix("register ") == f"{named} is not where it is expected"

    def test_a_context_of_another_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rig = Rig("reference")
        monkeypatch.setattr(layout, "CONTEXT_BYTES", 1000)

        problem = binding.check_layout(rig.processor.engine._uc, Registers)

        assert problem == "a context has 5608 bytes, expected 1000"
        rig.close()

    def test_a_call_that_the_library_refuses(self) -> None:
        """That is our mistake, and raises."""
        rig = Rig("reference")
        with pytest.raises(binding.UnicornError, match="UC_ERR_MAP"):
            rig.processor.engine._wiring.hooks.add_window(0, 4096, None, None)
        rig.close()


class TestChoice:
    """AUTO takes the native engine where it can; NATIVE insists; REFERENCE is asked for."""

    @pytest.mark.parametrize(
        ("choice", "name", "why"),
        [
            (EngineChoice.AUTO, "native", "its self-check passes"),
            (EngineChoice.NATIVE, "native", "asked for"),
            (EngineChoice.REFERENCE, "reference", "asked for"),
        ],
    )
    def test_where_there_are_both(
        self, choice: EngineChoice, name: str, why: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(native, "UNAVAILABLE", None)

        chosen = choose.choose(choice)

        assert (chosen.name, chosen.why) == (name, why)

    def test_where_there_is_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(native, "UNAVAILABLE", "it rains")

        chosen = choose.choose(EngineChoice.AUTO)

        assert (chosen.name, chosen.why) == ("reference", "no native engine: it rains")
        assert choose.choose(EngineChoice.REFERENCE).name == "reference"
        with pytest.raises(ConfigError, match="no native engine: it rains"):
            choose.choose(EngineChoice.NATIVE)

    def test_nobody_makes_one_that_is_not_to_be_had(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(native, "_library", None)
        monkeypatch.setattr(native, "UNAVAILABLE", "it rains")

        with pytest.raises(RuntimeError, match="no native engine: it rains"):
            Rig("native")


class TestNoCalls:
    """The self-check's guest needs no help; whatever it asks for counts against it."""

    def test_each(self) -> None:
        calls = [selfcheck.NoCalls() for _ in range(7)]

        assert calls[0].port_read(0, 1, 0) == 0
        calls[1].port_write(0, 1, 0, 0)
        calls[2].exception(0)
        calls[3].invalid_instruction()
        calls[4].sysenter()
        calls[5].syscall()
        calls[6].failed(ValueError())

        assert all(each.called for each in calls)
        assert not selfcheck.NoCalls().called
