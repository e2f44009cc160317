"""Check what the values of a record may be, where their types alone do not say it."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeGuard, cast, get_args

from egressmon.attribution.helpers import NETWORK_HELPERS
from egressmon.evidence.gate import MAX_TEXT
from egressmon.evidence.records.guard import GuardState
from egressmon.evidence.records.lasting import Watched
from egressmon.evidence.records.traffic import Origin
from egressmon.evidence.segmented import LOST
from egressmon.evidence.tally import UNKNOWN_ORIGIN
from egressmon.sanitise.catalog.listed import KINDS
from egressmon.sensor.blind_spots import ALWAYS, KnownBlindSpot
from egressmon.sensor.canary import INET6_BLOCK, INET_BLOCKS
from egressmon.sensor.sensor import CONSEQUENCES
from egressmon.text import unescape
from egressmon.verdicts.escapes import by_helper

Json = dict[str, Any]
_NEGATIVE = re.compile(rb"[:,\[]-[0-9]")
_DIGEST = re.compile(r"blake3:[0-9a-f]{64}", re.ASCII)
_POLICY_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_VERDICTS = frozenset({"allowed", "violation", "local", "recorded"})
_ORIGINS = frozenset({*get_args(Origin), UNKNOWN_ORIGIN})
_WATCHED = frozenset(get_args(Watched))
_LEFT_OUT = frozenset({"other", "outside"})
_GUARD = frozenset(get_args(GuardState))
_MASKED = frozenset(kind.name for kind in KINDS)
_TOLD_OF = frozenset({*CONSEQUENCES, "unreadable", "unread", LOST})
_NEWER = frozenset({"missed_cgroup"})
LOSSES = (_TOLD_OF - {LOST} - _NEWER) | {
    "left_out", "dns_malformed", "dns_broken", "dns_unread", "dns_left_out",
    "names_dropped",
}  # fmt: skip
"""Every run counts all of them, also those of which there is none.

