"""Destinations that many programs reach: what they probably are, and what to ask.

It is what their owners say of them in public, or what tools are known to do. It proves
nothing: anybody may reach a known name for another reason.
"""

import ipaddress
from typing import NamedTuple

from egressmon.policy.language.names import canonical, covers


class Known(NamedTuple):
    """What a destination probably is."""

    what: str
    ask: str


_INDEX = "is it reached outside of an installation? Then a lock or a mirror is missing"
_TELEMETRY = "can it be turned off? What does it send?"
_BROWSER = (
    "start it with --disable-background-networking, --disable-component-update and "
    "--disable-sync, look what is left, and allow or deny that on purpose"
)
_MODEL = "which key, which spending limit, and which data goes there?"
_TABLE: tuple[tuple[str, str, str], ...] = (
    (
        "pypi.org",
        "the index of Python packages, which pip also asks for its own newest version",
        _INDEX,
    ),
    ("files.pythonhosted.org", "the files of Python packages", _INDEX),
    (
        "registry.npmjs.org registry.yarnpkg.com",
        "the registry of npm packages, also for notices of new versions",
        _INDEX,
    ),
    (
        (
            "index.crates.io static.crates.io crates.io proxy.golang.org "
            "sum.golang.org rubygems.org repo.maven.apache.org"
        ),
        "a registry of packages",
        _INDEX,
    ),
    (
        "deb.debian.org security.debian.org archive.ubuntu.com security.ubuntu.com",
        "packages of the distribution",
        _INDEX,
    ),
    (
        "registry-1.docker.io auth.docker.io ghcr.io quay.io",
        "a registry of container images",
        _INDEX,
    ),
    (
        (
            "github.com api.github.com codeload.github.com raw.githubusercontent.com "
            "objects.githubusercontent.com release-assets.githubusercontent.com"
        ),
        "sources or releases on GitHub",
        "what is downloaded, and is it pinned by a digest?",
    ),
    ("nodejs.org", "Node's releases and headers (node-gyp)", _INDEX),
    (
        "cdn.playwright.dev playwright.download.prss.microsoft.com",
        "a browser that Playwright installs",
        _INDEX,
    ),
    (
        "telemetry.nextjs.org",
        "Next.js's telemetry",
        "set NEXT_TELEMETRY_DISABLED=1, or allow it on purpose",
    ),
    (
        "fonts.googleapis.com fonts.gstatic.com",
        "fonts that are fetched as a page is built or shown",
        "keep the fonts with the project",
    ),
    (
        "clients2.google.com",
        "the time for Chromium (plain HTTP), or updates of its extensions",
        _BROWSER,
    ),
    (
        "update.googleapis.com",
        "Chromium's updates of components and extensions",
        _BROWSER,
    ),
    (
        "redirector.gvt1.com edgedl.me.gvt1.com dl.google.com",
        "what Chromium downloads: components, dictionaries for spelling",
        _BROWSER,
    ),
    (
        "clientservices.googleapis.com",
        "Chromium's field trials (variations)",
        _BROWSER,
    ),
    (
        (
            "accounts.google.com content-autofill.googleapis.com "
            "optimizationguide-pa.googleapis.com mtalk.google.com "
            "android.clients.google.com clients4.google.com"
        ),
        "Chromium's services in the background (sign-in, autofill, hints, messages)",
        _BROWSER,
    ),
    (
        "safebrowsing.googleapis.com safebrowsingohttpgateway.googleapis.com",
        "Chromium's Safe Browsing",
        "is it wanted in a test? It sends parts of digests of addresses",
    ),
    ("api.anthropic.com", "Anthropic's API", _MODEL),
    ("api.openai.com", "OpenAI's API", _MODEL),
    ("generativelanguage.googleapis.com", "Google's model API", _MODEL),
    ("statsig.anthropic.com", "analytics and feature switches", _TELEMETRY),
    (
        "openaipublic.blob.core.windows.net",
        "tables of a tokeniser (tiktoken)",
        "keep them with the project (TIKTOKEN_CACHE_DIR)",
    ),
    (
        "huggingface.co **.huggingface.co **.hf.co",
        "models and data sets",
        "what is downloaded, is it pinned, and does HF_HUB_OFFLINE=1 do?",
    ),
    ("sentry.io **.sentry.io", "reports of errors (Sentry)", _TELEMETRY),
    (
        (
            "api.segment.io api.mixpanel.com api.amplitude.com api2.amplitude.com "
            "app.posthog.com **.posthog.com www.google-analytics.com"
        ),
        "product analytics",
        _TELEMETRY,
    ),
    (
        (
            "**.datadoghq.com **.datadoghq.eu **.newrelic.com **.nr-data.net "
            "api.honeycomb.io"
        ),
        "monitoring: traces, metrics or logs",
        _TELEMETRY,
    ),
    (
        "checkpoint-api.hashicorp.com checkpoint.prisma.io",
        "a check for new versions",
        "set CHECKPOINT_DISABLE=1, or allow it on purpose",
    ),
    (
        (
            "ocsp.digicert.com crl3.digicert.com crl4.digicert.com **.lencr.org "
            "ocsp.pki.goog c.pki.goog"
        ),
        "whether a certificate is revoked (OCSP, CRL), or its issuer",
        "is it wanted? It tells the issuer which service is reached",
    ),
    (
        "**.pool.ntp.org ntp.ubuntu.com time.google.com time.cloudflare.com",
        "the time (NTP)",
        "does the machine not keep the time itself?",
    ),
    (
        (
            "connectivitycheck.gstatic.com detectportal.firefox.com "
            "connectivity-check.ubuntu.com"
        ),
        "whether there is a network at all",
        "can the check be turned off?",
    ),
    (
        (
            "dns.google cloudflare-dns.com **.cloudflare-dns.com one.one.one.one "
            "dns.quad9.net 1.1.1.1 1.0.0.1 8.8.8.8 8.8.4.4 9.9.9.9"
        ),
        "a public resolver: names may be asked for over TLS or HTTPS, unseen",
        "why not the system's resolver?",
    ),
    (
        "metadata.google.internal 169.254.169.254 169.254.170.2 fd00:ec2::254",
        "a cloud's metadata service: it hands out credentials",
        "deny it, unless the job is meant to act as the machine",
    ),
)
_GROUPS: tuple[tuple[str, Known], ...] = (
    (
        "224.0.0.0/4 ff00::/8 255.255.255.255/32",
        Known("a group of machines (discovery?)", "who should answer it?"),
    ),
    (
        "169.254.0.0/16 fe80::/10",
        Known("an address of this link alone", "which device is it?"),
    ),
    (
        "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 fc00::/7",
        Known("a private network", "which machine is it, and whose?"),
    ),
)
_PORTS = {
    22: "SSH", 25: "mail (SMTP)", 80: "plain HTTP", 123: "the time (NTP)",
    587: "mail (submission)", 853: "DNS over TLS", 3306: "MySQL", 4317: "OTLP traces",
    4318: "OTLP traces", 5432: "PostgreSQL", 6379: "Redis", 9418: "Git",
    27017: "MongoDB",
}  # fmt: skip
"""What a port is registered or known for; 443 says nothing."""


def _by_name() -> tuple[dict[str, Known], list[tuple[str, Known]]]:
    exact: dict[str, Known] = {}
    wild: list[tuple[str, Known]] = []
    for names, what, ask in _TABLE:
        for name in names.split():
            if "*" in name:
                wild.append((name, Known(what, ask)))
            else:
                exact[name] = Known(what, ask)
    return exact, wild


_EXACT, _WILD = _by_name()
_NETWORKS = [
    (ipaddress.ip_network(network), one)
    for networks, one in _GROUPS
    for network in networks.split()
]


def known(host: str) -> Known | None:
    """Return what is known of `host`, a name or an address; None: nothing."""
    name = canonical(host)
    if (found := _EXACT.get(name)) is not None:
        return found
    for pattern, one in _WILD:
        if covers(pattern, name):
            return one
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return None
    return next((one for network, one in _NETWORKS if address in network), None)


def of_port(port: int | None) -> str | None:
    """Return what `port` is known for; None: nothing."""
    return _PORTS.get(port) if port is not None else None
