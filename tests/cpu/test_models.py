"""CPUID tells the truth about each model, on both engines, and RESET# leaves the signature in EDX."""

from __future__ import annotations

import pytest
from rig import ENGINES, Rig, real_mode

from emu.cpu.models import Model

VENDOR = (0x756E_6547, 0x6C65_746E, 0x4965_6E69)
TRUTH = {  # leaf 1: signature, EBX, ECX, EDX
    Model.I486: (0x480, 0, 0, 0x0000_0009),
    Model.PENTIUM: (0x543, 0, 0, 0x0080_013D),
    Model.PENTIUM3: (0x683, 0, 0, 0x0383_A97D),
    Model.COREDUO: (0x6E8, 0x800, 1, 0x078B_A97D),
}
NOT_THERE = {  # bit of leaf 1's EDX: what it would promise
    1: "virtual-8086 mode extensions",
    7: "machine check exception",
    9: "local APIC",
    12: "MTRRs",
    14: "machine check architecture",
    21: "debug store",
    22: "thermal monitor",
    28: "hyper-threading",
    29: "thermal monitor",
}
LOOK = bytes.fromhex(
    "0f a2"  # cpuid
    "f4"  # hlt
)

models = pytest.mark.parametrize("model", Model, ids=lambda model: model.value)
engines = pytest.mark.parametrize("engine", ENGINES)


def cpuid(engine: str, model: Model, leaf: int) -> tuple[int, int, int, int]:
    rig = Rig(engine, model)
    rig.load(LOOK, real_mode(eax=leaf, ebx=0x55, ecx=0x55, edx=0x55))
    rig.run()
    state = rig.state
    rig.close()
    return state.eax, state.ebx, state.ecx, state.edx


@models
@engines
class TestLeafs:
    def test_0(self, engine: str, model: Model) -> None:
        """The highest basic leaf, and the vendor: EBX, EDX, ECX spell it."""
        eax, ebx, ecx, edx = cpuid(engine, model, 0)

        assert eax == 1
        assert (ebx, ecx, edx) == VENDOR
        assert b"".join(each.to_bytes(4, "little") for each in (ebx, edx, ecx)) == b"GenuineIntel"

    def test_1(self, engine: str, model: Model) -> None:
        assert cpuid(engine, model, 1) == TRUTH[model]

    @pytest.mark.parametrize("leaf", [2, 3, 0x4000_0000, 0x7FFF_FFFF, 0x8000_0002, 0xFFFF_FFFF])
    def test_unknown_ones(self, engine: str, model: Model, leaf: int) -> None:
        """They are answered as the highest basic one: SDM volume 2A, CPUID."""
        assert cpuid(engine, model, leaf) == TRUTH[model]

    def test_extended_ones(self, engine: str, model: Model) -> None:
        """Only Core Duo has any: NX is there."""
        if model is Model.COREDUO:
            expected = [(0x8000_0001, 0, 0, 0), (0, 0, 0, 1 << 20)]
        else:
            expected = [TRUTH[model]] * 2

        assert [cpuid(engine, model, 0x8000_0000 + each) for each in (0, 1)] == expected


@models
def test_nothing_is_promised_that_is_not_there(model: Model) -> None:
    promised = model.cpuid(1).edx

    assert [what for bit, what in NOT_THERE.items() if promised >> bit & 1] == []


@models
@engines
def test_RESET(engine: str, model: Model) -> None:
    """SDM volume 3A, 9.1.2: EDX has the signature."""
    rig = Rig(engine, model)

    rig.processor.reset()

    assert rig.state.edx == model.signature == TRUTH[model][0]
    assert (rig.state.eip, rig.state.cs.base) == (0xFFF0, 0xFFFF_0000)
    rig.close()


@engines
def test_CMOV_is_there_where_it_is_promised(engine: str) -> None:
    """A model is more than its CPUID: what it does not have is an invalid opcode."""
    reported = {}
    for model in (Model.PENTIUM, Model.PENTIUM3):
        rig = Rig(engine, model)
        rig.load(
            bytes.fromhex(
                "0f 44 c3"  # cmovz ax, bx
                "f4"  # hlt
            )
        )
        rig.run()
        reported[model] = rig.reported
        rig.close()

    assert reported == {Model.PENTIUM: [6], Model.PENTIUM3: []}
