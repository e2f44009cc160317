"""Write what closes a finding as TOML, whatever the texts in it are."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from egressmon.policy.language.ports import Ports

if TYPE_CHECKING:
    from egressmon.policy.language.model import Allow, By

Value: TypeAlias = "int | bool | str | Sequence[int | str]"
_ESCAPES = {'"': '\\"', "\\": "\\\\"}
_DEFAULT_PORTS = (443,)


def string(text: str) -> str:
    """Return `text` as a basic string: all that is not printable is escaped."""
    return '"' + "".join(map(_character, text)) + '"'


def _character(one: str) -> str:
    if one in _ESCAPES:
        return _ESCAPES[one]
    if one.isprintable():
        return one
    code = ord(one)
    if 0xD800 <= code <= 0xDFFF:
        code = 0xFFFD  # no text of TOML has it
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def value(one: Value) -> str:
    """Return a value of a policy in TOML."""
    if isinstance(one, bool):
        return str(one).lower()
    if isinstance(one, int):
        return str(one)
    if isinstance(one, str):
        return string(one)
    return f"[{', '.join(map(value, one))}]"


def entry_lines(entry: "Allow", header: str) -> Iterator[str]:
    """Yield the lines of the table of `entry`, below its `header`."""
    yield header
    if entry.host is not None:
        yield f"host = {string(entry.host)}"
    if entry.cidr is not None:
        yield f"cidr = {string(entry.cidr)}"
    if "ports" in entry.model_fields_set and entry.ports != _DEFAULT_PORTS:
        yield f"ports = {_ports(entry.ports)}"
    if entry.protocol != "tcp":
        yield f"protocol = {string(entry.protocol)}"
    if entry.by is not None:
        yield f"by = {{ {', '.join(_by(entry.by))} }}"
    if entry.reason:
        yield f"reason = {string(entry.reason)}"


def _ports(ports: Ports) -> str:
    return string(ports) if isinstance(ports, str) else value(ports)


def _by(by: "By") -> Iterator[str]:
    for name in ("package", "exe", "module", "route"):
        listed: Sequence[str] = getattr(by, name)
        if listed:
            yield f"{name} = {value(listed)}"
    if by.claimed:
        yield "claimed = true"


def comments(lines: Iterable[str]) -> Iterator[str]:
    """Yield `lines` as comments."""
    return (f"# {line}" for line in lines)
