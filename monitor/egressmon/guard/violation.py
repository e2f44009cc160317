"""The exception that a refused destination raises."""

import errno


class EgressViolation(PermissionError):  # noqa: N818 -- the name that the policy's users know
    """The policy does not allow this destination; for clients, a failed connection.

    It is an OSError with EPERM, which clients handle as they handle an unreachable
    peer.
    """

    def __init__(
        self, host: str | None, port: int | None, reason: str = "not allowed"
    ) -> None:
        """`host` and `port` are as they were asked for; None: not known, or none.

        The message ends up in logs, so tokens in host names are masked in it.
        """
        from egressmon.guard.masking import told  # noqa: PLC0415 -- when it happens

        message = f"egress to {told(shown(host, port))}: {told(reason, 500)}"
        super().__init__(errno.EPERM, message)
        self.host = host
        self.port = port
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[str | None, int | None, str]]:
        return type(self), (self.host, self.port, self.reason)


def shown(host: str | None, port: int | None) -> str:
    """Return HOST:PORT as the policy's commands write it."""
    name = "an unknown host" if host is None else host
    if port is None:
        return name
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
