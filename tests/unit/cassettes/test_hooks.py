"""The hooks: nothing secret stays, nothing of the caller's is changed."""

import base64
import copy
import gzip
import io
import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import quote, quote_plus

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vcr import cassette as cassettes_of_vcr
from vcr import config as config_of_vcr
from vcr import request as requests_of_vcr

from egressmon import cassettes
from egressmon.cassettes.addresses import clean_address
from egressmon.sanitise.redaction import scan_text

SECRET = "abc123-hidden-9"  # noqa: S105 -- of no known shape
JSON = {"Content-Type": "application/json"}
DEEP = b"egressmon: this body was not recorded: it is JSON that is nested too deeply"
# VCR has no types.
VCR = cast("Any", config_of_vcr).VCR
Cassette = cast("Any", cassettes_of_vcr).Cassette
Request = cast("Any", requests_of_vcr).Request

NAMES = st.sampled_from(
    [
        *("password", "api_key", "id", "text", "Authorization", "Set-Cookie", "token"),
        *("Content-Type", "Content-Encoding", "content-length", "x-ratelimit-tokens"),
    ]
)
TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["gzip", "br", "deflate, gzip", "application/json", SECRET, "***"]),
)
HEADERS = st.dictionaries(NAMES, TEXTS, max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)
    ),
    max_leaves=8,
)
BODIES = st.one_of(
    st.binary(max_size=200),
    TEXTS.map(str.encode),
    VALUES.map(lambda value: json.dumps(value).encode()),
    VALUES.map(lambda value: gzip.compress(json.dumps(value).encode())),
    st.lists(st.tuples(NAMES, TEXTS), max_size=4).map(
        lambda pairs: "&".join(f"{name}={value}" for name, value in pairs).encode()
    ),
)


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def content(request: Any) -> object:
    body = request.body
    whole = body.read() if hasattr(body, "read") else body
    parts = whole if whole is None or isinstance(whole, bytes) else list(whole)
    return request.method, request.uri, dict(request.headers), parts


@given(
    st.sampled_from(["GET", "POST"]),
    TEXTS.map("http://h.test/{}".format),
    BODIES,
    HEADERS,
)
def test_a_request_is_not_changed_and_cleaned_once_and_for_all(
    method: str, uri: str, body: bytes, headers: dict[str, str]
) -> None:
    request = Request(method, uri, body, headers)
    before = copy.deepcopy(content(request))

    once = cassettes.before_record_request(request)

    assert content(request) == before
    assert content(cassettes.before_record_request(once)) == content(once)


@given(BODIES, HEADERS, st.booleans())
def test_a_response_is_not_changed_and_cleaned_once_and_for_all(
    body: bytes,
    headers: dict[str, str],
    listed: bool,  # noqa: FBT001
) -> None:
    many = {name: [value] if listed else value for name, value in headers.items()}
    response: dict[str, Any] = {
        "status": {"code": 200, "message": "OK"},
        "headers": many,
        "body": {"string": body},
    }
    before = copy.deepcopy(response)

    once = cassettes.before_record_response(response)

    assert response == before
    assert cassettes.before_record_response(once) == once
    assert once["body"] is not response["body"]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://bob:pw@h.test/x", "https://***@h.test/x"),
        ("https://tok@h.test:8443/x?a=1", "https://***@h.test:8443/x?a=1"),
        ("https://a@b:c@h.test/", "https://***@h.test/"),
        ("https://h.test/?api_key=k&page=2", "https://h.test/?api_key=***&page=2"),
        ("https://h.test/?key=AIza&q=k", "https://h.test/?key=***&q=k"),
        ("https://h.test/?user[password]=x", "https://h.test/?user[password]=***"),
        ("https://h.test/?p%61ssword=x", "https://h.test/?p%61ssword=***"),
        ("https://h.test/#access_token=x", "https://h.test/#access_token=***"),
        ("/cb?code=4/0Ab&state=s", "/cb?code=***&state=s"),
        ("https://h.test/?X-Amz-Signature=ab", "https://h.test/?X-Amz-Signature=***"),
        ("https://h.test/a;b=c?x&y=", "https://h.test/a;b=c?x&y="),
        ("https://[::1", "https://[::1"),
        ("", ""),
    ],
)
def test_addresses(address: str, shown: str) -> None:
    assert clean_address(address) == shown


