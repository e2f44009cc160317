"""What goes wrong with policies."""


class PolicyError(Exception):
    """A policy file that cannot be used; `hint` says what to write instead."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint
