"""What goes wrong with the probes."""


class ProbeError(Exception):
    """The probes cannot be loaded or attached; `hint` says what to do about it."""

    def __init__(self, message: str, hint: str, log: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.log = log


class MachineError(ProbeError):
    """The machine lets no probes in, whichever engine loads them."""