@pytest.mark.parametrize(
    ("body", "headers", "shown"),
    [
        (b'{"password": "hunter2", "a": 1}', JSON, b'{"password": "***", "a": 1}'),
        (b'{"a":1}', JSON, b'{"a":1}'),  # as it was written
        (b'{"api_key":"x1","api_key":"x2"}', JSON, b'{"api_key": "***"}'),
        (b'{"pin": null, "secret": 12345678}', JSON, b'{"pin": null, "secret": 0}'),
        (
            b'{"credentials": {"user": "u", "on": true, "n": [1]}}',
            JSON,
            b'{"credentials": {"user": "***", "on": true, "n": [0]}}',
        ),
        (
            b'{"usage": {"total_tokens": 12, "input_tokens": 34567}}',
            JSON,
            b'{"usage": {"total_tokens": 12, "input_tokens": 34567}}',
        ),
        (
            b'{"token": "Hel1", "logprob": -1}',
            JSON,
            b'{"token": "Hel1", "logprob": -1}',
        ),
        (b"user=b&password=hunter2", {}, b"user=b&password=***"),
        (
            b'{"token": "abc"}\n{"a": 1}\n',
            {},
            b'{"token": "***"}\n{"a": 1}\n',
        ),
        (b"\x89PNG\r\n\x1a\n\0\1\2", {}, b"\x89PNG\r\n\x1a\n\0\1\2"),
        (b"[" * 5000, JSON, DEEP),
    ],
)
def test_bodies(body: bytes, headers: dict[str, str], shown: bytes) -> None:
    request = Request("POST", "http://h.test/", body, headers)

    assert cassettes.before_record_request(request).body == shown


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\x1e", b"\n "])
@pytest.mark.parametrize("odd", [b"1", b"1" * 5000, b'"\\ud800"'])
def test_json_is_cleaned_whatever_it_is_called(
    kind: str, before: bytes, odd: bytes
) -> None:
    body = before + b'{"a": ' + odd + b', "secret": ["x", {"b": "hunter2abc"}]}'
    request = Request("POST", "http://h.test/", body, {"Content-Type": kind})

    assert b"hunter2abc" not in cassettes.before_record_request(request).body


def raw_deflate(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=-15)
    return made.compress(data) + made.flush()


PLAIN = b'{"a": "x", "password": "***"}'
GIVEN = b'{"a": "x", "password": "hunter2"}'
GZIPPED = gzip.compress(GIVEN, mtime=0)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", GZIPPED),
        (
            "x-gzip",
            gzip.compress(GIVEN[:9], mtime=0) + gzip.compress(GIVEN[9:], mtime=0),
        ),
        ("GZIP", GZIPPED),
        ("deflate", zlib.compress(GIVEN)),
        ("deflate", raw_deflate(GIVEN)),
        ("deflate, gzip", gzip.compress(zlib.compress(GIVEN), mtime=0)),
        ("identity", GIVEN),
        ("gzip", GIVEN),  # as clients hand over that decode themselves
        ("br", GIVEN),
        ("zstd", GIVEN),
    ],
)
def test_encoded_bodies_are_decoded(coding: str, body: bytes) -> None:
    response = {
        "status": {"code": 200, "message": "OK"},
        "headers": {"Content-Encoding": [coding], "Content-Length": [str(len(body))]},
        "body": {"string": body},
    }

    shown = cassettes.before_record_response(response)

    assert shown["body"]["string"] == PLAIN
    if coding != "identity":
        assert "Content-Encoding" not in shown["headers"]
    assert shown["headers"]["Content-Length"] == [str(len(PLAIN))]


@pytest.mark.parametrize(
    ("coding", "body", "said"),
    [
        ("zstd", b"\x28\xb5\x2f\xfd\x04\x00", b"'zstd', which cannot be decoded here"),
        ("gzip", GZIPPED[:-9], b"no valid gzip"),
        ("gzip", GZIPPED + b"\xff", b"no valid gzip"),
        ("deflate", b"\xff\xfe\0", b"no valid deflate"),
        ("gzip", gzip.compress(bytes(80 << 20), mtime=0), b"unpacks to more than"),
        ("gzip, gzip, gzip, gzip, gzip", b"x", b"5 encodings"),
    ],
)
def test_what_cannot_be_decoded_is_replaced(
    coding: str, body: bytes, said: bytes
) -> None:
    response = {"headers": {"content-encoding": [coding]}, "body": {"string": body}}

    shown = cassettes.before_record_response(response)

    assert shown["body"]["string"].startswith(b"egressmon: this body was not recorded")
    assert said in shown["body"]["string"]
    assert shown["headers"] == {}


