"""Ask the kernel who listens on this machine (sock_diag(7), through pyroute2)."""

import ipaddress
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from egressmon.events import Address
from egressmon.policy.judge import Listener

_TCP_LISTEN = 1 << 10  # include/net/tcp_states.h
_ANY_STATE = 0xFFF
_FRESH_S = 0.5
_MAX_CACHED = 4096


class Listeners:
    """Who receives at an address of this machine, by the socket's cgroup.

    Sees the agent's own network namespace alone. Answers hold for half a
    second, so that a loop of connections does not become a loop of dumps.
    """

    def __init__(self, scope: Path) -> None:
        self._scope = scope
        self._cache: dict[tuple[Address, int, int], tuple[float, Listener]] = {}
        self._socket: Any = None

    def who(self, address: Address, port: int, protocol: int) -> Listener:
        """Return who receives at address and port: the scope, others, nobody."""
        key = (address, port, protocol)
        now = time.monotonic()
        cached = self._cache.get(key)
        if cached is not None and now - cached[0] < _FRESH_S:
            return cached[1]
        answer = self._ask(address, port, protocol)
        if len(self._cache) >= _MAX_CACHED:
            self._cache.clear()
        self._cache[key] = (now, answer)
        return answer

    def _ask(self, address: Address, port: int, protocol: int) -> Listener:
        try:
            best = max(self._matching(address, port, protocol), default=None)
        except Exception:  # noqa: BLE001 -- pyroute2 has no common base for its errors
            return "unknown"
        if best is None:
            return "nobody"
        cgroup = best[1]
        if cgroup is None:
            return "unknown"
        return "scope" if cgroup in self._cgroup_ids() else "outside"

    # (how specific, cgroup id) of each socket that would receive it.
    def _matching(
        self, address: Address, port: int, protocol: int
    ) -> Iterator[tuple[int, int | None]]:
        states = _TCP_LISTEN if protocol == socket.IPPROTO_TCP else _ANY_STATE
        families = [socket.AF_INET6]
        if address.version == 4:
            families.append(socket.AF_INET)
        for family in families:
            for message in self._dump(family, states, protocol, port):
                bound = ipaddress.ip_address(message["idiag_src"])
                mapped = getattr(bound, "ipv4_mapped", None)
                rank = _rank(mapped or bound, address, message)
                if rank:
                    cgroup = message.get_attr("INET_DIAG_CGROUP_ID")
                    yield rank, cgroup

    def _dump(self, family: int, states: int, protocol: int, port: int) -> list[Any]:
        if self._socket is None:
            # Slow to import (0.2 s) and seldom needed: only for loopback peers
            # that the probes do not know for listeners of the scope.
            from pyroute2.netlink.diag import DiagSocket  # noqa: PLC0415

            self._socket = DiagSocket()
            self._socket.bind()
        found = self._socket.get_sock_stats(
            family=family, states=states, protocol=protocol
        )
        return [
            message
            for message in found
            if message["idiag_sport"] == port
            and (protocol != socket.IPPROTO_UDP or not message["idiag_dport"])
        ]

    def _cgroup_ids(self) -> set[int]:
        try:
            folders = [self._scope, *self._scope.glob("**/")]
            return {os.stat(folder).st_ino for folder in folders}  # noqa: PTH116 -- ids
        except OSError:
            return set()

    def close(self) -> None:
        """Close the netlink socket."""
        if self._socket is not None:
            self._socket.close()


def _rank(bound: Address, address: Address, message: Any) -> int:
    wanted_any = address.is_unspecified
    if bound == address or (wanted_any and (bound.is_loopback or bound.is_unspecified)):
        return 3
    if not bound.is_unspecified:
        return 0
    if bound.version == address.version:
        return 2
    only_v6 = message.get_attr("INET_DIAG_SKV6ONLY")
    return 0 if only_v6 else 1
