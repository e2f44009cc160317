"""Turn a policy file's text into a Policy; errors name file, line and remedy."""

from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from egressmon.policy.language.model import Policy
from egressmon.policy.reading import toml
from egressmon.policy.reading.host_bits import host_bits
from egressmon.policy.reading.lines import line_of
from egressmon.policy.reading.problems import explained


def parse(
    path: Path, text: str, prefix: tuple[str, ...]
) -> tuple[Policy, tuple[str, ...]]:
    """Return the policy in `text`, the content of `path`, and notes on it.

    `prefix` has the keys that lead to the policy's table in the file. Raises
    PolicyError.
    """
    table = _inside(toml.parse(path, text), prefix)
    try:
        policy = Policy.model_validate(table)
    except ValidationError as error:
        raise explained(path, text, prefix, error) from error
    notes = (
        f"{path}:{line_of(text, (*prefix, *at))}: {note}"
        for at, note in host_bits(table, policy)
    )
    return policy, tuple(notes)


# Returns the table under the keys `prefix`, or an empty one if there is none.
def _inside(table: dict[str, Any], prefix: tuple[str, ...]) -> dict[str, Any]:
    for key in prefix:
        inner = table.get(key)
        table = cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}
    return table


def schema() -> dict[str, Any]:
    """Return the policy file's JSON Schema, for editors."""
    described = Policy.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "egress.schema.json",
        **described,
        "title": "egressmon policy",
    }
