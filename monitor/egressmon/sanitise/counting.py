"""What stands for a secret, and how many of which kind were masked in this process."""

from collections import Counter

MASK = "***"

_masked: Counter[str] = Counter()


def hidden(kind: str) -> str:
    """Return the mask for a secret of this `kind` (a name in `catalog/`); count it."""
    _masked[kind] += 1
    return MASK


def masked_so_far() -> dict[str, int]:
    """Return how many secrets were masked since the start, by kind."""
    return dict(sorted(_masked.items()))


def recount(counts: dict[str, int]) -> None:
    """Go back to earlier `counts`: what was masked since is masked again."""
    _masked.clear()
    _masked.update(counts)
