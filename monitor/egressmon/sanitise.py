"""Take secrets out of command lines before they are recorded.

What looks like a secret is replaced by `***`; when in doubt, it is replaced.
Token shapes follow the issuers' documentation: GitHub (gh?_, github_pat_),
GitLab (glpat-), Slack (xox?-), AWS (AKIA/ASIA), OpenAI and Anthropic (sk-),
PyPI (pypi-), npm (npm_), Google (AIza, ya29.), Stripe (?k_live_), JWT (RFC 7519).
"""

import re

MASK = "***"

_WORD = (
    r"pass(?:word|wd|phrase)?|pwd|secret|token|api[-_]?key|apikey|access[-_]?key|"
    r"private[-_]?key|auth(?:orization)?|credentials?|cookie|session(?:[-_]?id)?|"
    r"signature|bearer|client[-_]?secret|account[-_]?key|sig|jwt|pat"
)
# Long words count wherever a name ends with them (PGPASSWORD), short ones alone.
_ENDING = r"[\w.-]*(?:password|passwd|passphrase|secret|token|apikey)"
_NAME = rf"(?:(?:[\w.-]*[-_.])?(?:{_WORD})|{_ENDING})(?:[-_.][\w.-]*)?"
_TOKENS = re.compile(
    r"\b(?:gh[pousr]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|xox[a-z]-[\w-]{10,}|"
    r"xapp-[\w-]{10,}|(?:AKIA|ASIA)[0-9A-Z]{16}|sk-[\w-]{16,}|pypi-[\w-]{16,}|"
    r"npm_\w{20,}|AIza[\w-]{30,}|ya29\.[\w-]{20,}|[rsp]k_(?:live|test)_\w{16,}|"
    r"hf_\w{20,}|dop_v1_\w{32,}|SG\.[\w-]{16,}\.[\w-]{16,}|"
    r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
)
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*://)[^/\s@]*@")
_HEADER = re.compile(
    r"(?P<name>\b(?:proxy-)?authorization|\bx-[\w-]*(?:key|token)|\b(?:set-)?cookie)"
    r"(?P<gap>\s*[:=]\s*)\S.*",
    re.IGNORECASE | re.DOTALL,
)
_SCHEME = re.compile(r"\b(?P<scheme>bearer|basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE)
_PAIR = re.compile(
    rf"(?P<name>(?<![\w.-]){_NAME})(?P<gap>[\"']?\s*[=:]\s*[\"']?)(?P<value>[^\s&;,\"']+)",
    re.IGNORECASE,
)
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*", re.DOTALL)
_OPTION = re.compile(rf"--?{_NAME}", re.IGNORECASE)
_USER_OPTIONS = frozenset({"-u", "--user", "-U", "--proxy-user"})


def sanitise_text(text: str) -> str:
    """Return text with everything that looks like a secret masked."""
    text = _PEM.sub(MASK, text)
    text = _USERINFO.sub(rf"\g<scheme>{MASK}@", text)
    text = _HEADER.sub(rf"\g<name>\g<gap>{MASK}", text)
    text = _SCHEME.sub(rf"\g<scheme> {MASK}", text)
    text = _PAIR.sub(rf"\g<name>\g<gap>{MASK}", text)
    return _TOKENS.sub(MASK, text)


def sanitise_argv(argv: list[str]) -> list[str]:
    """Return argv with secrets masked, also where an option names the next word."""
    result: list[str] = []
    hide = False
    for index, word in enumerate(argv):
        follows = index + 1 < len(argv)
        if hide:
            result.append(MASK)
            hide = False
        elif follows and _OPTION.fullmatch(word):
            result.append(word)
            hide = not argv[index + 1].startswith("--")
        elif follows and word in _USER_OPTIONS and ":" in argv[index + 1]:
            result.append(word)
            hide = True
        else:
            result.append(sanitise_text(word))
    return result
