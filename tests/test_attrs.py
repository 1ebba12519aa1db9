"""Records: what emu.attrs makes of a class."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import pytest

from emu import attrs


class TooLargeError(ValueError):
    """What the validator of these tests raises."""


def is_small(_record: object, field: attrs.Attribute, value: int) -> None:
    if value > 9:
        raise TooLargeError(field.name)


@attrs.define
class Point:
    """A record with everything."""

    LIMIT: ClassVar[int] = 9
    x: int
    y: int = attrs.field(default=2, validator=is_small, metadata={"doc": "up"})
    tags: list[str] = attrs.field(factory=list)
    unit: str = attrs.field(default="mm", kw_only=True)
    _seen: int = attrs.field(init=False, default=0)
    later: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._seen = self.x

    @property
    def both(self) -> tuple[int, int]:
        return self.x, self.y

    @both.setter
    def both(self, value: int) -> None:
        self.x = self.y = value


@attrs.frozen
class Fixed:
    """A record that does not change."""

    a: int
    b: Any = None


class TestMaking:
    """By position, by name, by default."""

    def test_each_value_comes_from_where_it_should(self) -> None:
        point = Point(1, tags=["t"], unit="m")

        assert (point.x, point.y, point.tags, point.unit) == (1, 2, ["t"], "m")

    def test_a_factory_makes_one_for_each(self) -> None:
        assert Point(1).tags is not Point(1).tags

    def test_the_class_can_have_the_last_word(self) -> None:
        assert Point(7)._seen == 7

    def test_a_field_may_come_later(self) -> None:
        point = Point(1)
        with pytest.raises(AttributeError):
            _ = point.later

        point.later = 3

        assert point.later == 3

    def test_a_class_variable_is_no_field(self) -> None:
        assert "LIMIT" not in [each.name for each in attrs.fields(Point)]
        assert Point.LIMIT == 9

    def test_a_class_may_have_an_init_of_its_own(self) -> None:
        @attrs.define
        class Own:
            x: int

            def __init__(self) -> None:
                self.x = 4

        assert Own() == Own()
        assert Own().x == 4

    @pytest.mark.parametrize(
        ("args", "given"),
        [
            ((), {}),  # too few
            ((), {"y": 1}),
            ((1, 2, [], "mm"), {}),  # too many: unit has no position
            ((1,), {"x": 1}),  # twice
            ((1,), {"z": 1}),  # no such field
            ((1,), {"_seen": 1}),  # no parameter
            ((), {"z": 1}),  # as many as are needed, and not those
        ],
    )
    def test_what_is_wrong(self, args: tuple[Any, ...], given: dict[str, Any]) -> None:
        with pytest.raises(TypeError, match="Point"):
            Point(*args, **given)

    def test_what_is_inherited_comes_first(self) -> None:
        @attrs.define
        class Deep(Point):
            x: int = 5
            z: int = 6

        deep = Deep(tags=["a"])

        assert [each.name for each in attrs.fields(Deep)][-2:] == ["x", "z"]
        assert (deep.x, deep.y, deep.z, deep.tags) == (5, 2, 6, ["a"])
        assert deep != Point(5, tags=["a"])


class TestChecking:
    """A validator sees a value when it is made, when it is stored, when it is asked."""

    def test_making(self) -> None:
        with pytest.raises(TooLargeError, match="y"):
            Point(1, 10)

    def test_storing(self) -> None:
        point = Point(1)
        with pytest.raises(TooLargeError):
            point.y = 10

        assert point.y == 2

    def test_storing_to_what_is_no_field(self) -> None:
        """A State's value in the wrong place would be in no save."""
        with pytest.raises(AttributeError, match="Point has no field 'z'"):
            Point(1).z = 1  # type: ignore[attr-defined]

    def test_storing_by_a_property(self) -> None:
        point = Point(1)
        point.both = 3

        assert (point.x, point.y) == (3, 3)

        assert Point(1, 9).x == 1

    def test_a_field_without_one_takes_everything(self) -> None:
        point = Point(1)
        point.x = 10
        attrs.validate(Fixed(point))

        assert point.x == 10

    def test_asking(self) -> None:
        @attrs.define(check_stores=False)
        class Unchecked:
            y: int = attrs.field(default=0, validator=is_small)

        record = Unchecked()
        record.y = 10
        with pytest.raises(TooLargeError):
            attrs.validate(record)
        with pytest.raises(TooLargeError):
            Unchecked(10)
        attrs.validate(Unchecked(9))


class TestFrozen:
    """It does not change; so it can be a key."""

    def test_it_refuses(self) -> None:
        fixed = Fixed(1)
        with pytest.raises(attrs.FrozenInstanceError, match=r"Fixed\.a"):
            fixed.a = 2  # type: ignore[misc]
        with pytest.raises(attrs.FrozenInstanceError):
            del fixed.a

        assert fixed.a == 1

    def test_equal_ones_have_equal_hashes(self) -> None:
        assert {Fixed(1): "found"}[Fixed(1)] == "found"
        assert hash(Fixed(1)) != hash(Fixed(2))

    def test_what_changes_has_no_hash(self) -> None:
        with pytest.raises(TypeError, match="unhashable"):
            hash(Point(1))


class TestComparing:
    """By the values, unless the class says it is not to be."""

    def test_every_field_counts(self) -> None:
        assert Fixed(1, 2) == Fixed(1, 2)
        assert Fixed(1, 2) != Fixed(1, 3)
        assert Fixed(1, 2) != (1, 2)

    def test_or_some(self) -> None:
        @attrs.frozen
        class Noted:
            x: int
            note: str = attrs.field(default="", eq=False)

        assert Noted(1, "a") == Noted(1, "b")
        assert hash(Noted(1, "a")) == hash(Noted(1, "b"))
        assert Noted(1, "a") != Noted(2, "a")

    @pytest.mark.parametrize("decorate", [attrs.define(eq=False), attrs.frozen(eq=False)])
    def test_or_none(self, decorate: Any) -> None:
        @decorate
        class Thing:
            x: int = 1

        one = Thing()

        assert one != Thing()
        assert {one: 1}[one] == 1

    def test_patterns_go_by_position(self) -> None:
        match Fixed(1, 2):
            case Fixed(a, b):
                assert (a, b) == (1, 2)
            case _:
                pytest.fail("does not match")


class TestUsing:
    """The functions that take a record apart, and make one from another."""

    def test_what_it_looks_like(self) -> None:
        assert repr(Fixed(1, "b")) == "Fixed(a=1, b='b')"
        assert "later=<not set>" in repr(Point(1))

    def test_fields_are_told_of(self) -> None:
        assert attrs.has(Point)
        assert not attrs.has(int)
        assert attrs.fields(Point)[1].metadata == {"doc": "up"}

    def test_another_like_it(self) -> None:
        fixed = Fixed(1, 2)

        assert attrs.evolve(fixed, b=3) == Fixed(1, 3)
        assert fixed == Fixed(1, 2)

    def test_as_mappings(self) -> None:
        nested = Fixed(1, [Fixed(2), {"k": Fixed(3)}])

        assert attrs.asdict(nested) == {
            "a": 1,
            "b": [{"a": 2, "b": None}, {"k": {"a": 3, "b": None}}],
        }
        assert attrs.asdict(nested, recurse=False) == {"a": 1, "b": nested.b}

    @pytest.mark.parametrize("record", [Point(1, tags=["a"]), Fixed(1, ["b"])])
    def test_copies(self, record: Any) -> None:
        """Of one that changes, and of one that does not."""
        same = copy.deepcopy(record)

        assert (repr(same), same is record) == (repr(record), False)