What could not be written is counted besides, by a run in segments that lost some; and
what runs of earlier versions did not count.
"""
_SPOTS = frozenset(one.value.name for one in KnownBlindSpot)
_SPOTS_OF_ALL = frozenset(one.value.name for one in ALWAYS)
_RESERVED = (
    *(ipaddress.ip_network(f"{one}/24") for one in INET_BLOCKS),
    ipaddress.ip_network(f"{INET6_BLOCK}/32"),
)
_CARRIER = "tun-device"
_CARRIED = frozenset(map(by_helper, NETWORK_HELPERS))
_HARMLESS = "unix-socket"
"""The only way out that need not make a run incomplete."""
_HIGHEST_PORT = 65535


def beyond(kind: str, record: Json, line: bytes) -> str | None:
    """Return what no record of this `kind` can have; `line` is how it is written."""
    if _NEGATIVE.search(line) and (name := _negative(record, "")):
        return f"`{name}` is negative"
    if len(line) > MAX_TEXT and "cut" not in record and _is_too_long(record):
        return f"has a text or a list of more than {MAX_TEXT}, and does not say `cut`"
    check = _CHECKS.get(kind)
    return check(record) if check is not None else None


def _negative(value: Any, name: str) -> str | None:
    if isinstance(value, int):
        return name if value < 0 else None
    for inner, one in _parts(value):
        if (found := _negative(one, inner)) is not None:
            return found
    return None


def _is_too_long(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) > MAX_TEXT and len(unescape(value)) > MAX_TEXT
    parts = list(_parts(value))
    return len(parts) > MAX_TEXT or any(_is_too_long(one) for _, one in parts)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from cast("Json", value).items()
    elif _is_list(value):
        for place, one in enumerate(value):
            yield f"[{place}]", one


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


# Of a sidecar that watches the whole machine: nothing is outside.
def _absent(spots: set[str]) -> set[str]:
    is_sidecars = KnownBlindSpot.EXISTING_SOCKETS.value.name in spots
    return {KnownBlindSpot.FOREIGN_PACKETS.value.name} if is_sidecars else set()


def _start(record: Json) -> str | None:
    if not record["hooks"]:
        return "`hooks` is empty: such a run sees nothing"
    spots = {one["name"] for one in record["blind_spots"]}
    if missing := _SPOTS_OF_ALL - spots - _absent(spots):
        return f"`blind_spots` has no {_first(missing)}, which every run has"
    if unknown := spots - _SPOTS:
        return f"`blind_spots` has {_first(unknown)}, which is none"
    if record["enforce"] not in {"report", "fail"}:
        return f"`enforce` is {record['enforce']}, which is no word of it"
    kind, digest = record.get("policy_kind"), record["policy_digest"]
    if kind is not None and (kind == "file") is (digest is None):
        with_file = "no policy file" if digest is None else "a policy file"
        return f"`policy_kind` is {kind}, and it had {with_file}"
    return None


def _end(record: Json) -> str | None:
    for name, known in (
        ("connections", _VERDICTS),
        ("queries", _VERDICTS),
        ("losses", LOSSES | {LOST} | _NEWER),
        ("masked", _MASKED),
        ("canaries", frozenset({"sent", "seen"})),
        ("origins", _ORIGINS),
        ("guard", _GUARD),
    ):
        if unknown := record.get(name, {}).keys() - known:
            return f"`{name}` has {_first(unknown)}, which it cannot have"
    if (complaint := _choice(record.get("choice"))) is not None:
        return complaint
    if missing := LOSSES - record["losses"].keys():
        return f"`losses` has no {_first(missing)}, which every run counts"
    return None


# None: all in the scope was watched.
def _choice(choice: Json | None) -> str | None:
    if choice is None:
        return None
    if not choice["wanted"] or not {*choice["unmatched"]} <= {*choice["wanted"]}:
        return "`choice` has in `unmatched` what nobody wanted, or wanted nothing"
    for name, known in (
        ("containers", _WATCHED),
        ("connections", _LEFT_OUT),
        ("queries", _LEFT_OUT),
    ):
        if unknown := choice[name].keys() - known:
            return f"`choice` has {_first(unknown)} in `{name}`, which it cannot have"
    return None


def _canary(record: Json) -> str | None:
    try:
        address = ipaddress.ip_address(record["dst"])
    except ValueError:
        return f"`dst` is {record['dst']}, which is no address"
    if not (address.is_loopback or any(address in one for one in _RESERVED)):
        return f"`dst` is {address}, and canaries go to reserved addresses alone"
    return _port(record["port"])


def _loss(record: Json) -> str | None:
    if record["where"] not in _TOLD_OF:
        return f"`where` is {record['where']}, where nothing is lost"
    return None if record["count"] else "`count` is 0: nothing was lost"


def _segment(record: Json) -> str | None:
    if record["number"] <= 1:
        return f"`number` is {record['number']}, and a run begins with segment 1"
    if not _DIGEST.fullmatch(record["before_digest"]):
        return "`before_digest` is no digest"
    return None


def _phase(record: Json) -> str | None:
    outcome, reason = record["outcome"], record["reason"]
    if (record["event"] == "end") is (outcome is None):
        return f"`outcome` is {outcome}, and `event` is {record['event']}"
    if (outcome == "failed") is (reason is None):
        return f"`reason` is {'missing' if reason is None else 'there'} of {outcome}"
    return None


def _escape(record: Json) -> str | None:
    if record["what"] == _CARRIER and record["reason"] in _CARRIED:
        return None if record["process"] is not None else "a helper without a process"
    if not record["doubt"] and record["what"] != _HARMLESS:
        return f"`doubt` is false, and {record['what']} always is one"
    return None


def _step(record: Json) -> str | None:
    return None if record["claimed"] else "`claimed` is false, and a step always is one"


def _connection(record: Json) -> str | None:
    return (
        _origin(record)
        or _port(record["dst"]["port"])
        or _port(record.get("local_port"))
    )


# Of what was written before there were origins, none is said, and no reason.
def _origin(record: Json) -> str | None:
    origin, reason = record.get("origin"), record.get("origin_reason")
    if origin is not None and reason is not None:
        return f"`origin` is {origin}, and `origin_reason` says why it is not known"
    if record["verdict"] == "recorded" and origin != "machine":
        return f"`verdict` is recorded, and `origin` is {origin}"
    return None


def _port(port: int | None) -> str | None:
    return f"`port` is {port}" if (port or 0) > _HIGHEST_PORT else None


def _first(names: Iterable[str]) -> str:
    return min(names)[:100]


def _policy(record: Json) -> str | None:
    for name in ("policy_digest", "before"):
        if not _POLICY_DIGEST.fullmatch(record[name]):
            return f"`{name}` is no digest"
    if record["policy_digest"] == record["before"]:
        return "`policy_digest` is that of before: nothing was changed"
    if unknown := (record["connections"].keys() | record["queries"].keys()) - _VERDICTS:
        return f"its counts have {_first(unknown)}, which is no verdict"
    return None


def _gap(record: Json) -> str | None:
    since, until = record["since"], record["until"]
    if since is not None and since > until:
        return "`since` is later than `until`"
    head = record.get("before_head")
    if head is not None and not _DIGEST.fullmatch(head):
        return "`before_head` is no digest"
    return None


def _restart(record: Json) -> str | None:
    if (wrong := _gap(record)) is not None:
        return wrong
    if unknown := record["losses"].keys() - CONSEQUENCES.keys():
        return f"`losses` has {_first(unknown)}, which is none"
    is_lossy = any(name.startswith("lost_") for name in record["losses"])
    if record["doubt"] != (record["reason"] is not None):
        return "`doubt` is not as `reason` has it"
    if is_lossy and not record["doubt"]:
        return "`losses` has events that were lost, and `doubt` is false"
    if (record["violations"] != 0 or record["doubted"]) and not record["doubt"]:
        return "the run before had violations or was in doubt, and `doubt` is false"
    return None


_CHECKS: dict[str, Callable[[Json], str | None]] = {
    "run.start": _start,
    "run.end": _end,
    "canary": _canary,
    "loss": _loss,
    "segment": _segment,
    "policy": _policy,
    "gap": _gap,
    "restart": _restart,
    "phase": _phase,
    "escape": _escape,
    "connection": _connection,
    "dns": _origin,
    "step": _step,
}
