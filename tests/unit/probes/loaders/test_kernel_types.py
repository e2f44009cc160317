"""What is kept of the kernel's types is only taken if it is whole."""

import hashlib

from egressmon.probes.loaders.kernel_types import KernelTypes, key, packed, unpacked

TYPES = KernelTypes(b"\x9f\xeb\n\0", {"scope_egress": "00ff"})


def test_what_is_kept_comes_back() -> None:
    assert unpacked(packed(TYPES)) == TYPES


def test_what_is_damaged_or_missing_is_as_if_it_were_not_there() -> None:
    data = packed(TYPES)

    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        assert unpacked(bytes(changed)) is None
        assert unpacked(data[:place]) is None
    assert unpacked(data + b"x") is None
    assert unpacked(None) is None


def test_other_probes_have_another_key() -> None:
    assert key(b"a", b"b") == key(b"a", b"b")
    assert key(b"a", b"b") != key(b"ab", b"") or key(b"a", b"b") is None


def test_what_another_wrote_with_a_right_digest_is_not_taken() -> None:
    for first in (b"", b"null", b"5", b"[]", b"{"):
        content = first + b"\n\x9f\xeb"
        digest = hashlib.sha256(content).hexdigest().encode()

        assert unpacked(digest + b"\n" + content) is None
