"""`dataclass` and its like, as in the standard library, but quick to define.

The standard library compiles several functions for each class as it is defined, which
takes 0.5 ms: 55 ms of the start of each run, for classes of which most runs use a few.
Here only `__init__` is compiled, when the first instance is made; what else a class
needs is shared by all. A frozen instance is made in half the time, too.

Only `frozen` and `slots` can be asked for, and both `default` and `default_factory`.
Functions of the module `dataclasses` work with these classes.
"""

from operator import attrgetter
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    # What type checkers know of these, which is all there is to know.
    from dataclasses import dataclass, field, replace
else:
    from reprlib import recursive_repr

    _REQUIRED = object()

    class _Field:
        def __init__(self, default, factory, *, shown, compared):
            self.name = ""
            self.default = default
            self.factory = factory
            self.shown = shown
            self.compared = compared

        @property
        def has_default(self):
            return self.factory is not None or self.default is not _REQUIRED

    def field(
        *,
        default=_REQUIRED,
        default_factory=None,
        repr=True,  # noqa: A002 -- as there
        compare=True,
    ):
        """Return what `dataclass` is to know of a field."""
        return _Field(default, default_factory, shown=repr, compared=compare)

    def dataclass(cls=None, /, *, frozen=False, slots=False):
        """Make a class of values, as `dataclasses.dataclass` does."""

        def make(cls):
            return _make(cls, frozen=frozen, slots=slots)

        return make if cls is None else make(cls)

    def replace(value, /, **changes):
        """Return a copy of `value` with other values in some fields."""
        for one in type(value).__values__:
            if one.name not in changes:
                changes[one.name] = getattr(value, one.name)
        return type(value)(**changes)

    def _make(cls, *, frozen, slots):
        inherited = [
            one
            for base in reversed(cls.__mro__[1:])
            for one in base.__dict__.get("__values__", ())
        ]
        own = [_own(cls, name) for name in _annotated(cls)]
        fields = tuple({one.name: one for one in (*inherited, *own)}.values())
        for one in own:
            if one.factory is None and one.default is not _REQUIRED and not slots:
                setattr(cls, one.name, one.default)
            elif one.name in cls.__dict__:
                delattr(cls, one.name)
        if slots:
            known = {one.name for one in inherited}
            cls = _with_slots(cls, [one.name for one in own if one.name not in known])
        _equip(cls, fields, frozen=frozen)
        return cls

    def _annotated(cls):
        kinds = cls.__annotations__.items()
        return [name for name, kind in kinds if not _is_of_class(kind)]

    def _is_of_class(kind):
        return kind is ClassVar or getattr(kind, "__origin__", None) is ClassVar

    def _own(cls, name):
        found = cls.__dict__.get(name, _REQUIRED)
        one = found if isinstance(found, _Field) else field(default=found)
        one.name = name
        return one

    # A class gets slots as it is made: so it is made once more, as dataclasses does.
    def _with_slots(cls, names):
        content = dict(cls.__dict__)
        content.pop("__dict__", None)
        content.pop("__weakref__", None)
        again = type(cls)(
            cls.__name__, cls.__bases__, {**content, "__slots__": tuple(names)}
        )
        again.__qualname__ = cls.__qualname__
        return again

    def _equip(cls, fields, *, frozen):
        names = [one.name for one in fields]
        shown = [one.name for one in fields if one.shown]
        content = _content([one.name for one in fields if one.compared])
        cls.__values__ = fields
        cls.__match_args__ = tuple(names)
        cls.__dataclass_fields__ = _StandardFields()
        _add(cls, "__init__", _first_init(cls, frozen=frozen))
        _add(cls, "__repr__", _repr(shown))
        # Python itself gives a class with a method __eq__ the hash None.
        if cls.__dict__.get("__hash__") is None:
            cls.__hash__ = (lambda self: hash(content(self))) if frozen else None
        _add(cls, "__eq__", _eq(content))
        if frozen:
            cls.__setattr__ = _refuse_to_set
            cls.__delattr__ = _refuse_to_delete
            cls.__getstate__, cls.__setstate__ = _state, _set_state

    def _add(cls, name, function):
        if name not in cls.__dict__:
            setattr(cls, name, function)

    # Returns a function that returns the fields of an instance, as one value.
    def _content(names):
        return attrgetter(*names) if names else lambda _: ()

    def _eq(content):
        def __eq__(self, other):  # noqa: N807 -- it becomes the class's
            if other.__class__ is not self.__class__:
                return NotImplemented
            return content(self) == content(other)

        return __eq__

    def _repr(names):
        @recursive_repr()
        def __repr__(self):  # noqa: N807 -- it becomes the class's
            fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
            return f"{type(self).__qualname__}({fields})"

        return __repr__

    def _refuse_to_set(self, name, value):  # noqa: ARG001 -- a method
        from dataclasses import FrozenInstanceError  # noqa: PLC0415 -- never needed

        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def _refuse_to_delete(self, name):  # noqa: ARG001 -- a method
        from dataclasses import FrozenInstanceError  # noqa: PLC0415 -- never needed

        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def _state(self):
        return [getattr(self, one.name) for one in type(self).__values__]

    def _set_state(self, state):
        for one, value in zip(type(self).__values__, state, strict=True):
            object.__setattr__(self, one.name, value)

    # The first instance has the class's own __init__ compiled, and then all use that.
    def _first_init(cls, *, frozen):
        def __init__(self, *values, **named):  # noqa: N807 -- it becomes the class's
            cls.__init__ = _compiled(cls, frozen=frozen)
            cls.__init__(self, *values, **named)

        return __init__

    def _compiled(cls, *, frozen):
        space, arguments, lines = {}, ["self"], []
        for one in cls.__values__:
            name = one.name
            space[f"_default_{name}"] = one.default if one.factory is None else _MADE
            space[f"_make_{name}"] = one.factory
            space[f"_set_{name}"] = _setter(cls, name)
            default = f"=_default_{name}" if one.has_default else ""
            arguments.append(name + default)
            if one.factory is not None:
                lines.append(f"if {name} is _default_{name}: {name} = _make_{name}()")
            where = f"_set_{name}(self, {name})" if frozen else f"self.{name} = {name}"
            lines.append(where)
        if hasattr(cls, "__post_init__"):
            lines.append("self.__post_init__()")
        body = "\n ".join(lines or ["pass"])
        source = f"def __init__({', '.join(arguments)}):\n {body}"
        exec(source, space)  # noqa: S102 -- of names that are the class's own
        return space["__init__"]

    _MADE = object()  # stands for a default that a factory makes

    # A slot is set without the class's __setattr__, which refuses.
    def _setter(cls, name):
        for base in cls.__mro__:
            if hasattr(slot := base.__dict__.get(name), "__set__"):
                return slot.__set__
        return lambda self, value: object.__setattr__(self, name, value)

    class _StandardFields:
        """The fields as `dataclasses` knows them, made when they are asked for."""

        def __get__(self, instance, cls):
            import dataclasses  # noqa: PLC0415 -- slow, and seldom needed

            for base in cls.__mro__:
                if base.__dict__.get("__dataclass_fields__") is self:
                    cls = base
            kinds = {}
            for base in reversed(cls.__mro__):
                kinds |= getattr(base, "__annotations__", {})
            kinds = {one.name: kinds[one.name] for one in cls.__values__}
            shadow = type(cls.__name__, (), {"__annotations__": kinds, "__doc__": ""})
            for one in cls.__values__:
                if one.has_default:
                    default = {"default_factory": one.factory}
                    if one.factory is None:
                        default = {"default": one.default}
                    setattr(shadow, one.name, dataclasses.field(**default))
            bare = {"init": False, "repr": False, "eq": False}
            found = dataclasses.dataclass(**bare)(shadow).__dataclass_fields__
            cls.__dataclass_fields__ = found
            return found


__all__ = ["dataclass", "field", "replace"]
