"""Whatever the catalog knows is found and taken out, however it is encoded."""

import base64
import gzip
import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egressmon.sanitise import redaction, sanitise_argv, sanitise_text
from egressmon.sanitise.catalog import Kind
from egressmon.sanitise.catalog.listed import KINDS
from egressmon.sanitise.catalog.tokens import TOKENS
from egressmon.sanitise.redaction import MAX_DEPTH, UNSEARCHED, redact, scan_text
from support.secrets import ENCODINGS, SHAPES, filled, look_alikes, secrets
from unit.sanitise.test_sanitise_corpus import filled as filled_word

CORPUS = Path(__file__).parent / "data" / "secrets.jsonl"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_all_of_300_secrets_are_found_and_taken_out(encoding: str) -> None:
    for kind, secret in secrets(300, seed=14):
        data = b"text\n" + ENCODINGS[encoding](f"\n{secret}\nend\n".encode()) + b"\n"

        assert scan_text(data), (kind, secret)
        taken, counts = redact(data)
        assert not scan_text(taken), (kind, secret, taken)
        assert sum(counts.values()) > 0


def test_at_most_3_of_300_look_alikes_are_found() -> None:
    found = [one for one in look_alikes(300, seed=14) if scan_text(f"a\n{one}\nb\n")]

    assert len(found) <= 3, found


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_each_kind_is_described_and_knows_what_is_none_of_it(kind: Kind) -> None:
    assert kind.about
    assert kind.source
    for text in kind.harmless:
        assert not scan_text(f"x {text}\n"), text


@pytest.mark.parametrize(("kind", "shape"), SHAPES)
def test_a_secret_is_found_as_what_it_is(kind: str, shape: str) -> None:
    secret = filled(shape, random.Random(3))  # noqa: S311 -- a test's

    assert {one.kind for one in scan_text(f"\n{secret}\n")} == {kind}


@pytest.mark.parametrize("kind", TOKENS, ids=[kind.name for kind in TOKENS])
def test_records_mask_what_a_search_would_find(kind: Kind) -> None:
    for shape in kind.shape:
        secret = filled(shape, random.Random(5))  # noqa: S311 -- a test's

        assert not scan_text(sanitise_text(f"it is {secret}"))


def test_nothing_is_found_in_command_lines_that_were_masked() -> None:
    for line in CORPUS.read_text().splitlines():
        argv = [filled_word(word) for word in json.loads(line)["argv"]]

        record = json.dumps({"type": "process", "argv": sanitise_argv(argv)})

        assert not scan_text(record + "\n"), record


_MARKS = [
    *("\n", " ", '"', "'", "\\", ": ", "=", "password", "token=", "Bearer ", "***"),
    *("-----BEGIN PRIVATE KEY-----", "://", "@", "%41", "\\u0041", "&", "- ", "["),
    *("H4sI", "authorization", "cookie: ", ",", "{", "}", "é", "\udc80", "\0"),
]
_PIECES = st.one_of(
    st.sampled_from([filled(shape, random.Random(1)) for _, shape in SHAPES]),  # noqa: S311
    st.sampled_from(_MARKS),
    st.text(max_size=8),
)


@settings(deadline=None, max_examples=100)
@given(st.lists(_PIECES, max_size=12).map("".join))
def test_what_was_redacted_is_clean_and_stays_as_it_is(text: str) -> None:
    once, counts = redact(text)

    assert not scan_text(once)
    assert redact(once) == (once, {})
    assert len(once) <= len(text)
    assert (once == text) == (not counts)


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=300), st.sampled_from(sorted(ENCODINGS)))
def test_bytes_of_any_kind_are_searched_without_an_error(
    data: bytes, encoding: str
) -> None:
    taken, _ = redact(ENCODINGS[encoding](data) + data)

    assert not scan_text(taken)


def test_places_are_those_of_the_outermost_text() -> None:
    key = filled("ghp_{w36}", random.Random(2))  # noqa: S311 -- a test's
    packed = base64.b64encode(gzip.compress(key.encode(), mtime=0))
    data = b"one\ntwo: " + packed + b"\n"

    (found,) = scan_text(data)

    assert data[found.start : found.end] == packed
    assert (found.line, found.kind) == (2, "github-token")
    assert found.encodings == ("base64", "compressed")
    assert found.digest == scan_text(key)[0].digest


def test_a_part_that_unpacks_to_too_much_is_told_and_taken_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redaction, "_LEAST_BUDGET", 1 << 20)
    bomb = gzip.compress(bytes(4 << 20), mtime=0)
    data = b"body: " + base64.b64encode(bomb) + b"\n"

    assert [one.kind for one in scan_text(data)] == [UNSEARCHED]
    assert redact(data) == (b"body: ***\n", {UNSEARCHED: 1})


