"""The addresses of a plan's host names: as the user gave them, or by the resolver.

The system's own resolver is asked (getaddrinfo(3)), so that a filter has what programs
get. A name that is no short one is asked for with a final dot: nothing below a search
domain may stand for it (docs/policy.md).
"""

import ipaddress
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from egressmon.naming.names import Resolver, read_hosts_file
from egressmon.policy.judging.pointers import Address
from egressmon.policy.language.names import canonical
from egressmon.values import dataclass

MAX_ADDRESSES = 1024
"""Of one name: more make no set that anybody reviews."""
PATIENCE_S = 20.0
"""For all names together."""
_AT_ONCE = 8
_HOSTS = Path("/etc/hosts")


@dataclass(frozen=True, slots=True)
class Found:
    """What the look-ups found."""

    addresses: dict[str, tuple[Address, ...]]
    problems: tuple[str, ...]
    """Why a name has no addresses, or not all of them, a line each."""


class _LookUpError(Exception):
    """A name has no addresses that are known."""


def resolve(
    names: Iterable[str], resolver: Resolver, patience_s: float = PATIENCE_S
) -> Found:
    """Return the addresses of `names`; it takes `patience_s` at the most."""
    hosts: dict[str, list[Address]] = {}
    for address, name in read_hosts_file(_HOSTS):
        hosts.setdefault(canonical(name), []).append(address)

    def look_up(name: str) -> tuple[Address, ...]:
        if name in hosts:
            return tuple(hosts[name])
        is_short = resolver.search.is_short(name)
        return ask(name if is_short else f"{name}.")

    return resolve_by(names, look_up, patience_s)


def resolve_by(
    names: Iterable[str],
    look_up: Callable[[str], tuple[Address, ...]],
    patience_s: float,
) -> Found:
    """Return what `look_up` says of `names`: several at once, until time is out.

    Threads that still wait then are left behind; they end with the process.
    """
    wanted = list(dict.fromkeys(names))
    rest, answers = queue.SimpleQueue[str](), queue.SimpleQueue[_Answer]()
    for name in wanted:
        rest.put(name)
    for _ in range(min(_AT_ONCE, len(wanted))):
        work = threading.Thread(
            target=_work, args=(rest, answers, look_up), daemon=True
        )
        work.start()
    found: dict[str, tuple[Address, ...]] = {}
    problems: dict[str, str] = {}
    ends = time.monotonic() + patience_s
    for _ in wanted:
        try:
            answer = answers.get(timeout=max(0.0, ends - time.monotonic()))
        except queue.Empty:
            break
        _note(answer, found, problems)
    late = f"no answer within {patience_s:g} s"
    return Found(
        {name: found[name] for name in wanted if name in found},
        tuple(
            f"{name}: {problems.get(name, late)}"
            for name in wanted
            if name in problems or name not in found
        ),
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    name: str
    addresses: tuple[Address, ...]
    problem: str | None = None


def _work(
    rest: "queue.SimpleQueue[str]",
    answers: "queue.SimpleQueue[_Answer]",
    look_up: Callable[[str], tuple[Address, ...]],
) -> None:
    while True:
        try:
            name = rest.get_nowait()
        except queue.Empty:
            return
        try:
            answers.put(_Answer(name, look_up(name)))
        except (OSError, UnicodeError, _LookUpError) as error:
            why = getattr(error, "strerror", None) or str(error)
            answers.put(_Answer(name, (), str(why)))


def _note(
    answer: _Answer, found: dict[str, tuple[Address, ...]], problems: dict[str, str]
) -> None:
    # What is sent to a v4-mapped address leaves by IPv4.
    sent_to = [getattr(one, "ipv4_mapped", None) or one for one in answer.addresses]
    usable = [one for one in sent_to if not one.is_unspecified]
    listed = tuple(dict.fromkeys(usable))
    if listed:
        found[answer.name] = listed[:MAX_ADDRESSES]
    if len(listed) > MAX_ADDRESSES:
        problems[answer.name] = f"of {len(listed)} addresses, {MAX_ADDRESSES} are taken"
    elif not listed:
        problems[answer.name] = answer.problem or "it has no address"


def ask(name: str) -> tuple[Address, ...]:
    """Return all addresses that the system's resolver has for `name`.

    Raises OSError.
    """
    answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return tuple(
        ipaddress.ip_address(str(where[0]).partition("%")[0])
        for _, _, _, _, where in answers
    )
