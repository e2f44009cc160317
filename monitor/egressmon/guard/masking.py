"""What the guard says of a destination, masked: what masks is imported when it does."""


def told(text: str, limit: int = 200) -> str:
    """Return `text` as sanitise/words/destinations.py has it."""
    from egressmon.sanitise.words import destinations  # noqa: PLC0415 -- for refusals

    return destinations.told(text, limit)
