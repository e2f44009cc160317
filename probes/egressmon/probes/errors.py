"""The errors that the probes raise."""


class ProbeError(Exception):
    """The probes cannot be loaded or attached; `hint` says what to do about it.

    `log` is what the verifier, loader or compiler printed, or empty.
    """

    def __init__(self, message: str, hint: str, log: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.log = log


class MachineError(ProbeError):
    """This machine or process cannot have probes, whichever engine loads them."""
