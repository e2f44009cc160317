"""What a command line names."""

import pytest

from egressmon.auditing.given import given


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("http://www.Example.com/index", "www.example.com"),
        ("--proxy-server=proxy.corp.test:3128", "proxy.corp.test"),
        ("git@git.example.org:team/project", "git.example.org"),
        ("198.51.100.7", "198.51.100.7"),
        ("http://[2001:DB8::0:1]:80/", "2001:db8::1"),
    ],
)
def test_names_and_addresses_in_its_words_are_found(word: str, named: str) -> None:
    assert named in given(["curl", word])


def test_a_word_without_a_dot_is_no_name() -> None:
    assert given(["npm", "install", "[::]x", "--quiet"]) == {"::"}
    assert given(["sh", "[:::1:]", "[x]"]) == {":::1:"}


def test_what_is_kept_is_bounded() -> None:
    assert len(given(f"host{number}.test" for number in range(1000))) == 256
    assert not given(["x" * 5000 + ".test"])
