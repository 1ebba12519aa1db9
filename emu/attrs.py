"""Records, declared once: what this project uses of attrs, under attrs's names, and quick to import.

    @attrs.define            a class whose annotations are its fields: __init__, ==, repr
    @attrs.frozen            the same, unchangeable once made, and with a hash
    attrs.field(...)         a field that is more than its annotation and a default

Who knows attrs knows this.  attrs itself writes the methods of each class as text and compiles that
whenever the class is defined; for the hundred classes of a machine, and with all that attrs imports,
this took longer than anything else that happens before a guest runs.  Here the methods are
closures over the fields, so that a class costs next to nothing.

Not as in attrs: no slots, but where stores are checked none goes to what is no field; no converters,
no order; a field's name is its parameter's, underscore and all; stores may go unchecked
(`check_stores=False`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")

Validator = Callable[[Any, Any, Any], None]  # the record, the field's Attribute, the value

NOTHING: Any = object()  # no default


class FrozenInstanceError(AttributeError):
    """A store to a record that does not change."""


class Attribute:
    """One field of a record."""

    def __init__(
        self,
        default: Any,
        factory: Callable[[], Any] | None,
        validator: Validator | None,
        init: bool,  # noqa: FBT001 - see field()
        kw_only: bool,  # noqa: FBT001
        eq: bool,  # noqa: FBT001
        metadata: Mapping[str, Any],
    ) -> None:
        self.name = ""  # known once the class is there
        self.default = default
        self.factory = factory
        self.validator = validator
        self.init = init
        self.kw_only = kw_only
        self.eq = eq
        self.metadata = metadata


def field(
    *,
    default: Any = NOTHING,
    factory: Callable[[], Any] | None = None,
    validator: Validator | None = None,
    init: bool = True,
    kw_only: bool = False,
    eq: bool = True,
    metadata: Mapping[str, Any] | None = None,
) -> Any:
    """A field; with `init=False` it is none of `__init__`'s parameters, with `eq=False` no matter.

    The *validator* raises for a value that does not fit: when the record is made, and at each store.
    """
    return Attribute(default, factory, validator, init, kw_only, eq, metadata or {})


@dataclass_transform(field_specifiers=(field,))
def define(
    cls: Any = None, *, eq: bool = True, check_stores: bool = True, _frozen: bool = False
) -> Any:
    """Make *cls* a class of records; with `eq=False` each is equal to itself alone."""
    if cls is None:
        return lambda decorated: define(
            decorated, eq=eq, check_stores=check_stores, _frozen=_frozen
        )
    own = _declared(cls)
    for each in own:
        if each.name in vars(cls):  # its default, which is not the class's own
            delattr(cls, each.name)
    mine = {each.name for each in own}
    inherited = [each for each in getattr(cls, "__fields__", ()) if each.name not in mine]
    cls.__fields__ = (*inherited, *own)
    methods: dict[str, Any] = {
        "__init__": _init(cls),
        "__repr__": _repr,
        "__match_args__": _positional(cls),
    }
    if eq:
        methods |= {"__eq__": _eq, "__hash__": _hash if _frozen else None}
    if _frozen:
        methods |= {"__setattr__": _refuse, "__delattr__": _refuse}
    elif check_stores and any(each.validator for each in fields(cls)):
        methods["__setattr__"] = _checking_setattr(cls)
    for name, method in methods.items():
        if name not in vars(cls):
            setattr(cls, name, method)
    return cls


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: Any = None, *, eq: bool = True) -> Any:
    """Make a record of *cls* that does not change."""
    return define(cls, eq=eq, _frozen=True)


# ==== looking at records ==================================================================


def has(cls: type[Any]) -> bool:
    """True where *cls* is a class of records."""
    return hasattr(cls, "__fields__")


def fields(cls: type[Any]) -> tuple[Attribute, ...]:
    """The fields of *cls*, in their order; AttributeError where it is no class of records."""
    found: tuple[Attribute, ...] = cls.__fields__
    return found


def validate(record: Any) -> None:
    """Let each validator look at what *record* holds now."""
    for each in fields(type(record)):
        if each.validator is not None:
            each.validator(record, each, getattr(record, each.name))


def evolve(record: T, **changes: Any) -> T:
    """A new record like *record*, but for the *changes*."""
    for each in fields(type(record)):
        if each.init and each.name not in changes:
            changes[each.name] = getattr(record, each.name)
    return type(record)(**changes)


def asdict(record: Any, *, recurse: bool = True) -> dict[str, Any]:
    """The values of *record* by name; records within become mappings as well, if *recurse*."""
    values = {each.name: getattr(record, each.name) for each in fields(type(record))}
    return {name: _plain(value) for name, value in values.items()} if recurse else values


def _plain(value: Any) -> Any:
    if has(type(value)):
        return asdict(value)
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(map(_plain, value))
    if isinstance(value, dict):
        return {_plain(key): _plain(each) for key, each in value.items()}
    return value


# ==== how a class is made =================================================================


def _declared(cls: type[Any]) -> tuple[Attribute, ...]:
    """The fields that *cls* itself declares."""
    found = []
    for name, annotation in vars(cls).get("__annotations__", {}).items():
        if str(annotation).startswith(("ClassVar", "typing.ClassVar")):
            continue
        value = vars(cls).get(name, NOTHING)
        attribute = value if isinstance(value, Attribute) else field(default=value)
        attribute.name = name
        found.append(attribute)
    return tuple(found)


def _positional(cls: type[Any]) -> tuple[str, ...]:
    return tuple(each.name for each in fields(cls) if each.init and not each.kw_only)


def _init(cls: type[Any]) -> Callable[..., None]:
    """The `__init__` of the records of *cls*."""
    attributes = fields(cls)
    positional = _positional(cls)
    parameters = frozenset(each.name for each in attributes if each.init)
    defaults = {each.name: each.default for each in attributes if each.default is not NOTHING}
    factories = [(each.name, each.factory) for each in attributes if each.factory is not None]
    checks = [(each, each.validator) for each in attributes if each.validator is not None]
    fewest = len(parameters.union(defaults, (name for name, _ in factories)))
    store = object.__setattr__  # the class's own checks, or refuses
    post_init = getattr(cls, "__attrs_post_init__", None)

    def __init__(self: Any, /, *args: Any, **given: Any) -> None:  # noqa: N807
        values = dict(zip(positional, args))  # noqa: B905 - `count` tells
        values.update(given)
        count = len(args) + len(given)
        if len(values) != count or not parameters.issuperset(values):
            raise TypeError(f"{cls.__name__}{positional}: got {args} and {given}")
        values = {**defaults, **values}
        for name, make in factories:
            if name not in values:
                values[name] = make()
        if len(values) < fewest:
            raise TypeError(f"{cls.__name__}{positional}: got only {args} and {given}")
        for name, value in values.items():
            store(self, name, value)
        for each, check in checks:
            check(self, each, values[each.name])
        if post_init is not None:
            post_init(self)

    return __init__


def _checking_setattr(cls: type[Any]) -> Callable[[Any, str, Any], None]:
    declared = {each.name: each for each in fields(cls)}

    def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807
        attribute = declared.get(name)
        if attribute is None:
            if not hasattr(cls, name):  # no property of the class's either: it would not be saved
                raise AttributeError(f"{cls.__name__} has no field {name!r}")
        elif attribute.validator is not None:
            attribute.validator(self, attribute, value)
        object.__setattr__(self, name, value)

    return __setattr__


def _refuse(self: Any, name: str, *_: Any) -> None:
    raise FrozenInstanceError(f"{type(self).__name__}.{name}: it does not change")


def _values(record: Any) -> tuple[Any, ...]:
    """What records are compared by."""
    return tuple(getattr(record, each.name) for each in fields(type(record)) if each.eq)


def _eq(self: Any, other: Any) -> Any:
    return _values(self) == _values(other) if type(self) is type(other) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _repr(self: Any) -> str:
    held = vars(self)
    values = (
        f"{each.name}={held[each.name]!r}" if each.name in held else f"{each.name}=<not set>"
        for each in fields(type(self))
    )
    return f"{type(self).__qualname__}({', '.join(values)})"
