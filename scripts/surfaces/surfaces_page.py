"""The page docs/surfaces.md, from what runs touched."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from phases import START, Touched
from sdks import Sdk

Phases = dict[str, Touched]


@dataclass(frozen=True)
class Surface:
    """What an SDK touched in two runs."""

    sdk: Sdk
    version: str
    plain: Phases
    proxied: Phases
    """With HTTPS_PROXY set."""

    @property
    def title(self) -> str:
        """What it is called on the page."""
        return f"`{self.sdk.name}` {self.version} ({self.sdk.registry})"


_HEAD = """\
# What the SDKs of model vendors touch

Made by `scripts/make-surfaces`, which runs each SDK under `egressmon watch` where all
names lead to a stand-in for the vendor ([its README](../scripts/surfaces/README.md));
do not edit. Each destination that an SDK touches is here, whatever it wanted there:
where a name is asked for, it leads somewhere, and what connects is seen. What an SDK
does after more than a few calls, in other calls than these, or on another day, is not.

The phases: `import`; `client`, the client is made; `first call` and `second call` of
the model; `retry`, a call that is answered with status 529 and a closed connection, and
tried again; `end`, from there until the process is gone.
"""
_SUMMARY = (
    *("SDK", "reaches", "before the first call", "else than the vendor"),
    *("looks up", "a retry", "with `HTTPS_PROXY`"),
)
_PHASES = ("phase", "reaches", "looks up", "by", "starts")


def page(surfaces: Sequence[Surface]) -> str:
    """Return the page."""
    parts = [_HEAD, "## Compared\n", _table(_SUMMARY, map(_summary, surfaces))]
    parts += [section(surface) for surface in surfaces]
    return "\n".join(parts).rstrip("\n") + "\n"


def section(surface: Surface) -> str:
    """Return the section of one SDK: a table of its phases."""
    rows = [
        _phase(name, one) for name, one in surface.plain.items() if _counts(name, one)
    ]
    proxied = ", ".join(sorted(_reached(surface.proxied.values()))) or "nothing"
    return (
        f"## {surface.title}\n\n{_table(_PHASES, rows)}\n"
        f"With `HTTPS_PROXY=http://proxy.example.test:3128`: {proxied}.\n"
    )


# Nothing should happen before the first mark; where it does, it is shown.
def _counts(name: str, one: Touched) -> bool:
    return name != START or bool(one.reached or one.looked_up or one.started)


def _summary(surface: Surface) -> list[str]:
    phases = surface.plain
    early = [phases[name] for name in (START, "import", "client") if name in phases]
    own = f"{surface.sdk.vendor}:443/tcp"
    reached = _reached(phases.values())
    others = {name for one in phases.values() for name in one.looked_up}
    others = (others - {surface.sdk.vendor}) | (reached - {own})
    kinds = {
        kind
        for one in phases.values()
        for kinds in one.looked_up.values()
        for kind in kinds
    }
    return [
        surface.title,
        _listed(_code(reached)),
        _listed(_code(_reached(early))),
        _listed(_code(others)),
        _listed(kinds),
        _again(phases["retry"]),
        _listed(_code(_reached(surface.proxied.values()))),
    ]


def _again(retry: Touched) -> str:
    if not retry.reached:
        return "on the same connection"
    return "looks up and connects again" if retry.looked_up else "connects again"


def _phase(name: str, one: Touched) -> list[str]:
    looked_up = [
        f"`{host}` ({', '.join(sorted(kinds))})"
        for host, kinds in one.looked_up.items()
    ]
    columns = (_code(one.reached), looked_up, one.by, _code(one.started))
    return [f"`{name}`", *map(_listed, columns)]


def _reached(phases: Iterable[Touched]) -> set[str]:
    return {where for one in phases for where in one.reached}


def _code(words: Iterable[str]) -> list[str]:
    return [f"`{word}`" for word in words]


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words)) or "-"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
