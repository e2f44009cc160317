"""JSON for machines, in which no CI system finds a command to carry out."""

import json

_COMMANDS = (("##", "#\\u0023"), ("section_", "section\\u005f"))


def json_text(found: object, indent: int | None = None) -> str:
    """Return `found` as JSON in ASCII.

    What a CI system would obey is escaped as JSON escapes: `Commandless` does not.
    """
    text = json.dumps(found, indent=indent)
    for part, escaped in _COMMANDS:
        text = text.replace(part, escaped)
    return text
