"""The agent's errors: each has a one-line message, and a hint that says what to do."""


class EgressmonError(Exception):
    """egressmon cannot do what was asked; `hint` says what the user can do about it."""

    status = 125
    """The exit status of a verb that runs a command (docs/usage.md)."""
    other_status = 2
    """The exit status of any other verb."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class ScopeError(EgressmonError):
    """The scope's cgroup cannot be created or entered."""


class PrivilegeError(EgressmonError):
    """A right that egressmon needs is missing, or one cannot be given up."""


class EvidenceError(EgressmonError):
    """The evidence cannot be opened for writing."""


class UsageError(EgressmonError):
    """The command line asks for something impossible."""


class UnfinishedError(EgressmonError):
    """egressmon failed after the command was started; the evidence is incomplete."""

    status = 121


class SensorError(EgressmonError):
    """The probes are loaded and attached, but reported none of the canaries."""
