"""However a value is written behind its name: no part of it stays behind a mask."""

import json
import random
import re
import string

import pytest

from egressmon.sanitise import sanitise_argv, sanitise_text
from egressmon.sanitise.redaction import redact, scan_text
from support.carriers import CARRIERS, WRAPPINGS

# Left: three apostrophes, each of them in quotes of a shell.
_LEFT = {("password='''@'''", "a shell's words")}
_LETTERS = string.ascii_letters + string.digits


def passwords(count: int) -> list[str]:
    """Return passwords that no shape tells."""
    random_ = random.Random(8)  # noqa: S311 -- a test's
    made = ("".join(random_.choices(_LETTERS, k=13)) + "7" for _ in range(count))
    return [one for one in made if one[:1].isalpha()]


# Parts of it: what a mask in the middle would leave.
def _is_left(secret: str, text: str) -> bool:
    plain = re.sub(r"\\u00([0-9a-f]{2})", lambda one: chr(int(one[1], 16)), text)
    return any(part in plain for part in (secret[:5], secret[4:9], secret[-5:]))


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("carrier", CARRIERS)
def test_nothing_of_a_value_is_left(carrier: str, wrapping: str) -> None:
    if (carrier, wrapping) in _LEFT:
        return
    for secret in passwords(3):
        text = WRAPPINGS[wrapping](carrier.replace("@", secret))
        argv = ["tool", text, "other"]

        assert scan_text(text), text
        taken = redact(text)[0]
        masked = sanitise_text(text)
        shown = sanitise_argv(argv)

        for one in (taken, masked, shown[1]):
            assert not _is_left(secret, one), one
            assert not scan_text(one), one
        assert len(shown) == 3
        assert not scan_text(json.dumps(shown) + "\n"), shown


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_masked_record_is_clean_for_a_search(carrier: str) -> None:
    (secret,) = passwords(1)
    for name, wrapping in WRAPPINGS.items():
        if (carrier, name) in _LEFT:
            continue
        text = wrapping(carrier.replace("@", secret))
        for argv in (["sh", "-c", text], ["sh", "-c", f"echo '{text}'"], [text, text]):
            line = json.dumps({"argv": sanitise_argv(argv)}, ensure_ascii=False)

            assert not _is_left(secret, line), line
            assert not scan_text(line + "\n"), line
