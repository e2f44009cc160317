"""Records in which any one field is of another type: told, or taken, never a crash."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from egressmon.drift.comparing import compare
from egressmon.drift.model import Baseline
from egressmon.drift.toml_form import digest_of, text_of
from egressmon.drift.toml_reading import read_baseline
from egressmon.policy.language.drift import Drift
from support.reached import Json, connection, look_up, module, package, run_of, surface

OTHERS: list[Any] = [
    None, True, 0, -1, 1.5, 1 << 70, "", "x", "\x1b", [], [[]], {}, {"digest": [1]},
]  # fmt: skip


def _records() -> list[Json]:
    by = package("requests", "2.31.0")
    native = module("/x/_ssl.so", by) | {"binding": {"path": "/x/b.so", "package": by}}
    escape = {"type": "escape", "what": "unix-socket", "path": "/run/x"}
    policy = {"type": "policy", "policy_digest": None}
    listened = connection(extra={"op": "accept", "local_port": 80})
    made = connection(by=by, module=native, test="t.py::a")
    alone = connection(None)
    return run_of(made, alone, listened, look_up("a.example", by=by), [escape, policy])


def _leaves(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    keys: list[Any] = []
    if isinstance(value, dict):
        keys = list(cast("Json", value))
    elif isinstance(value, list):
        keys = list(range(len(cast("list[object]", value))))
    for key in keys:
        if key not in {"seq", "prev"}:
            yield (*way, key)
            yield from _leaves(value[key], (*way, key))


# The first record of each type.
def _places() -> dict[str, int]:
    found: dict[str, int] = {}
    for place, record in enumerate(_records()):
        found.setdefault(record["type"], place)
    return found


@pytest.mark.parametrize("kind", _places())
def test_no_field_of_another_type_breaks_anything(tmp_path: Path, kind: str) -> None:
    whole, place = _records(), _places()[kind]
    path = tmp_path / "baseline.toml"
    for way in _leaves(whole[place]):
        for other in OTHERS:
            records = copy.deepcopy(whole)
            inner: Any = records[place]
            for key in way[:-1]:
                inner = inner[key]
            inner[way[-1]] = other

            found = surface(tmp_path, records)
            content = found.plain()

            path.write_text(text_of(content, ()))
            assert read_baseline(str(path)).content == content, (way, other)
            compare(Baseline(content, digest_of(content)), found, Drift(), None)
