"""Telling a CALL instruction by its bytes."""


def ends_in_call(code: bytes) -> bool:
    """Tell whether seven bytes of x86-64 code end in a CALL instruction.

    E8 rel32, or FF /2 with any ModRM (Intel SDM, volume 2, CALL).
    """
    if len(code) < 7:
        return False
    return code[2] == 0xE8 or any(
        code[7 - size] == 0xFF
        and code[8 - size] >> 3 & 7 == 2
        and _indirect_size(code[8 - size], code[9 - size] if size > 2 else 0) == size
        for size in range(2, 8)
    )


def _indirect_size(form: int, scale: int) -> int:
    mode, base = form >> 6, form & 7
    if mode == 3:
        return 2
    size = 3 if base == 4 else 2
    if mode == 1:
        return size + 1
    if mode == 2 or base == 5 or (base == 4 and scale & 7 == 5):
        return size + 4
    return size
