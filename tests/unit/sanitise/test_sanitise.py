"""Secrets do not reach the evidence, and what is no secret stays readable."""

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from egressmon.sanitise import sanitise_argv, sanitise_text
from egressmon.sanitise.argv_mode import ArgvMode
from egressmon.sanitise.commands import kinds
from egressmon.sanitise.words.text import MAX_TEXT

# Each secret is in angle brackets.
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


WORDS = st.text(st.sampled_from("abcdefgh-_./:=@ \"'$(;|&"), max_size=40)
BODIES = st.text(
    st.sampled_from("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789"),
    min_size=32,
    max_size=60,
)


@given(WORDS, BODIES, WORDS)
def test_a_token_of_a_known_shape_shows_nowhere(
    before: str, body: str, after: str
) -> None:
    for prefix in ("ghp_", "glpat-", "sk-ant-api03-", "npm_"):
        token = prefix + body
        for argv in (
            [f"{before} {token} {after}"],
            ["sh", "-c", f"{before} {token} {after}"],
            ["curl", "-d", f"{before}/{token}"],
            [before, token, after],
        ):
            assert body not in "\n".join(sanitise_argv(argv)), argv


@given(WORDS, st.text(st.characters(exclude_categories=("Cs", "Z", "C")), min_size=8))
def test_the_value_of_a_password_option_shows_nowhere(word: str, secret: str) -> None:
    # A reference that a shell replaces, or a word for "none", is no secret.
    assume(not secret.startswith(("$", "`", "<", "%", "{", "-", "*")))
    assume("(" not in secret and "[" not in secret and secret not in word)
    assume(secret.lower() not in {"undefined", "optional", "required"})

    for argv in (
        ["tool", "--password", secret, word],
        ["tool", word, f"--db-password={secret}"],
        ["env", f"PGPASSWORD={secret}", "psql"],
        ["mysql", f"-p{secret}", word],
    ):
        assert secret not in "\n".join(sanitise_argv(argv)), argv


@given(
    st.lists(st.text(st.sampled_from("abcdefghij/._-"), max_size=30), max_size=8),
    st.sampled_from(["ls", "/usr/bin/make", "gcc", "docker", "curl"]),
)
def test_plain_words_are_unchanged(words: list[str], program: str) -> None:
    argv = [program, *(word.lstrip("-") for word in words)]

    assert sanitise_argv(argv) == argv


@given(st.text(max_size=300))
def test_masking_again_changes_nothing_in_what_is_known(text: str) -> None:
    once = sanitise_text(text)

    assert sanitise_text(once).count("***") >= once.count("***")


HOSTILE = (
    *("token.", "x-", "pass-", "a://", "'\"", '"\\"', "eyJ-", "eyJaaaaaaaaa.", "key="),
    *("a:b@", "a@b:", "-----BEGIN ", "--token=", "bearer ", "$(", "`", "a.b.", "://@"),
    *(
        "password '",
        "' ",
        "password=(",
        "password='",
        "x=y,",
        "aB3",
        "AbC0+",
        "sh -c ",
        "eval ",
        "s.",
        "{",
    ),
    *(
        "data:image/",
        "hooks.slack.com/services/",
        "'\\''",
        "é",
        "\\",
        "(",
        "1:",
        "a=b&",
    ),
)


# A text four times as long may take about four times as long; if it takes sixteen times
# as long, the time is quadratic.
@pytest.mark.parametrize("unit", HOSTILE)
def test_the_time_is_linear(unit: str) -> None:
    def cpu(size: int) -> float:
        argv = ["sh", "-c", unit * (size // len(unit)), unit * (size // len(unit))]
        times: list[float] = []
        for _ in range(5):
            start = time.thread_time()
            sanitise_argv(argv)
            times.append(time.thread_time() - start)
        return min(times)

    assert cpu(4000) < 10 * max(cpu(1000), 1e-4)


def test_a_long_word_is_cut_where_no_secret_is_cut() -> None:
    token = "ghp_" + "aB3dE5fG7h" * 4
    for size in range(MAX_TEXT - 50, MAX_TEXT + 5):
        shown = sanitise_text("x" * (size - 1) + " " + token)

        assert "ghp_" not in shown
        assert len(shown) <= MAX_TEXT + 8


def test_a_long_command_says_how_much_is_left_out() -> None:
    shown = sanitise_argv(["tool", *["word"] * 5000])

    assert len(shown) < 2000
    assert shown[-1] == f"… ({5001 - (len(shown) - 1)} words more)"


@pytest.mark.parametrize(
    ("mode", "shown"),
    [
        ("none", []),
        ("program", ["curl"]),
        ("masked", ["curl", "-u***", "https://example.org/"]),
    ],
)
def test_how_much_is_shown_is_the_users_choice(
    mode: ArgvMode, shown: list[str]
) -> None:
    assert sanitise_argv(["curl", "-ubob:pw", "https://example.org/"], mode) == shown


def test_what_was_masked_is_not_remembered() -> None:
    secret = "ghp_" + "abcdefghij" * 3
    before = set(kinds.harmless)

    sanitise_argv(["tool", secret, "--password", "hunter2", "harmless-word"])

    kept = set(kinds.harmless) - before
    assert "harmless-word" in kept
    assert not any("ghp_" in word or "hunter2" in word for word in kept)
