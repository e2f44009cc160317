"""What a file of native code imports, calls and holds says what it could do."""

import os
import subprocess
from pathlib import Path

import pytest

from egressmon.inspection.program import is_native
from support.native import built, inspected_at, why

SOCKET = "int socket(int, int, int); int connect(int, void *, int);"


def test_imports_that_connect(tmp_path: Path) -> None:
    source = SOCKET + "int f(void *a) { return connect(socket(2, 1, 0), a, 16); }"

    assert why(built(tmp_path / "a.so", source)) == [("imports connect", True)]


def test_a_symbol_that_is_not_used_is_not_imported(tmp_path: Path) -> None:
    assert why(built(tmp_path / "a.so", SOCKET + "int f(void) { return 1; }")) == []


def test_whoever_sends_without_a_socket_of_its_own_is_a_hint(tmp_path: Path) -> None:
    source = "long sendto(); long f(int fd) { return sendto(fd, 0, 0, 0, 0, 0); }"
    makes = source + "int socket(); int g(void) { return socket(2, 2, 0); }"

    assert why(built(tmp_path / "a.so", source)) == [
        ("imports sendto, but makes no socket", False)
    ]
    assert why(built(tmp_path / "b.so", makes)) == [("imports sendto", True)]


def test_a_pointer_to_a_function_is_an_import(tmp_path: Path) -> None:
    source = "int getaddrinfo(); void *table[] = {(void *)getaddrinfo};"

    assert why(built(tmp_path / "a.so", source)) == [("imports getaddrinfo", True)]


UNKNOWN = ("imports syscall, which it calls for what is not known", False)
CALLS = "long syscall(long, ...);"


@pytest.mark.parametrize("flags", [(), ("-fno-plt",), ("-fcf-protection=full",)])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("long f(void) { return syscall(39) + 1; }", []),
        ("long f(void) { return syscall(39); }", []),  # a jump at the end
        (
            "long f(void) { return syscall(42, 1, 2, 3) + 1; }",
            [("imports syscall, and calls it for connect", True)],
        ),
        ("long f(long n) { return syscall(n) + 1; }", [UNKNOWN]),
        ("long f(long n) { return syscall(n); }", [UNKNOWN]),
        ("long f(void) { return syscall(39) + syscall(186); }", []),
        ("typedef long call(long, ...); call *f(void) { return syscall; }", [UNKNOWN]),
        ("void *table[] = {(void *)syscall};", [UNKNOWN]),
    ],
)
def test_for_what_syscall_is_called(
    tmp_path: Path,
    flags: tuple[str, ...],
    body: str,
    expected: list[tuple[str, bool]],
) -> None:
    path = built(tmp_path / "a.so", CALLS + body, "-shared", "-fPIC", *flags)

    assert why(path) == expected


def test_libraries_by_name_symbols_and_texts(tmp_path: Path) -> None:
    source = """
    int curl_easy_perform(void *handle) { return 0; }
    const char *version(void) { return "libcurl/8.14.1 OpenSSL/3.0"; }
    """

    assert why(built(tmp_path / "libcurl-ab12.so.4.8.0", source)) == [
        ("is named as libcurl", False),
        ("defines functions of libcurl", False),
        ("holds libcurl 8.14.1", False),
    ]
    assert why(built(tmp_path / "libcurlew.so", "int f;")) == []


def test_what_looks_functions_up_by_name(tmp_path: Path) -> None:
    source = """
    void *dlsym(void *, const char *); void *dlopen(const char *, int);
    void *f(void) { return dlsym(dlopen("libcurl.so.4", 1), "connect"); }
    """

    assert why(built(tmp_path / "a.so", source)) == [
        ("looks functions up by name, and has the name connect", False),
        ("may load libcurl.so.4", False),
    ]


def test_programs_of_go_and_packed_ones(tmp_path: Path) -> None:
    build = r'const char *a = "\xff Go buildinf:";'
    dial = r'const char *b = "net.(*sysDialer).dialTCP";'
    packed = r'const char *a = "UPX!";'

    assert why(built(tmp_path / "a.so", build)) == [("is a Go program", False)]
    assert why(built(tmp_path / "b.so", build + dial)) == [
        ("is a Go program with the package net", True)
    ]
    assert why(built(tmp_path / "c.so", packed)) == [
        ("is packed by UPX, so its code is not seen", False)
    ]


STATIC = SOCKET + "int main(void) { return connect(socket(2, 1, 0), 0, 0); }"


def test_a_static_program_of_glibc_shows_its_calls(tmp_path: Path) -> None:
    (first, *_) = why(built(tmp_path / "static", STATIC, "-static"))

    assert first[1]
    assert "connect" in first[0]


# musl's functions hand the number to one that calls the kernel with any.
def test_a_static_program_of_musl_is_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "static"
    words = ["musl-gcc", "-static", "-x", "c", "-", "-o", str(path)]
    subprocess.run(words, input=STATIC, text=True, check=True)

    assert why(path)
    assert not any(sure for _, sure in why(path))


def test_code_of_32_bits_is_searched_for_names_alone(tmp_path: Path) -> None:
    head = b"\x7fELF\x01\x01\x01" + bytes(9) + b"\x03\x00\x03\x00" + bytes(40)
    named, bare = tmp_path / "a.so", tmp_path / "b.so"
    named.write_bytes(head + b"\0connect\0\0sendto\0")
    bare.write_bytes(head)

    assert why(named) == [("has the names connect, sendto", False)]
    assert inspected_at(bare).reasons == ()
    assert "names alone" in inspected_at(bare).problems[0]


def test_objects_and_cores_are_no_code_that_is_loaded(tmp_path: Path) -> None:
    object_file = built(tmp_path / "a.o", "int f(void) { return 1; }", "-c")
    library = built(tmp_path / "a.so", "int f(void) { return 1; }")

    assert not is_native(object_file.read_bytes()[:20])
    assert is_native(library.read_bytes()[:20])
    assert not is_native(b"")
    assert not is_native(b"\x7fELF")


@pytest.mark.parametrize("size", [21, 64, 100, 200, 700, 5000, 12000])
def test_a_file_that_is_cut_short_is_told(tmp_path: Path, size: int) -> None:
    source = SOCKET + "int f(void *a) { return connect(socket(2, 1, 0), a, 16); }"
    path = built(tmp_path / "a.so", source)
    os.truncate(path, size)

    assert inspected_at(path).problems or why(path) == [("imports connect", True)]


def test_a_damaged_file_gives_an_answer(tmp_path: Path) -> None:
    source = (
        SOCKET
        + CALLS
        + ("int f(void *a) { return connect(socket(2, 1, 0), a, 16) + syscall(39); }")
    )
    path = built(tmp_path / "a.so", source)
    whole = path.read_bytes()
    for seed in range(150):
        data = bytearray(whole)
        for index in range(seed % 40 + 1):
            data[(seed * 7919 + index * 104729) % min(len(data), 4096)] ^= (
                1 << index % 8
            )
        data[:6] = b"\x7fELF\x02\x01"
        path.write_bytes(data)

        inspected_at(path)
