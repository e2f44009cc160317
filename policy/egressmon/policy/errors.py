"""The errors that this package raises."""


class PolicyError(Exception):
    """A policy file cannot be used; `hint` says what the user can do about it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class RefusedError(ValueError):
    """A value of the policy file is refused: what it is, and what to write instead."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(f"{what}; {hint}")
        self.what = what
        self.hint = hint


def quoted(text: str) -> str:
    """Return `text` in quotes for a message, cut if it is long."""
    return repr(text if len(text) <= 60 else text[:60] + "…")
