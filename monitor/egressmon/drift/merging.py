"""Join what two surfaces hold, for a baseline that keeps what was not seen again."""

from collections.abc import Mapping

from egressmon.drift.model import Content, Texts

_OF_NOW = ("attribution", "policies")
"""What is true of the newer runs alone."""


def merged(old: Content, new: Content) -> Content:
    """Return all that `old` or `new` holds."""
    items = {
        key: _joined(old.items.get(key, {}), new.items.get(key, {}))
        for key in {**old.items, **new.items}
    }
    facts = _joined(old.facts, new.facts)
    facts |= {name: new.facts[name] for name in _OF_NOW if name in new.facts}
    return Content(items, _joined(old.versions, new.versions), facts, old.tls)


def _joined(old: Mapping[str, Texts], new: Mapping[str, Texts]) -> dict[str, Texts]:
    return {
        name: tuple(sorted({*old.get(name, ()), *new.get(name, ())}))
        for name in {**old, **new}
    }
