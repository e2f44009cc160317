"""Tell whether a certificate is for a host: RFC 9525, sections 6.3 to 6.5.

pyOpenSSL does not compare names. The common name of the subject does not count: no
client of today looks at it.
"""

import ipaddress
from collections.abc import Iterable

from egressmon.policy.language.names import canonical
from egressmon.tls.targets import Target


def is_for(names: Iterable[str], target: Target) -> bool:
    """Tell whether one of a certificate's `names` is that of `target`."""
    if target.is_address:
        return any(_address(one) == ipaddress.ip_address(target.host) for one in names)
    return any(_covers(canonical(one), target.host) for one in names)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


# A wildcard is the whole first label, stands for one label, and is not right below the
# root: `*.org` would be for everybody.
def _covers(name: str, host: str) -> bool:
    if not name.startswith("*."):
        return name == host
    _, dot, rest = host.partition(".")
    return bool(dot) and "." in rest and name[2:] == rest
