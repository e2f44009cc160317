"""Describe who makes a connection for the judge: what is known, and what is claimed."""

from collections.abc import Iterable, Iterator

from egressmon.attribution.result import Attribution, Ground
from egressmon.evidence.records.actors import Actor
from egressmon.evidence.records.code import ClaimRecord
from egressmon.policy.judging.questions import Claimed, Origin
from egressmon.verdicts.guards import UNGUARDED, Guarded


def origin_of(
    actor: Actor | None,
    source: Attribution,
    claims: Iterable[ClaimRecord],
    guard: Guarded = UNGUARDED,
) -> Origin:
    """Return the origin of a connection that `actor` made.

    `claims` are the fields that the watched command could have made up; `guard` says
    what a guard in its process had to do with it.
    """
    whys = {claim.field: claim.reason for claim in claims}
    exe = actor.exe if actor else None
    return Origin(
        exe=exe,
        modules=_once(ground.path for ground in source.grounds),
        packages=_once(ground.package for ground in source.grounds),
        route=source.route,
        route_reason=source.route_reason,
        bypass=source.bypass,
        guard=guard.state,
        guard_reason=guard.reason,
        claimed=tuple(_claimed(exe, source, whys)) if whys else (),
    )


def _once(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple({value: None for value in values if value is not None})


# The caller and its binding may be of one module or package: that is a claim only if it
# is claimed of both.
def _claimed(
    exe: str | None, source: Attribution, whys: dict[str, str]
) -> Iterator[Claimed]:
    if exe is not None and (why := whys.get("process.exe")):
        yield Claimed("exe", exe, why)
    # The kernel says that code is in no file ("unbacked"): no process can make that up.
    if (
        source.route != "unbacked"
        and source.grounds
        and (why := whys.get(source.grounds[0].field))
    ):
        yield Claimed("route", source.route, why)
    known = [ground for ground in source.grounds if not _why(ground, whys)]
    packages = {ground.package for ground in known}
    modules = {one.path for one in source.grounds if one.field not in whys}
    for ground in source.grounds:
        if ground.path is not None and ground.path not in modules:
            yield Claimed("module", ground.path, whys[ground.field])
        if ground.package is not None and ground.package not in packages:
            yield Claimed("package", ground.package, _why(ground, whys) or "")


# A claim on a file is one on its package, too.
def _why(ground: Ground, whys: dict[str, str]) -> str | None:
    return whys.get(ground.field) or whys.get(f"{ground.field}.package")