def test_brotli_is_decoded() -> None:
    response = {"headers": {"content-encoding": "br"}, "body": {"string": b""}}
    compress: Callable[[bytes], bytes] = cast("Any", brotli).compress
    small, bomb = compress(GIVEN), compress(bytes(100 << 20))

    for body, shown in (
        (small, PLAIN),
        (small[:-2], b"no valid"),
        (bomb, b"more than"),
    ):
        response["body"] = {"string": body}
        assert shown in cassettes.before_record_response(response)["body"]["string"]


@pytest.mark.parametrize(
    "body",
    [
        GIVEN.decode(),
        GIVEN,
        io.BytesIO(GIVEN),
        io.StringIO(GIVEN.decode()),
        iter([GIVEN[:5], GIVEN[5:]]),
        [GIVEN],
        bytearray(GIVEN),
    ],
)
def test_a_body_may_be_of_any_kind(body: object) -> None:
    request = Request("POST", "http://h.test/", body, JSON)

    assert cassettes.before_record_request(request).body == PLAIN


def test_headers_with_credentials_are_dropped_and_others_kept() -> None:
    headers = {
        "Authorization": "Bearer x",
        "proxy-authorization": "Basic eDp5",
        "Cookie": "a=b",
        "X-Api-Key": "k",
        "x-goog-api-key": "k",
        "Ocp-Apim-Subscription-Key": "k1k2k3",
        "X-RapidAPI-Key": "k",
        "Accept": "*/*",
        "x-ratelimit-remaining-tokens": "39999",
        "Idempotency-Key": "7",
        "Referer": "https://u:p@h.test/?password=x",
    }

    shown = cassettes.before_record_request(
        Request("GET", "http://h.test/", None, headers)
    )

    assert dict(shown.headers) == {
        "Accept": "*/*",
        "x-ratelimit-remaining-tokens": "39999",
        "Idempotency-Key": "7",
        "Referer": "https://***@h.test/?password=***",
    }


# What a client sent may come back under any name.
def test_values_of_secret_variables_are_taken_out_wherever_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACME_API_KEY", SECRET)
    monkeypatch.setenv("ACME_PASSWORD", "postgres")  # a word: stays
    response = {"headers": {}, "body": {"string": f"{SECRET} postgres".encode()}}

    shown = cassettes.before_record_response(response)

    assert shown["body"]["string"] == b"*** postgres"


def test_ones_own_hooks_come_first() -> None:
    def add(request: Any) -> Any:
        request.headers["Authorization"] = SECRET
        return request

    config = cassettes.vcr_config(before_record_request=add, record_mode="none")
    several = cassettes.vcr_config(before_record_response=(len, repr))

    assert config["record_mode"] == "none"
    merged = VCR(**config).get_merged_config(path="x")
    request = merged["before_record_request"](Request("GET", "http://h.test", "", {}))
    assert dict(request.headers) == {}
    assert several["before_record_response"] == (
        len,
        repr,
        cassettes.before_record_response,
    )


def test_a_hook_that_leaves_a_request_out_does_so() -> None:
    def leave_out(_: Any) -> None:
        return None

    config = cassettes.vcr_config(before_record_request=leave_out)

    merged = VCR(**config).get_merged_config(path="x")
    assert merged["before_record_request"](Request("GET", "http://h", "", {})) is None


# A cassette as VCR itself writes it, with user information, which urllib cannot send.
def test_what_vcr_writes_is_clean(tmp_path: Any) -> None:
    path = tmp_path / "one.yaml"
    config = VCR(**cassettes.vcr_config()).get_merged_config(path=str(path))
    keys = ("path", "serializer", "before_record_request", "before_record_response")
    with Cassette.use(**{key: config[key] for key in keys}) as cassette:
        uri = f"https://bob:{SECRET}@h.test/?key={SECRET}"
        request = Request("POST", uri, f'{{"secret": "{SECRET}"}}', JSON)
        body = {"string": gzip.compress(f'{{"secret": "{SECRET}"}}'.encode())}
        headers = {"content-encoding": ["gzip"], "set-cookie": [SECRET]}
        cassette.append(
            request,
            {"status": {"code": 200, "message": ""}, "headers": headers, "body": body},
        )

    data = path.read_bytes()
    assert data.count(b"***") == 4
    assert SECRET.encode() not in data
    assert scan_text(data) == []


# conftest.py imports it in each run of the tests, as whoever runs them.
def test_the_import_is_light() -> None:
    code = (
        "import sys; before = set(sys.modules); import egressmon.cassettes;"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )

    third = {"pytest", "vcr", "yaml", "orjson", "pydantic", "blake3", "rich", "asyncio"}
    assert third.isdisjoint(done.stdout.split())


