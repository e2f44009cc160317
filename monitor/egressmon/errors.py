"""The agent's own errors: each says in one line what is wrong, and what to do."""


class EgressmonError(Exception):
    """egressmon cannot do what was asked; `hint` says what to do about it."""

    status = 125
    """The exit status where a command was to be run (docs/usage.md)."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class ScopeError(EgressmonError):
    """The scope's cgroup cannot be made or entered."""


class PrivilegeError(EgressmonError):
    """The rights that the probes need cannot be had."""


class EvidenceError(EgressmonError):
    """The evidence cannot be opened for writing."""


class UsageError(EgressmonError):
    """The command line asks for what cannot be."""


class UnfinishedError(EgressmonError):
    """egressmon failed after the command was started: its evidence is incomplete."""

    status = 121


class SensorError(EgressmonError):
    """The probes loaded but did not prove that they see."""
