"""Secrets do not reach the evidence; what is none stays readable."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon.sanitise import sanitise_argv, sanitise_text

# The secret part of each is between the angle brackets.
CORPUS = [
    ["curl", "https://user:<sesame>@example.org/path"],
    [
        "git",
        "clone",
        "https://<ghp_abcdefghijklmnopqrstuvwxyz0123456789>@github.test/x",
    ],
    ["curl", "-H", "Authorization: Bearer <abcdef123456>"],
    ["curl", "-H", "authorization:<Basic dXNlcjpwYXNz>"],
    ["curl", "-H", "X-Api-Key: <0123456789>"],
    ["curl", "-H", "Cookie: <session=abc; theme=dark>"],
    ["curl", "-u", "<user:password>"],
    ["curl", "--user", "<user:password>"],
    ["curl", "https://example.org/?token=<abc123>&page=2"],
    ["curl", "-d", '{"api_key": "<abc123>", "page": 2}'],
    ["tool", "--password", "<hunter2>"],
    ["tool", "--password=<hunter2>"],
    ["tool", "--db-password=<hunter2>"],
    ["tool", "--api-key", "<hunter2>"],
    ["tool", "-token", "<hunter2>"],
    ["env", "PGPASSWORD=<hunter2>", "psql"],
    ["env", "AWS_SECRET_ACCESS_KEY=<wJalrXUtnFEMI/K7MDENG>", "aws"],
    ["env", "GITHUB_TOKEN=<hunter2>", "gh"],
    ["sh", "-c", "export SECRET=<hunter2>; run"],
    ["tool", "<sk-ant-api03-abcdefghijklmnop>"],
    ["tool", "<AKIAIOSFODNN7EXAMPLE>"],
    ["tool", "<github_pat_11ABCDEFG0abcdefghijkl>"],
    ["tool", "<glpat-abcdefghijklmnopqrst>"],
    ["tool", "<xoxb-123456789012-abcdefghij>"],
    ["tool", "<pypi-AgEIcHlwaS5vcmcCJGE>"],
    ["tool", "<npm_abcdefghijklmnopqrstuvwxyz012345>"],
    ["tool", "<hf_abcdefghijklmnopqrstuv>"],
    ["tool", "<AIzaSyA-abcdefghijklmnopqrstuvwxyz01234>"],
    ["tool", "<sk_live_abcdefghijklmnop>"],
    ["tool", "<eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl>"],
    ["tool", "<-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END>"],
    ["redis-cli", "-u", "redis://default:<pass>@host:6379"],
]


@pytest.mark.parametrize("marked", CORPUS, ids=lambda words: words[-1][:30])
def test_secrets_are_masked(marked: list[str]) -> None:
    argv = [word.replace("<", "").replace(">", "") for word in marked]
    whole = "\n".join(marked)
    secret = whole[whole.index("<") + 1 : whole.rindex(">")]

    shown = sanitise_argv(argv)

    assert secret not in "\n".join(shown)
    assert len(shown) == len(argv)
    assert shown[0] == argv[0]
    assert "***" in "\n".join(shown)


@pytest.mark.parametrize(
    "argv",
    [
        ["pytest", "-k", "test_token", "tests/"],
        ["python3", "-m", "http.server", "8000"],
        ["curl", "-sS", "https://example.org/path?page=2"],
        ["git", "commit", "--author", "A U Thor <author@example.org>"],
        ["env", "PATH=/usr/bin:/bin", "HOME=/root", "true"],
        ["ls", "--sort=size", "/secret/files"],
        ["python3", "-c", "import tokenize; print('pass')"],
        ["ssh", "-p", "22", "user@host"],
    ],
)
def test_what_is_no_secret_stays(argv: list[str]) -> None:
    assert sanitise_argv(argv) == argv


@given(st.lists(st.text(max_size=60), max_size=8))
def test_any_argv_keeps_its_length(argv: list[str]) -> None:
    assert len(sanitise_argv(argv)) == len(argv)


def test_long_words_do_not_take_long() -> None:
    # Catastrophic backtracking would not end within the test's time.
    for word in ("a" * 4096, "-" * 4096, "token" * 800, "key=" * 1000, "eyJ" * 1300):
        sanitise_text(word)
        sanitise_argv([word, word])
