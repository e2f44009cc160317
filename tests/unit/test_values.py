"""Our classes of values behave as those of the standard library."""

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import orjson
import pytest

from egressmon import values


def _classes(make: Any, field: Any) -> tuple[type[Any], type[Any]]:
    @make(frozen=True, slots=True)
    class Point:
        """A point."""

        KIND: ClassVar[str] = "point"
        x: int
        y: int = 2
        tags: list[str] = field(default_factory=list[str], repr=False)

        @property
        def total(self) -> int:
            return self.x + self.y

    @make(frozen=True, slots=True)
    class Named(Point):
        name: str = "one"
        serial: int = field(default=0, compare=False, repr=False)

    return Point, Named


def _changing(make: Any, field: Any) -> type[Any]:
    @make(slots=True)
    class Count:
        count: int
        seen: set[int] = field(default_factory=set[int])

    return Count


OURS = _classes(values.dataclass, values.field)
THEIRS = _classes(dataclasses.dataclass, dataclasses.field)
CALLS: list[Callable[[type[Any], type[Any]], Any]] = [
    lambda point, _: repr(point(1)),
    lambda _, named: repr(named(1, name="b")),
    lambda point, _: point(1, 3) == point(1, y=3),
    lambda point, _: point(1) == point(2),
    lambda point, named: point(1) == named(1),
    lambda point, _: point(1).total,
    lambda point, _: point(1).tags is point(1).tags,
    lambda point, _: point.KIND,
    lambda point, _: point.__match_args__,
    lambda point, _: point.__slots__,
    lambda _, named: named.__slots__,
    lambda point, _: point.__doc__,
    lambda point, _: hasattr(point(1), "__dict__"),
    lambda point, _: dataclasses.asdict(point(1)),
    lambda point, _: repr(dataclasses.replace(point(1), y=7)),
    lambda _, named: [one.name for one in dataclasses.fields(named)],
    lambda _, named: [one.type for one in dataclasses.fields(named)],
    lambda point, _: dataclasses.is_dataclass(point),
    lambda _, named: orjson.dumps(named(1, tags=["a"])),
    lambda point, _: copy.copy(point(1)) == point(1),
    lambda point, _: copy.deepcopy(point(1, tags=["a"])).tags,
    lambda point, _: point(),
    lambda point, _: point(1, 2, [], 4),
    lambda point, _: point(1, z=1),
    lambda point, _: setattr(point(1), "x", 2),
    lambda point, _: delattr(point(1), "x"),
    lambda point, _: hash(point(1)),  # a list cannot be hashed
]


def outcome(call: Callable[[type[Any], type[Any]], Any], of: Any) -> object:
    try:
        return call(*of)
    except Exception as error:  # noqa: BLE001 -- which one is compared
        return type(error)


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_a_class_of_values_behaves_as_a_standard_one(number: int) -> None:
    call = CALLS[number]
    assert outcome(call, OURS) == outcome(call, THEIRS)


@values.dataclass(frozen=True, slots=True)
class Key:
    one: int
    two: str


@values.dataclass(frozen=True, slots=True)
class Empty:
    pass


@values.dataclass(slots=True, frozen=True)
class Hashed:
    one: int

    def __hash__(self) -> int:
        return 7


def test_equal_frozen_values_are_the_same_key() -> None:
    assert {Key(1, "a"): 1}[Key(1, "a")] == 1
    assert len({Key(1, "a"), Key(1, "b"), Key(1, "a")}) == 2
    assert Empty() == Empty()
    assert hash(Empty()) == hash(Empty())
    assert hash(Hashed(1)) == 7


def test_what_is_not_compared_makes_no_other_key() -> None:
    for one in (values, dataclasses):
        _, named = _classes(one.dataclass, one.field)
        assert named(1, serial=1) == named(1, serial=2)
        assert repr(named(1, serial=1)) == repr(named(1, serial=2))


def test_a_copy_has_other_values_where_that_is_asked_for() -> None:
    assert values.replace(Key(1, "a"), two="b") == Key(1, "b")


def test_a_frozen_value_survives_pickling() -> None:
    assert pickle.loads(pickle.dumps(Key(1, "a"))) == Key(1, "a")  # noqa: S301 -- our own


def test_a_changing_value_changes_and_is_no_key() -> None:
    ours = _changing(values.dataclass, values.field)
    one = ours(1)
    one.count += 1
    one.seen.add(3)
    assert repr(one).endswith("Count(count=2, seen={3})")
    assert ours(1).seen == set()
    with pytest.raises(TypeError):
        hash(one)
    with pytest.raises(AttributeError):
        one.other = 1
