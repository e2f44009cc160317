"""Write an inventory of what was reached as Markdown, for somebody to review."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from egressmon.auditing.inventory import Inventory, Row
from egressmon.auditing.known import known, of_port
from egressmon.auditing.phases import AFTER, IMPORT, MEANING
from egressmon.reports.writing.wording import plural
from egressmon.reports.writing.workflow import cell

_MAX_SHOWN = 4  # of the values of a cell
_MAX_DOUBTS = 50
_HEAD = (
    "| destination | times | by | also | probably there for | to ask | reviewed |",
    "|---|--:|---|---|---|---|---|",
)
_ASKED_HEAD = (
    "| name | phase | times | by | probably asked for | to ask | reviewed |",
    "|---|---|--:|---|---|---|---|",
)


def surfaces(found: Inventory, doubts: Sequence[str]) -> Iterator[str]:
    """Yield the lines of the inventory: the same ones for the same records.

    `doubts` are why it may not be all.

    Whatever others wrote is in code spans, escaped (reports/writing/workflow.py).
    """
    yield from ("# Surfaces", "")
    yield "All that was reached, to be reviewed: written by egressmon, and no policy."
    yield "What is probably there, nobody checked: it is known of the name alone."
    yield ""
    yield from _about(found, [*doubts])
    groups: dict[str, list[tuple[str, Row]]] = {}
    for (phase, _, protocol), row in found.reached.items():
        groups.setdefault(phase, []).append((protocol, row))
    for phase in sorted(groups, key=found.phases.order):
        yield from _of_phase(phase, groups[phase], found.named)
    yield from _of_asked(found)
    yield from _list("Resolvers that were asked", _counted(found.resolvers))
    yield from _list("Who connected to the command", _of_peers(found))
    yield from _list("Connections from before the run", _counted(found.existing))
    yield from _list("Ways out that the probes do not see", _counted(found.escapes))


def _about(found: Inventory, doubts: list[str]) -> Iterator[str]:
    for one in found.commands:
        yield f"- command: {cell(one)}"
    for what, count in sorted(found.more.items()):
        doubts.append(f"{count} times there was no room for more {what}")
    for one in doubts[:_MAX_DOUBTS]:
        yield f"- **not whole**: {cell(one)}"
    if (more := len(doubts) - _MAX_DOUBTS) > 0:
        yield f"- **not whole**: {more} more such reasons"
    if not doubts:
        yield "- the evidence is complete, but for the blind spots below"
    if found.blind_spots:
        named = ", ".join(map(cell, found.blind_spots))
        yield f"- not seen in any run (docs/threat-model.md): {named}"
    rows = found.reached.values()
    places = plural(len({row.host for row in rows}), "destination")
    yield f"- {places}, {plural(sum(row.count for row in rows), 'connection')}"
    yield "- bytes: evidence has none for each destination"


def _of_phase(
    phase: str, rows: list[tuple[str, Row]], named: Collection[str]
) -> Iterator[str]:
    yield from ("", f"## Phase {cell(phase)}", "")
    if (meaning := MEANING.get(phase)) is not None:
        yield from (f"By what the records show: {meaning}.", "")
    yield from _HEAD
    for protocol, row in sorted(rows, key=lambda one: (one[1].host, one[0])):
        why, ask = _about_row(phase, protocol, row)
        if row.host in named:
            why = f"the command names it; {why}"
        also = [*sorted(row.names)]
        if row.is_named:
            also += sorted(row.addresses)
        cells = (
            cell(_label(protocol, row)), _times(row), _makers(row.makers),
            _several(also), why, ask, "",
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"


def _times(row: Row) -> str:
    return f"{row.count} ({row.again} again)" if row.again else str(row.count)


def _label(protocol: str, row: Row) -> str:
    host = f"[{row.host}]" if ":" in row.host else row.host
    ports = sorted(row.ports)
    shown = ",".join(map(str, ports[:_MAX_SHOWN]))
    more = ",…" if len(ports) > _MAX_SHOWN else ""
    return f"{host}{':' if ports else ''}{shown}{more}/{protocol}"


# The first is by what is known of the name, the others by how it was reached.
def _about_row(phase: str, protocol: str, row: Row) -> tuple[str, str]:
    found = known(row.host)
    asks = [found.ask] if found is not None else []
    why = found.what if found is not None else _guess(row)
    if not row.is_named and found is None:
        asks.append("no name was asked for: where does the address come from?")
    if 80 in row.ports and protocol == "tcp":
        asks.append("why is it not encrypted?")
    if row.bypassing:
        asks.append("proxies and guards in the process do not reach it: is that known?")
    if phase == IMPORT or phase.endswith(f": {IMPORT}"):
        asks.append("why does an import connect?")
    if phase == AFTER:
        asks.append("why does it outlive the command?")
    asks = asks or ["is it needed? Who would notice if it were refused?"]
    return why, "<br>".join(asks)


def _guess(row: Row) -> str:
    labels = row.host.lower().replace("-", "").split(".")
    for package in sorted(row.packages):
        if row.is_named and package.lower().replace("-", "") in labels:
            return f"the service of the package {cell(package)}, by its name"
    known_for = {of_port(port) for port in row.ports} - {None}
    if known_for:
        return f"by its port: {', '.join(sorted(map(str, known_for)))}"
    return "not known"


def _of_asked(found: Inventory) -> Iterator[str]:
    yield from ("", "## Names that were only looked up", "")
    rows = found.only_asked()
    if not rows:
        yield "none"
        return
    yield from _ASKED_HEAD
    order = found.phases.order
    for phase, row in sorted(rows, key=lambda one: (one[1].host, order(one[0]))):
        about = known(row.host)
        why = about.what if about is not None else "not known"
        ask = (
            about.ask if about is not None else "why is it asked for, and not reached?"
        )
        cells = (
            cell(row.host), cell(phase), str(row.count), _makers(row.makers), why, ask,
            "",
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"


def _of_peers(found: Inventory) -> Iterator[str]:
    for peer, programs in sorted(found.peers.items()):
        yield f"{cell(peer)}: {_makers(programs)}"


def _counted(counts: Counter[str]) -> Iterator[str]:
    for one, count in sorted(counts.items()):
        yield f"{cell(one)}: {count}"


def _list(title: str, items: Iterable[str]) -> Iterator[str]:
    yield from ("", f"## {title}", "")
    listed = [f"- {one}" for one in items]
    yield from listed or ["none"]


def _makers(counts: Counter[str]) -> str:
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    texts = [f"{cell(who)} ({count}x)" for who, count in ordered[:_MAX_SHOWN]]
    return _with_rest(texts, len(ordered))


def _several(texts: list[str]) -> str:
    return _with_rest([cell(one) for one in texts[:_MAX_SHOWN]], len(texts))


def _with_rest(shown: list[str], count: int) -> str:
    rest = count - len(shown)
    return "<br>".join([*shown, *([f"and {rest} more"] if rest else [])])
