"""Make the JSON Schemas from the records and the policy model. Not needed at run time.

`python -m egressmon.evidence.schema` writes the two schema files that are shipped.
"""

import json
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter

from egressmon import policy
from egressmon.evidence.records import SCHEMA, WRITTEN_AS, Record
from egressmon.policy.reading import table

EVIDENCE_FILE = Path(__file__).with_name("evidence.schema.json")
POLICY_FILE = Path(policy.__file__).with_name("egress.schema.json")


def _envelope(kind: str) -> dict[str, Any]:
    return {
        "schema": {"const": SCHEMA},
        "type": {"const": kind},
        "seq": {"type": "integer", "minimum": 0},
        "time": {"type": "string", "format": "date-time"},
        "run": {"type": "string"},
        "phase": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "prev": {
            "anyOf": [
                {"type": "string", "pattern": "^blake3:[0-9a-f]{64}$"},
                {"type": "null"},
            ]
        },
    }


def evidence_schema() -> dict[str, Any]:
    """Return the schema of one line of evidence."""
    definitions: dict[str, Any] = {}
    choices: list[dict[str, str]] = []
    for record in get_args(Record):
        body = TypeAdapter(record).json_schema(ref_template="#/$defs/{model}")
        definitions.update(_written(body.pop("$defs", {})))
        envelope = _envelope(record.TYPE)
        body["properties"] = {**envelope, **body["properties"]}
        body["required"] = list(body["properties"])
        # Optional: which parts were cut.
        body["properties"]["cut"] = {"type": "array", "items": {"type": "string"}}
        body["additionalProperties"] = False
        definitions[record.__name__] = body
        choices.append({"$ref": f"#/$defs/{record.__name__}"})
    for kind, written in WRITTEN_AS.items():
        definitions[kind.__name__] = TypeAdapter(written).json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "evidence.schema.json",
        "title": "egressmon evidence, one line",
        "oneOf": choices,
        "$defs": definitions,
    }


# Fields that begin with an underscore are not written.
def _written(definitions: dict[str, Any]) -> dict[str, Any]:
    for body in definitions.values():
        for name in [one for one in body["properties"] if one.startswith("_")]:
            del body["properties"][name]
            body["required"].remove(name)
    return definitions


def text(schema: dict[str, Any]) -> str:
    """Return `schema` as it is written to a file."""
    return json.dumps(schema, indent=2) + "\n"


def main() -> None:
    """Write both schema files beside the modules that they describe."""
    EVIDENCE_FILE.write_text(text(evidence_schema()))
    POLICY_FILE.write_text(text(table.schema()))


if __name__ == "__main__":
    main()
