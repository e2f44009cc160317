"""Mask tokens whose issuers gave them a recognisable shape, anywhere in a text.

Searches take linear time: each alternative begins with a literal, its body is matched
possessively, and only from the beginning of a run of characters.
"""

import re
from functools import cache

# From the documentation of the issuers, and the list of GitHub's secret scanning.
_BODY = (
    r"gh[pousr]_\w{16,}+",
    r"github_pat_\w{16,}+",
    r"gl(?:pat|rt|cbt|dt|ptt|ft|soat|agent|imt|oas|ffct)-[\w-]{16,}+",
    r"xox[a-z]-[\w-]{10,}+",
    r"xoxe\.xox[a-z]-[\w-]{10,}+",
    r"xapp-[\w-]{10,}+",
    r"A(?:KIA|SIA|BIA|CCA)[0-9A-Z]{16,}+",
    r"sk-(?:ant|proj|or|svcacct|admin|lf|live|test)-[\w-]{12,}+",
    r"sk-[A-Za-z0-9]{20,}+",
    r"pypi-Ag[\w-]{12,}+",
    r"npm_[A-Za-z0-9]{20,}+",
    r"AIza[\w-]{30,}+",
    r"ya29\.[\w-]{20,}+",
    r"GOCSPX-[\w-]{16,}+",
    r"1//0[\w-]{30,}+",
    r"[rsp]k_(?:live|test)_\w{16,}+",
    r"whsec_[\w+/=]{16,}+",
    r"hf_[A-Za-z0-9]{20,}+",
    r"do[opr]_v1_\w{32,}+",
    r"hv[sbr]\.[\w-]{16,}+",
    r"dckr_[po]at_[\w-]{16,}+",
    r"dapi[0-9a-f]{32}\w*+",
    r"shp(?:at|ca|pa|ss|tka)_[0-9a-fA-F]{16,}+\w*+",
    r"SK[0-9a-f]{32}\w*+",
    r"key-[0-9a-f]{32}\w*+",
    r"lin_(?:api|oauth)_\w{16,}+",
    r"cio[A-Za-z0-9]{32,}+",
    r"AGE-SECRET-KEY-1[0-9A-Z]{10,}+",
    r"dp\.(?:st|pt|ct|sa|scim|audit)\.[\w.-]{16,}+",
    r"sq0[a-z]{3}-[\w-]{20,}+",
    r"PMAK-[\w-]{24,}+",
    r"rubygems_[0-9a-f]{32,}+",
    r"(?:nvapi|xkeysib|pplx|xai)-[\w-]{32,}+",
    r"gl(?:sa|c)_[\w=]{24,}+",
    r"NRAK-[0-9A-Z]{20,}+",
    r"tskey-(?:auth|api|client|scim)-[\w-]{16,}+",
    r"sntry[su]_[\w=+/]{24,}+",
    r"(?:figd|ntn|gsk|sbp|r8|tgp_v1|bkua|CCIPAT|atlasv1)_[\w-]{24,}+",
    r"AT(?:ATT|CTT)3x[\w=-]{24,}+",
    r"ATBB[A-Za-z0-9]{24,}+",
    r"pul-[0-9a-f]{40}",
    r"FlyV1 fm\d_[\w+/=,]{20,}+",
)
_SHORTEST = 14


# Compiling takes 3 ms, so it waits for the first text that can hold a token.
@cache
def _starting() -> re.Pattern[str]:
    return re.compile(r"(?<![A-Za-z0-9])(?:" + "|".join(_BODY) + ")")


