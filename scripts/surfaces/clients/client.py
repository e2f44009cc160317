"""Use an SDK for Python as programs do, and note when each phase begins.

`client.py SDK MARKS`: a line for each phase goes to the file MARKS, with the time in
nanoseconds since 1970. The key is in the variable that the SDK reads, and is none.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

_ASKED = [{"role": "user", "content": "Are you ready?"}]
_LIMIT_S = 20
Call = Callable[[str], object]


def _anthropic(sdk: Any) -> Call:
    client = sdk.Anthropic(timeout=_LIMIT_S)
    return lambda model: client.messages.create(
        model=model, max_tokens=8, messages=_ASKED
    )


def _openai(sdk: Any) -> Call:
    client = sdk.OpenAI(timeout=_LIMIT_S)
    return lambda model: client.chat.completions.create(
        model=model, max_tokens=8, messages=_ASKED
    )


# The interface before 1.0 has no client, and does not try again.
def _openai_0(sdk: Any) -> Call:
    def call(model: str) -> None:
        for _ in range(2):
            with suppress(sdk.error.APIError, sdk.error.ServiceUnavailableError):
                sdk.ChatCompletion.create(
                    model=model, max_tokens=8, messages=_ASKED, request_timeout=_LIMIT_S
                )
                return

    return call


_SDKS: dict[str, tuple[str, Callable[[Any], Call]]] = {
    "anthropic": ("anthropic", _anthropic),
    "openai": ("openai", _openai),
    "openai-0": ("openai", _openai_0),
}


def main() -> None:
    """Go through the phases."""
    name, where = sys.argv[1:]
    module, client = _SDKS[name]
    with Path(where).open("a", encoding="utf-8") as marks:

        def mark(phase: str) -> None:
            line = json.dumps({"phase": phase, "ns": time.time_ns()})
            print(line, file=marks, flush=True)

        mark("import")
        sdk = importlib.import_module(module)
        mark("client")
        call = client(sdk)
        for phase, model in (
            ("first call", "stand-in"),
            ("second call", "stand-in"),
            ("retry", "overloaded"),
        ):
            mark(phase)
            try:
                call(model)
            except Exception as error:  # noqa: BLE001 -- a refusing proxy is a phase, too
                print(f"{phase}: {type(error).__name__}: {error}", file=sys.stderr)
        mark("end")


if __name__ == "__main__":
    main()
