"""How much one inspection may read: hostile files are large, and any number of them."""

_MOST_READ = 1 << 34
_MOST_DECODED = 1 << 27
_MOST_MATCHED = 1 << 30
_OF_A_FILE = 1 << 32
_DECODED_OF_A_FILE = 1 << 23


class SpentError(Exception):
    """No more may be read; the text says what of."""


class Budget:
    """What is left, in bytes."""

    def __init__(self) -> None:
        self._read = _MOST_READ
        self._decoded = _MOST_DECODED
        self._matched = _MOST_MATCHED
        self._of_file = _OF_A_FILE
        self._decoded_of_file = _DECODED_OF_A_FILE

    def next_file(self) -> None:
        """Begin another file, which may have its own share."""
        self._of_file = _OF_A_FILE
        self._decoded_of_file = _DECODED_OF_A_FILE

    def read(self, size: int) -> None:
        """Count `size` bytes that are to be searched. Raises SpentError."""
        if size > self._of_file:
            raise SpentError(f"more than {_OF_A_FILE >> 20} MiB of it are to be read")
        if size > self._read:
            raise SpentError(f"more than {_MOST_READ >> 30} GiB were read before")
        self._of_file -= size
        self._read -= size

    def may_decode(self, size: int) -> bool:
        """Count `size` bytes of instructions to be told apart; false if too many."""
        if size > self._decoded_of_file or size > self._decoded:
            return False
        self._decoded_of_file -= size
        self._decoded -= size
        return True

    def may_match(self, size: int) -> bool:
        """Count `size` bytes in which patterns are looked for; false if too many."""
        if size > self._matched:
            return False
        self._matched -= size
        return True
