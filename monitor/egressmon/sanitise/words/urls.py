"""Mask user names and passwords in URLs, and in addresses like user:password@host."""

import re

from egressmon.sanitise.catalog.surrounded import URL_CREDENTIALS
from egressmon.sanitise.counting import hidden

# Bounded, as a scheme of any length would make the search quadratic.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}\Z")
_REST = re.compile(r"[^\s\"'<>`]*+")
_HOST = re.compile(
    r"(?:\[[0-9A-Fa-f:.%]+\]|localhost|[\w-]++(?:\.[\w-]++)+\.?)(?::\d{1,5})?(?=[/?#,;]|\Z)"
    r"|[\w-]++:\d{1,5}(?=[/?#,;]|\Z)"
)
_USER = re.compile(r"[\w.+-]{1,64}")
# Schemes whose user names are no secrets. Elsewhere, a lone user name may be a token.
_USERS_ONLY = frozenset(
    """ssh sftp scp rsync git+ssh svn+ssh ssh+git bzr+ssh postgresql postgres psql mysql
    mariadb ldap ldaps imap imaps smtp smtps pop3 mongodb mongodb+srv ftp amqp amqps irc
    ircs sip sips xmpp mailto telnet vnc rdp qemu+ssh docker+ssh""".split()
)
_BARE = re.compile(
    r"(?<![^\s=,\"'])(?P<user>[^\s/:@=,\"']{1,64}+):(?:[^\s/@\"']{1,256}+@){1,8}"
    r"(?=(?:[A-Za-z][\w-]{0,62}(?:\.[\w-]{1,63}){1,8}|localhost|\d{1,3}(?:\.\d{1,3}){3})"
    r"(?::\d{1,5})?(?![\w.@-])|[A-Za-z][\w-]{0,62}:\d{2,5}(?![\w.@-])|(?:tcp|unix)?\()"
)
_NO_USERS = frozenset(
    "mailto acct sip sips xmpp cid mid urn npm jsr file workspace docker oci".split()
)


def mask_urls(text: str) -> str:
    """Return `text` with the user information in each URL masked."""
    if "@" not in text:
        return text
    shown: list[str] = []
    at = 0
    while (mark := text.find("://", at)) >= 0:
        end = mark + 3
        shown.append(text[at:end])
        at = end
        scheme = _SCHEME.search(text[max(0, mark - 31) : mark])
        # Another URL may follow, after a comma or in a parameter.
        limit = text.find("://", end)
        rest = _REST.match(text, end, limit if limit >= 0 else len(text))
        if scheme is None or rest is None:
            continue
        if length := userinfo(scheme[0].lower(), rest[0]):
            shown.append(hidden(URL_CREDENTIALS.name))
            at = end + length
    text = "".join([*shown, text[at:]])
    return _BARE.sub(_bare, text)


def userinfo(scheme: str, rest: str) -> int:
    """Return the length of the user information at the beginning of `rest`.

    It is 0 if there is none, or if it is no secret in a URL of this `scheme`. A
    password may contain `@` and, against RFC 3986, `/`.
    """
    segment = re.split(r"[/?#]", rest, maxsplit=1)[0]
    last = segment.rfind("@")
    if last < 0:
        colon = segment.find(":")
        port = segment[colon + 1 :]
        if colon < 0 or port.isdecimal() or not port or segment.startswith("["):
            return 0
    elif ":" not in segment[:last] and scheme in _USERS_ONLY:
        return 0
    # It ends at the first `@` before a host; if there is none, at the last `@`.
    end = max(last, 0)
    at = rest.find("@", end)
    found = -1
    while at >= 0:
        found = at
        if _HOST.match(rest, at + 1):
            break
        at = rest.find("@", at + 1)
    user = rest[:found]
    if found <= 0 or (scheme == "ssh" and _USER.fullmatch(user)):
        return 0
    return found


def _bare(match: re.Match[str]) -> str:
    if match["user"].lower() in _NO_USERS or match[0].startswith("***"):
        return match[0]
    return f"{hidden(URL_CREDENTIALS.name)}@"
