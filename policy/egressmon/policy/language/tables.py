"""What all tables of a policy file share."""

from typing import cast

from pydantic import BaseModel, ConfigDict, model_validator


class Table(BaseModel):
    """A table of the file. Types are strict: `"yes"` and `1` are no booleans.

    The one conversion is from list to tuple, since TOML has no tuples.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _lists_as_tuples(cls, table: object) -> object:
        if not isinstance(table, dict):
            return table
        items = cast("dict[str, object]", table).items()
        return {
            key: tuple(cast("list[object]", value))
            if isinstance(value, list)
            else value
            for key, value in items
        }
