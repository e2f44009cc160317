"""Host names in canonical form: lower case, A-labels, no final dot.

Policies and DNS names are compared in this form.
"""

import ipaddress
import re

from egressmon.policy.errors import RefusedError, quoted

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_DOTS = re.compile("[\u3002\uff0e\uff61]")  # as IDNA takes them (RFC 3490)
_MAX_NAME = 253  # RFC 1035 section 2.3.4, without the root label
_MAX_LABEL = 63


def canonical(name: str) -> str:
    """Return the ASCII `name` in lower case and without the final dot."""
    return name.lower().rstrip(".")


def parse_host_pattern(text: str) -> str:
    """Return the canonical form of a policy's host entry.

    It is a host name in which a label may be `*` (any one label) and the first one
    `**` (one or more labels). Raises RefusedError.
    """
    shown = quoted(text)
    if not text:
        raise RefusedError("no name is given", 'write a name such as "example.org"')
    if "://" in text:
        raise RefusedError(f"{shown} is a URL", "write the host name alone")
    if "/" in text and _is_range(text):
        raise RefusedError(f"{shown} is a range", f"write cidr = {shown}")
    if "/" in text:
        raise RefusedError(f"{shown} has a path", "write the host name alone")
    if _is_address(text):
        bare = quoted(text.strip("[]"))
        raise RefusedError(f"{shown} is an address", f"write cidr = {bare}")
    if ":" in text:
        raise RefusedError(f"{shown} has a port", _with_port(text))
    if text.endswith(".."):
        raise RefusedError(f"{shown} is not a host name", _why_no_name(text))
    return _wild_pattern(text) if "*" in text else _host_name(text, text)


def _with_port(text: str) -> str:
    host, _, port = text.rpartition(":")
    number = int(port) if port.isascii() and port.isdecimal() else 0
    host = host.strip("[]")
    key = "cidr" if _is_address(host) else "host"
    number = number if 0 < number < 1 << 16 else 443
    return f"write {key} = {quoted(host)}, ports = [{number}]"


# The labels behind the last wildcard belong to somebody: one label alone would cover
# names that anybody can register.
def _wild_pattern(text: str) -> str:
    labels = _DOTS.sub(".", text).rstrip(".").split(".")
    wild = [at for at, label in enumerate(labels) if label in {"*", "**"}]
    partial = len(wild) < sum("*" in label for label in labels)
    if partial or "**" in labels[1:] or wild[-1] == len(labels) - 1:
        raise RefusedError(
            f"{quoted(text)}: a wildcard is a whole label, and not the last",
            "write *.example.org, storage.*.example.org, or, for one or more labels at "
            "the front, **.example.org",
        )
    if wild[-1] == len(labels) - 2:
        raise RefusedError(
            f"{quoted(text)} covers a whole top-level domain",
            "name one below it, such as *.example.org",
        )
    plain = ["x" if at in wild else label for at, label in enumerate(labels)]
    plain = _host_name(".".join(plain), text).split(".")
    return ".".join(
        labels[at] if at in wild else label for at, label in enumerate(plain)
    )


def _host_name(name: str, text: str) -> str:
    ascii_name = in_ascii(name, text)
    if _is_address(ascii_name):
        raise RefusedError(
            f"{quoted(text)} is an address", f"write cidr = {ascii_name!r}"
        )
    if ends_in_number(ascii_name):
        raise RefusedError(
            f"{quoted(text)} ends in a number, so programs read it as an address",
            "write the whole address as cidr, such as cidr = '192.0.2.7'",
        )
    if not is_host_name(ascii_name):
        raise RefusedError(
            f"{quoted(text)} is not a host name", _why_no_name(ascii_name)
        )
    return ascii_name


def _why_no_name(name: str) -> str:
    if len(name) > _MAX_NAME or any(len(one) > _MAX_LABEL for one in name.split(".")):
        return f"names have at most {_MAX_NAME} characters, {_MAX_LABEL} between dots"
    return "write letters, digits, - and _, with dots between: example.org"


def is_host_name(name: str) -> bool:
    """Tell whether the canonical `name` consists of labels that hosts have."""
    return len(name) <= _MAX_NAME and all(map(_LABEL.fullmatch, name.split(".")))


def ends_in_number(name: str) -> bool:
    """Tell whether the last label of the canonical `name` is a number.

    Then a URL's host is an IPv4 address or an error, never a name
    (https://url.spec.whatwg.org/#ends-in-a-number-checker), and inet_aton(3) reads
    `1.2` as 1.0.0.2.
    """
    return _NUMBER.fullmatch(name.rpartition(".")[2]) is not None


def in_ascii(name: str, text: str) -> str:
    """Return the host name `name` in canonical form, as A-labels (RFC 5891).

    Raises RefusedError, which quotes `text`, if it is no internationalised name.
    """
    return canonical(name if name.isascii() else _encoded(name, text))


# UTS #46 maps full-width letters, digits and dots to ASCII first.
def _encoded(name: str, text: str) -> str:
    import idna  # noqa: PLC0415 -- its tables are large, and such names are few

    try:
        return idna.encode(name, uts46=True).decode()
    except idna.IDNAError as error:
        raise RefusedError(
            f"{quoted(text)} is not a valid internationalised name",
            "write it as browsers show it, or in ASCII (xn--…)",
        ) from error


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def _is_range(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def covers(pattern: str, name: str) -> bool:
    """Tell whether `pattern` covers `name`; both must be in canonical form."""
    if "*" not in pattern:
        return name == pattern
    wanted, found = pattern.split("."), name.split(".")
    if wanted[0] == "**":
        del wanted[0]
        first = len(found) - len(wanted)
        if first < 1 or not all(found[:first]):
            return False
        found = found[first:]
    return len(wanted) == len(found) and all(map(_is_label, wanted, found))


def _is_label(wanted: str, found: str) -> bool:
    return wanted == found or (wanted == "*" and bool(found))
