"""Build BTF for tests."""

import struct

INT, STRUCT, UNION, ENUM64 = 1, 4, 5, 19


class Blob:
    """Builds BTF (Documentation/bpf/btf.rst) type by type."""

    def __init__(self) -> None:
        self.texts = b"\0"
        self.types = b""

    def text(self, name: str) -> int:
        if not name:
            return 0
        known = self.texts.find(b"\0" + name.encode() + b"\0")
        if known >= 0:
            return known + 1
        self.texts += name.encode() + b"\0"
        return len(self.texts) - len(name) - 1

    def add(self, kind: int, name: str, tail: bytes = b"", count: int = 0) -> None:
        info = kind << 24 | count
        self.types += struct.pack("=III", self.text(name), info, 4) + tail

    def add_struct(self, kind: int, name: str, *members: tuple[str, int, int]) -> None:
        tail = b"".join(
            struct.pack("=III", self.text(member), of, bits)
            for member, of, bits in members
        )
        self.add(kind, name, tail, len(members))

    def bytes(self) -> bytes:
        sizes = (0, len(self.types), len(self.types), len(self.texts))
        header = struct.pack("=HBBI4I", 0xEB9F, 1, 0, 24, *sizes)
        return header + self.types + self.texts