# Tokens of several parts. They match only from the beginning of a run.
_PARTS = re.compile(
    r"(?<![\w-])(?:"
    r"eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*+"  # RFC 7519
    r"|eyJ(?:hbGci|0eXAi|raWQi|lbmMi)[\w-]{8,}+"
    r"|SG\.[\w-]{16,}+\.[\w-]{16,}+"
    r"|[MNO][\w-]{23,27}+\.[\w-]{6}\.[\w-]{27,}+"
    r"|\w{1,64}+\.atlasv1\.[\w-]{20,}+"
    r"|pat\w{14}\.[0-9a-f]{64}"
    r"|\d{6,12}:[\w-]{32,}+)"
)
_VAULT = re.compile(r"(?<![\w.-])([sbr])\.([A-Za-z0-9]{24})(?![\w.-])")
# Web hooks, whose secret is part of the path.
_HOOKS = re.compile(
    r"(?P<before>hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/"
    r"|discord(?:app)?\.com/api/(?:v\d{1,2}/)?webhooks/\d{1,32}/"
    r"|webhook\.office\.com/webhookb2/)"
    r"(?P<secret>[^\s/?#\"'][^\s?#\"']*+)"
)
_TELEGRAM = re.compile(r"(?P<before>telegram\.org/(?:file/)?bot)[^/\s?#\"']++")
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}(?:PRIVATE KEY|PGP MESSAGE)")

# Tokens in host names, which have no underscores and no case. Shapes that are short, or
# like words, are left out.
_IN_NAME = re.compile(
    r"(?<![a-z0-9])(?:gh[pousr][-_][a-z0-9]{16,}+|github[-_]pat[-_][a-z0-9_-]{16,}+"
    r"|gl(?:pat|rt|cbt|dt|ptt|ft|soat)-[a-z0-9_-]{16,}+|xox[a-z]-[a-z0-9-]{16,}+"
    r"|a(?:kia|sia)(?=[a-z0-9]{0,15}[0-9])[a-z0-9]{16}(?![a-z0-9])"
    r"|sk-(?:ant|proj|svcacct)-[a-z0-9_-]{12,}+|npm[-_](?=[a-z]{0,35}[0-9])[a-z0-9]{32,}+"
    r"|hv[sb]\.[a-z0-9_-]{20,}+|dckr[-_]pat[-_][a-z0-9_-]{16,}+"
    r"|dapi[0-9a-f]{32}|shpat[-_][0-9a-f]{16,}+|whsec[-_][a-z0-9]{16,}+"
    r"|gocspx-[a-z0-9_-]{16,}+|pypi-ageic[a-z0-9_-]{12,}+|do[opr][-_]v1[-_][0-9a-f]{32,}+"
    r"|eyj(?:hbgci|0exai|rawqi)[a-z0-9_-]{8,}+(?:\.[a-z0-9_-]{8,}+)*)",
    re.IGNORECASE,
)


def mask_tokens(text: str, mask: str) -> str:
    """Return `text` with each known token replaced by `mask`."""
    if len(text) < _SHORTEST:
        return text
    text = _without_pem(text, mask)
    if "telegram.org/" in text:
        text = _TELEGRAM.sub(rf"\g<before>{mask}", text)
    if ".com/" in text:
        text = _HOOKS.sub(rf"\g<before>{mask}", text)
    text = _PARTS.sub(mask, text)
    text = _VAULT.sub(lambda match: _vault(match, mask), text)
    return _starting().sub(mask, text)


def _vault(match: re.Match[str], mask: str) -> str:
    body = match[2]
    mixed = not body.islower() and not body.isalpha()
    return mask if mixed else match[0]


# Mask private keys and PGP messages, to their end or to the end of the text.
def _without_pem(text: str, mask: str) -> str:
    if "-----BEGIN" not in text:
        return text
    shown: list[str] = []
    at = 0
    while match := _PEM.search(text, at):
        shown += [text[at : match.start()], mask]
        end = text.find("-----END", match.end())
        if end < 0:
            return "".join(shown)
        closing = text.find("-----", end + 8)
        at = len(text) if closing < 0 else closing + 5
    return "".join([*shown, text[at:]])


def tokens_in_name(name: str) -> list[tuple[int, int]]:
    """Return the (start, end) of each token in the host name `name`."""
    return [match.span() for match in _IN_NAME.finditer(name)]
