"""Event bytes as the probes would write them, built through the header's structs."""

import ipaddress

from egressmon.probes.wire import CONSTANTS, STRUCTS


def address(text: str) -> bytes:
    """Return text as the sixteen bytes of an event."""
    parsed = ipaddress.ip_address(text)
    if parsed.version == 4:
        return bytes(10) + b"\xff\xff" + parsed.packed
    return parsed.packed


def event(name: str, kind: str, payload: bytes = b"", /, **fields: object) -> bytes:
    """Return an event of kind with the fields given; the others are zero."""
    structure = STRUCTS[name]()
    structure.kind = CONSTANTS[kind]
    for field, value in fields.items():
        if isinstance(value, bytes) and field == "address":
            getattr(structure, field)[:] = value
        else:
            setattr(structure, field, value)
    return bytes(structure) + payload


def flow(ip: str, port: int, kind: str = "KIND_CONNECT", **fields: object) -> bytes:
    """Return a flow event of pid 100 to ip and port, TCP unless said otherwise."""
    known: dict[str, object] = {
        "tgid": 100,
        "tid": 100,
        "netns": 1,
        "cookie": 7,
        "protocol": 6,
        "start_ns": 1,
        "comm": b"client",
        **fields,
    }
    return event("flow_event", kind, address=address(ip), port=port, **known)


def executed(
    pid: int, *argv: bytes, path: bytes = b"/bin/client", exec_id: int = 0
) -> bytes:
    """Return an exec event of pid."""
    arguments = b"".join(word + b"\0" for word in argv)
    return event(
        "exec_event",
        "KIND_EXEC",
        arguments,
        tgid=pid,
        start_ns=1,
        parent=1,
        arguments_size=len(arguments),
        payload_size=len(arguments),
        comm=b"client",
        exec_id=exec_id,
        path=path,
    )


def dns(server: str, payload: bytes, **fields: object) -> bytes:
    """Return a DNS event of pid 100; ingress by flags."""
    known: dict[str, object] = {
        "tgid": 100,
        "start_ns": 1,
        "netns": 1,
        "cookie": 7,
        "protocol": 17,
        "payload_size": len(payload),
        "total_size": len(payload),
        **fields,
    }
    return event("dns_event", "KIND_DNS", payload, address=address(server), **known)
