"""Addresses and forms for a cassette: user information and secret parameters masked."""

import re
from urllib.parse import unquote_plus

from egressmon.cassettes.text import clean, is_secret, settled
from egressmon.sanitise.counting import MASK

_ADDRESS = re.compile(
    r"(?P<before>(?:[A-Za-z][A-Za-z0-9+.-]{0,30}:)?//)(?P<authority>[^/?#]*)"
    r"(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?P<fragment>#.*)?",
    re.DOTALL,
)
_RELATIVE = re.compile(
    r"(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?P<fragment>#.*)?", re.DOTALL
)
# Parameters whose names say little. Google's key=, and those of signed addresses
# (AWS SigV4 and V2, Google, Azure SAS, CloudFront) and of OAuth.
_PARAMETERS = frozenset(
    """key sig signature code awsaccesskeyid googleaccessid x-amz-signature
    x-amz-credential x-amz-security-token x-goog-signature x-goog-credential policy
    key-pair-id hmac client_secret code_verifier id_token""".split()
)


def clean_address(address: str) -> str:
    """Return the URL `address` without user information and secret parameters."""
    return settled(_cleaned, address, MASK)


def _cleaned(address: str) -> str:
    found = _ADDRESS.fullmatch(address)
    if found is None:
        found = _RELATIVE.fullmatch(address)
        start = ""
    else:
        start = found["before"] + _without_user(found["authority"])
    if found is None:  # it cannot be: all texts are relative addresses
        return clean(address)
    query, fragment = found["query"], found["fragment"]
    shown = start + found["path"]
    if query:
        shown += "?" + clean_pairs(query[1:], more=_PARAMETERS)
    if fragment:
        shown += "#" + clean_pairs(fragment[1:], more=_PARAMETERS)
    return clean(shown)


def _without_user(authority: str) -> str:
    user, at, host = authority.rpartition("@")
    return f"{MASK}@{host}" if at and user else authority


def clean_pairs(text: str, *, more: frozenset[str] = frozenset()) -> str:
    """Return `text`, of `NAME=VALUE&...`, with the values of secret names masked.

    `more` are names of secrets besides those that the catalog knows.
    """
    return "&".join(_pair(pair, more) for pair in text.split("&"))


def clean_form(text: str) -> str:
    """Return the form `text` without secrets; a `code` is one where OAuth sends it."""
    names = {pair.partition("=")[0].lower() for pair in text.split("&")}
    is_oauth = not names.isdisjoint({"grant_type", "client_id", "code_verifier"})
    return clean_pairs(text, more=frozenset({"code"} if is_oauth else ()))


def _pair(pair: str, more: frozenset[str]) -> str:
    name, equals, value = pair.partition("=")
    if not equals or not value:
        return pair
    # user[password], user.password: only the last part says what it is.
    plain = unquote_plus(name)
    last = re.split(r"[\[\].]+", plain.strip("[]"))[-1]
    said = unquote_plus(value)
    if last.lower() in more or is_secret(plain, said) or is_secret(last, said):
        return f"{name}={MASK}"
    return pair