PARTS = (
    b"--B\r\nContent-Disposition: form-data; name=api_token\r\n\r\nhunter2\r\n"
    b'--B\r\nContent-Disposition: form-data; filename=a; name="j"\r\n\r\n'
    b'{"password": "hunter2"}\r\n--B--\r\n'
)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"arguments": "{\\"api_token\\": \\"hunter2\\"}"}', "application/json"),
        (b'{"h": [{"name": "X-Api-Key", "value": "hunter2"}]}', "application/json"),
        (b'{"h": [["Authorization", "Bearer hunter2"]]}', "application/json"),
        (b'\xef\xbb\xbf{"password": "hunter2"}', "application/json"),
        ('{"password": "hunter2"}'.encode("utf-16"), "application/json"),
        (b")]}',\n" + b'{"api_token": "hunter2"}', "application/json"),
        (b"<r><password>hunter2</password></r>", "text/xml"),
        (b"user%5Bapi_token%5D=hunter2", "application/x-www-form-urlencoded; a=b"),
        (PARTS, 'multipart/form-data; boundary="B"'),
        (PARTS.replace(b"\r\n", b"\n"), "multipart/form-data; boundary=B"),
    ],
)
def test_where_a_secret_may_hide(body: bytes, kind: str) -> None:
    given = Request("POST", "http://h.test/", body, {"Content-Type": kind})

    shown = cassettes.before_record_request(given).body

    assert b"hunter2" not in shown.replace(b"\0", b"")
    assert b"***" in shown


# What a client was given, as others write it.
@pytest.mark.parametrize("write", [json.dumps, quote, quote_plus, in_base64])
def test_a_known_value_is_found_in_other_forms(
    monkeypatch: pytest.MonkeyPatch, write: Callable[[str], str]
) -> None:
    monkeypatch.setenv("ACME_TOKEN", value := 'ab"c/d1+Zz9 q')
    text = write(f"user:{value}").encode()

    shown = cassettes.before_record_response({"body": {"string": text}})

    assert b"***" in shown["body"]["string"]
    assert text[8:-4] not in shown["body"]["string"]


@pytest.mark.parametrize(
    "body",
    [
        b'--B\r\nContent-Disposition: form-data; name="x' * 20_000,
        b"--B\r\nContent-Disposition: " + b";" * 200_000,
        b'{"a":' * 100_000,
        b"a=1&" * 200_000,
        b'data: {"a":1}\n' * 20_000,
    ],
    ids=["names", "semicolons", "nested", "pairs", "events"],
)
def test_hostile_bodies_take_linear_time(body: bytes) -> None:
    kind = {"Content-Type": "multipart/form-data; boundary=B"}

    for headers in (kind, {}):
        shown = cassettes.before_record_request(
            Request("POST", "http://h.test/", body, headers)
        )
        assert shown.body


@pytest.mark.parametrize(
    ("name", "value", "sent"),
    [
        ("ACME_TOKEN", "Qtrail9-x7Kq2\n", "Qtrail9-x7Kq2"),
        ("ACME_TOKEN", "Qtrail9-x7Kq2\nQmore9-x7Kq3\n", "Qmore9-x7Kq3"),
        ("DATABASE_URL", "postgres://u:Qz03live-K9xx@h/x", "Qz03live-K9xx"),
        ("REDIS_URL", "redis://:Qz03live%2FK9xx@h/0", "Qz03live/K9xx"),
        ("ACME_TOKEN", "Qz03/live/K9xx", "Qz03\\/live\\/K9xx"),
    ],
)
def test_what_is_sent_of_a_variable_is_taken_out(
    name: str, value: str, sent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    body = f'{{"x": "it is {sent}."}}'.encode()
    given = {"status": {}, "headers": JSON, "body": {"string": body}}

    shown = cassettes.before_record_response(given)

    assert shown["body"]["string"] == b'{"x": "it is ***."}'


@pytest.mark.parametrize("name", ["code", "device_code", "otp", "code_verifier"])
def test_codes_that_stand_for_a_password_are_taken_out(name: str) -> None:
    form = f"grant_type=x&{name}=Splx10&page=2".encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    request = cassettes.before_record_request(Request("POST", "http://h/", form, kind))

    assert request.body == f"grant_type=x&{name}=***&page=2".encode()

    if name != "code":
        body = json.dumps({name: "Splx10", "code": 404}).encode()
        given = {"status": {}, "headers": JSON, "body": {"string": body}}
        shown = cassettes.before_record_response(given)
        assert json.loads(shown["body"]["string"]) == {name: "***", "code": 404}
