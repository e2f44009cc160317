#!/usr/bin/env python3
"""Make one real call of a model vendor, and spend no more than is allowed.

    call.py [--sdk anthropic|openai] [--model NAME]
            [--requests N] [--tokens N] [--seconds N]

The key comes from file descriptor 3 (`--key-fd`), so that it is in no argument and no
environment. One line of JSON on standard output says what was spent.

Three limits hold together. Requests: each try counts, as the SDK itself may neither
try again nor follow a redirect, which would take the key elsewhere. Tokens: a request
is made only if the worst that it can cost, its prompt and the longest answer, still
fits; where the answer does not say what it cost, the worst counts. Seconds: the kernel
ends the process then, whatever it does. For an answer without end there is no memory,
and no core file has the key.

Exit status: 0 an answer came; 1 none did; 2 bad usage; 3 a limit was reached, and
killed by SIGALRM (142 in a shell) that of seconds.
"""

import argparse
import json
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any

PROMPT = "Answer with the word: ready"
ANSWER_TOKENS = 8
# A token stands for a byte at least; what vendors add to a prompt is a few words.
PROMPT_TOKENS = len(PROMPT.encode()) + 32
MODELS = {"anthropic": "claude-haiku-4-5", "openai": "gpt-5-nano"}
LIMIT_REACHED = 3
MAX_KEY = 4096
MAX_MEMORY = 2 << 30


class LimitError(Exception):
    """A limit would be passed; the message says which."""


@dataclass
class Cap:
    """What may be spent, and what was."""

    requests: int
    tokens: int
    spent_requests: int = 0
    spent_tokens: int = 0

    def before(self, worst: int) -> None:
        """Count a request that may cost `worst` tokens, or raise LimitError."""
        if self.spent_requests >= self.requests:
            raise LimitError(f"{self.requests} requests")
        if self.spent_tokens + worst > self.tokens:
            raise LimitError(f"{self.tokens} tokens")
        self.spent_requests += 1
        self.spent_tokens += worst

    def after(self, worst: int, told: int | None) -> None:
        """Put what a request cost in the place of the worst, if that is told."""
        if told is not None and told >= 0:
            self.spent_tokens += told - worst


def read_key(descriptor: int) -> str:
    """Return the key that the descriptor gives, and close it."""
    with os.fdopen(descriptor, "rb") as file:
        key = file.read(MAX_KEY + 1).strip()
    if not key or len(key) > MAX_KEY or not key.isascii():
        raise ValueError("there is no key there")
    return key.decode()


def ask_anthropic(key: str, model: str) -> int | None:
    """Make one call; return what it cost in tokens, if that is told."""
    import anthropic  # noqa: PLC0415 -- only the SDK that is asked for

    web = anthropic.DefaultHttpxClient(follow_redirects=False)
    client = anthropic.Anthropic(api_key=key, max_retries=0, http_client=web)
    answer = client.messages.create(
        model=model,
        max_tokens=ANSWER_TOKENS,
        messages=[{"role": "user", "content": PROMPT}],
    )
    return _sum(answer.usage, "input_tokens", "output_tokens")


def ask_openai(key: str, model: str) -> int | None:
    """Make one call; return what it cost in tokens, if that is told."""
    import openai  # noqa: PLC0415 -- as above

    web = openai.DefaultHttpxClient(follow_redirects=False)
    client = openai.OpenAI(api_key=key, max_retries=0, http_client=web)
    answer = client.chat.completions.create(
        model=model,
        max_completion_tokens=ANSWER_TOKENS,
        messages=[{"role": "user", "content": PROMPT}],
    )
    return _sum(answer.usage, "prompt_tokens", "completion_tokens")


ASK = {"anthropic": ask_anthropic, "openai": ask_openai}


def _sum(usage: Any, *names: str) -> int | None:
    parts = [getattr(usage, name, None) for name in names]
    known = [part for part in parts if isinstance(part, int) and part >= 0]
    return sum(known) if len(known) == len(parts) else None


def call(given: argparse.Namespace, key: str, cap: Cap) -> bool:
    """Try until an answer comes or no request is left; tell whether one came."""
    worst = PROMPT_TOKENS + ANSWER_TOKENS
    model = given.model or MODELS[given.sdk]
    while True:
        cap.before(worst)
        try:
            told = ASK[given.sdk](key, model)
        except Exception as error:  # noqa: BLE001 -- whatever an SDK raises
            # Its kind and status alone: a message may quote the request.
            status = getattr(error, "status_code", None)
            print(f"call: {type(error).__name__}, status {status}", file=sys.stderr)
            if status is None or status < 500:
                return False
            continue
        cap.after(worst, told)
        if cap.spent_tokens > cap.tokens:
            raise LimitError(f"{cap.tokens} tokens, by what the vendor says it was")
        return True


def bound_memory() -> None:
    """Leave no core file, and take no more memory than an SDK needs."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY or most > MAX_MEMORY:
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))


def end_after(seconds: int) -> None:
    """Have the kernel end this process then, whatever it does."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    signal.alarm(seconds)


def positive(text: str) -> int:
    """Return a number above zero, which fits an alarm."""
    number = int(text)
    if not 1 <= number < 2**31:
        raise ValueError
    return number


def main() -> int:
    """Make the call; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sdk", choices=sorted(ASK), default="anthropic")
    parser.add_argument("--model", help="the cheapest that answers is enough")
    parser.add_argument("--requests", type=positive, default=3)
    parser.add_argument("--tokens", type=positive, default=500)
    parser.add_argument("--seconds", type=positive, default=60)
    parser.add_argument("--key-fd", type=int, default=3)
    given = parser.parse_args()
    bound_memory()
    end_after(given.seconds)
    begun = time.monotonic()
    cap, came, reached = Cap(given.requests, given.tokens), False, False
    try:
        came = call(given, read_key(given.key_fd), cap)
    except (OSError, ValueError) as error:
        print(
            f"call: no key at file descriptor {given.key_fd}: {error}", file=sys.stderr
        )
        return 2
    except LimitError as error:
        print(f"call: the limit is reached: {error}", file=sys.stderr)
        reached = True
    spent = {"requests": cap.spent_requests, "tokens": cap.spent_tokens}
    print(json.dumps({**spent, "seconds": round(time.monotonic() - begun, 1)}))
    return LIMIT_REACHED if reached else int(not came)


if __name__ == "__main__":
    sys.exit(main())
