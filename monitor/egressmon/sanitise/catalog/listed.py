"""All kinds of secrets, in the order of docs/scan.md."""

from egressmon.sanitise.catalog.surrounded import (
    API_KEY_HEADER,
    ARGUMENT,
    AUTHORIZATION,
    COOKIE,
    IN_NAME,
    NAMED,
    PRIVATE_KEY,
    RANDOM_BASE64,
    RANDOM_HEX,
    SIGNED_URL,
    URL_CREDENTIALS,
    WEB_HOOK,
)
from egressmon.sanitise.catalog.tokens import TOKENS

KINDS = (
    *TOKENS,
    PRIVATE_KEY,
    WEB_HOOK,
    URL_CREDENTIALS,
    SIGNED_URL,
    AUTHORIZATION,
    API_KEY_HEADER,
    COOKIE,
    NAMED,
    ARGUMENT,
    IN_NAME,
    RANDOM_BASE64,
    RANDOM_HEX,
)
