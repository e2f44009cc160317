"""The error that this package raises."""


class PolicyError(Exception):
    """A policy file cannot be used; `hint` says what the user can do about it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint
