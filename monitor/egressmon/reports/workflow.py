"""Texts in GitHub's workflow commands, which are escaped there and nowhere else."""

from egressmon.text import printable


# A newline ends a workflow command, and % begins an escape.
def escape(text: str) -> str:
    """Return `text` as the message of a workflow command."""
    return printable(text, 1000).replace("%", "%25")


def property_of(text: str) -> str:
    """Return `text` as a property of a workflow command."""
    return escape(text).replace(":", "%3A").replace(",", "%2C")