def test_what_is_compressed_again_and_again_is_not_followed_for_ever() -> None:
    data = b"x" * 100
    for _ in range(MAX_DEPTH + 40):
        data = gzip.compress(data, mtime=0)

    found = scan_text(data)

    assert {one.kind for one in found} == {UNSEARCHED}
    assert max(len(one.encodings) for one in found) == MAX_DEPTH + 1


@pytest.mark.parametrize(
    "text",
    [
        '{"pass\\u0077ord": "Tr0ub4dor&3x"}',
        "url=postgres%3A%2F%2Fapp%3ATr0ubdor9%40db.test%2Fx",
        '"postgres:\\/\\/app:Tr0ubdor9@db.test\\/x"',
        "machine h.test login bob password hunter22\n",
        "//registry.test/:_authToken=0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f\n",
        "password=***realpassword9",
        '{"body": "{\\"password\\": \\"Tr0ub4dor&3x\\"}"}',
        'string: "sk-\\\n    \\ant-api03-0a1b2c3d4e5f60718293a4b5"\n',
        "password: |\n  Tr0ub4dor&3x\n",
        "  Authorization: ['Bearer abcdef0123456789']\n",
        "[(b'authorization', b'Bearer abcdef0123456789')]",
        "https://x.test/?a=1\\u0026access_token=abcdef0123456789",
        '{"argv": ["mysql", "-u", "root", "-phunter22x", "shop"]}',
        "grant_type=password&username=bob&password=Tr0ub4dor%26x&scope=a",
        "<password>Tr0ub4dor3</password>",
    ],
)
def test_a_secret_is_found_as_people_and_programs_write_it(text: str) -> None:
    assert scan_text(text)
    assert not scan_text(redact(text)[0])


def test_a_key_in_utf_32_is_found() -> None:
    key = filled("ghp_{w36}", random.Random(2))  # noqa: S311 -- a test's

    assert [one.kind for one in scan_text(key.encode("utf-32"))] == ["github-token"]


def test_a_structure_around_a_secret_stays_readable() -> None:
    body = {"messages": [{"role": "user"}], "api_key": "a1b2c3d4e5f6", "x": [1, None]}

    taken, counts = redact(json.dumps(body))

    assert json.loads(taken) == {**body, "api_key": "***"}
    assert counts == {"named-secret": 1}


def test_each_secret_in_one_encoded_text_is_told() -> None:
    one, two = (filled("ghp_{w36}", random.Random(seed)) for seed in (6, 7))  # noqa: S311
    packed = base64.b64encode(gzip.compress(f"{one} {two}".encode(), mtime=0))

    found = {scan.digest for scan in scan_text(b"body: " + packed)}

    assert found == {scan_text(secret)[0].digest for secret in (one, two)}


def test_bytes_that_are_no_text_hold_no_named_values() -> None:
    data = (
        b"\x01\xffpw:\xed\xa7\x822c\xa5\xcb\xe9\xe1\x8ay\xbe\x1a\x9d\xfeE\x84\x16i\xb7/"
    )

    assert scan_text(data) == []


_FOLDS = {
    "lines": ("", "\n", "\n"),
    "lines of Windows": ("", "\r\n", "\r\n"),
    "strings": ('x = ("', '"\n    "', '")\n'),
    "joined strings": ('x = "', '" +\n    "', '";\n'),
    "bytes": ("x = (b'", "'\n    b'", "')\n"),
    "mail": ("> ", "\n> ", "\n"),
    "comments": ("# ", "\n# ", "\n"),
    "comments in C": ("// ", "\n// ", "\n"),
    "a string": ('{"a": "x\\n', "\\n", '"}\n'),
    "folded": ("", "\\\n", "\n"),
}


@pytest.mark.parametrize("fold", _FOLDS)
def test_base64_in_lines_of_any_width_is_one_text(fold: str) -> None:
    key = filled("ghp_{w36}", random.Random(2))  # noqa: S311 -- a test's
    text = f"Authorization: {key} " + "??>>lorem ipsum, \x7f\x7e" * 40
    before, between, behind = _FOLDS[fold]
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        packed = encode(text.encode()).decode()
        for width in range(16, 129):
            lines = [packed[at : at + width] for at in range(0, len(packed), width)]
            data = f"text\n{before}{between.join(lines)}{behind}"

            found = {one.digest for one in scan_text(data)}

            assert found == {scan_text(key)[0].digest}, width
            assert lines[0] not in redact(data)[0]


def test_words_of_one_width_in_lines_are_words() -> None:
    random_ = random.Random(4)  # noqa: S311 -- a test's
    keys = [filled("{w44}", random_) for _ in range(6)]

    assert len(scan_text("\n".join(keys))) == 6
