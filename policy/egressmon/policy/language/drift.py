"""The table `[drift]`: what of a later run counts as drift from the baseline."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from egressmon.policy.language.tables import Table
from egressmon.policy.language.values import Pattern

Count: TypeAlias = Literal["ignore", "note", "drift"]
"""How much a kind of change counts: not told; told; told, and exit status 1."""


class Drift(Table):
    """How later runs are compared with a baseline."""

    baseline: Pattern | None = Field(
        default=None,
        description="the baseline's path, from the policy's folder, for doctor",
        examples=["egress-baseline.toml"],
    )
    evidence: Pattern | None = Field(
        default=None,
        description="where the evidence of the nightly run is, likewise",
        examples=[".egressmon/nightly"],
    )
    max_age_days: Annotated[int, Field(ge=1, le=3650)] = Field(
        default=2, description="from how many days on the last run is too old"
    )
    bytes_orders: Annotated[int, Field(ge=1, le=18)] = Field(
        default=1,
        description="by how many orders of magnitude what a run sends must differ",
    )
    gone: Count = Field(
        default="drift",
        description="what is in the baseline and was not seen: the most that it counts",
    )
    destination: Count = Field(default="drift", description="destinations")
    lookup: Count = Field(default="drift", description="names that are looked up")
    package: Count = Field(default="drift", description="packages that connect")
    version: Count = Field(default="drift", description="versions of these packages")
    module: Count = Field(default="drift", description="modules that connect")
    program: Count = Field(default="drift", description="programs that connect")
    route: Count = Field(default="drift", description="how connections leave")
    bypass: Count = Field(
        default="drift", description="what passes its language's own sockets by"
    )
    guard: Count = Field(
        default="drift", description="what a guard inside the process had to do with it"
    )
    resolver: Count = Field(default="drift", description="DNS servers that are asked")
    listener: Count = Field(
        default="drift", description="ports at which others connected to the command"
    )
    escape: Count = Field(
        default="drift", description="ways out that the hooks of sockets do not see"
    )
    bytes: Count = Field(default="note", description="how much a run sends")
    blind_spot: Count = Field(default="note", description="what a run cannot see")
    policy: Count = Field(default="note", description="another policy than before")
    edited: Count = Field(
        default="drift", description="a baseline that was edited since its last review"
    )
    unreviewed: Count = Field(
        default="note", description="a baseline that nobody has reviewed"
    )
    tls: Count = Field(default="drift", description="what `egressmon tls` finds")
    violation: Count = Field(
        default="drift", description="violations, also where the baseline has them"
    )
