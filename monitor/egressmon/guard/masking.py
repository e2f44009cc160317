"""What a host name carries of secrets is masked wherever the guard's words are read."""

# Imported when something is refused: what is not refused starts without them.


def told(text: object, limit: int = 200) -> str:
    """Return `text` as one line without secrets, as evidence shows it."""
    from egressmon.text import printable  # noqa: PLC0415 -- see above

    return printable(masked(str(text)), limit)


def masked(text: str) -> str:
    """Return `text` without the secrets that host names carry, as evidence shows it."""
    from egressmon.sanitise.words.text import mask_text  # noqa: PLC0415 -- see above
    from egressmon.sanitise.words.tokens import tokens_in_name  # noqa: PLC0415 -- see above

    for start, end in reversed(tokens_in_name(text)):
        text = f"{text[:start]}***{text[end:]}"
    return mask_text(text)
