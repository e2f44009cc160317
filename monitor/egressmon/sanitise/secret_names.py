"""Tell by its name whether an option, a variable, a header or a key holds a secret.

A name is split into words (API_KEY, apiKey, --api-key). If one of them means a secret,
the value is one, unless the last word says that the value is only about the secret, as
in `--token-limit` and `PASSWORD_FILE`.
"""

import re
from functools import lru_cache

_MAX_NAME = 128
_WORDS = re.compile(r"[A-Z]++(?![a-z])|[A-Z]?[a-z]++|[A-Z]|\d++")

_PASSWORDS = frozenset(
    """password passwords passwd passphrase passcode passwort pass pwd pw psk secret
    secrets mnemonic""".split()
)
_SECRETS = frozenset(
    """token tokens apikey authkey credential credentials cred creds cookie cookies
    signature sig bearer jwt pat authorization auth sid sessid sessionid phpsessid
    jsessionid oauth basicauth userpass""".split()
)
# Endings of words that are written together: pgpassword, requirepass, proxyauth.
_ENDINGS = (
    "password passwd passphrase passcode secret token apikey secretkey accesskey "
    "privatekey authkey masterauth requirepass masterpass proxyauth storepass keypass "
    "authtoken dbpass sshpass rootpass adminpass ftppass smtppass mailpass ldappass"
).split()
_ENDING = tuple(_ENDINGS)
MEANING = frozenset({*_PASSWORDS, *_SECRETS, *_ENDINGS, "key"})
"""Words one of which is in every name of a secret, except those ending in `id`."""
_BEFORE_KEY = frozenset(
    """api access private secret account signing sign encryption encrypt decryption
    master license auth client shared service deploy session storage subscription app
    application admin write hmac jwt aes webhook ingest consumer function functions
    server instrumentation x pre team project user ssh host integration
    rpc wrapping unseal recovery seal stripe openai anthropic""".split()
)
# Last words of names whose value is no secret itself.
_ENDS_HARMLESS = frozenset(
    """file files filename path paths dir directory folder stdin fd env cmd command name
    names type types limit limits count length len size policy prompt store helper
    format ring expiry expires expiration expire timeout age version endpoint host port
    algorithm algorithms alg algo mode provider manager sock socket class field column
    method methods scheme issuer audience budget usage rate delay max min index idx
    position enabled disabled check only less free url uri ttl id ids agent cache config
    duration lifetime interval refresh rotation hint label prefix suffix strategy
    backend scope scopes domain realm server plugin plugins module location source src
    dest required retries retry window per second minute hour jar encoding style kind
    list
    quota strength complexity history validation validator validators generator length
    forwarding request requests response challenge level levels counter counts stats
    metrics service services ref refs arn bits digest""".split()
)
# First words of names of switches, or of names about the tokens of a text.
_BEGINS_HARMLESS = frozenset(
    """no without skip disable enable use ask show print list get has with require allow
    verify check prompt read save store page next starting continuation stop eos bos pad
    unk max min num sep mask cls new public per total input output prompt completion
    last first""".split()
)


@lru_cache(maxsize=8192)
def words_of(name: str) -> tuple[str, ...]:
    """Return the words that make up `name`, in small letters."""
    return tuple(word.lower() for word in _WORDS.findall(name[-_MAX_NAME:]))


def is_secret_name(name: str) -> bool:
    """Tell whether the value of `name` is a secret."""
    # A long text is hardly a name and may be a secret: it must not stay in the cache.
    return _is_secret(name[-_MAX_NAME:]) if len(name) > 64 else _cached(name)


def _is_secret(name: str) -> bool:
    words = words_of(name)
    if not words:
        return False
    for index, word in enumerate(words):
        if _is_about_secret(words, index, word):
            return _holds_secret(words, index)
    return False


_cached = lru_cache(maxsize=8192)(_is_secret)


def _is_about_secret(words: tuple[str, ...], index: int, word: str) -> bool:
    if word in _PASSWORDS or word in _SECRETS or word.endswith(_ENDING):
        return not word.endswith(("bypass", "compass"))
    before = words[index - 1] if index else ""
    if word in {"key", "keys"}:
        return before in _BEFORE_KEY
    if word == "id":
        return before in {"session", "sess"}
    # The keys of Poetry's configuration, and of Composer's: http-basic.NAME.
    return word == "basic" and before == "http"


def _holds_secret(words: tuple[str, ...], index: int) -> bool:
    last = words[-1]
    if index and words[0] in _BEGINS_HARMLESS and words[index] not in _PASSWORDS:
        return False
    if index == len(words) - 1:
        return True
    # PASSWORD_FILE and TOKEN_LIMIT hold none, but PASSWORD_1 and API_KEY_OPENAI do.
    return last not in _ENDS_HARMLESS


def is_password(name: str) -> bool:
    """Tell whether `name` means a password, which may be any word."""
    return any(word in _PASSWORDS or word.endswith(_ENDING) for word in words_of(name))


def is_switch(name: str) -> bool:
    """Tell whether the option `name` is a switch without a value: --no-password."""
    words = words_of(name)
    return len(words) > 1 and words[0] in _BEGINS_HARMLESS


_REFERENCE = re.compile(
    r"(?:(?:Bearer|Basic|Token|token)\s)?"
    r"(?:\$\{?\w+\}?|\$\(.*|`.*|%\w+%|\{\{.*|<[\w -]+>|\$\{[^}]*+\})",
    re.DOTALL,
)
# A call or a look-up in source code: os.environ["X"], get_token().
_CODE = re.compile(r"[a-z]{2,32}(?:[._][a-z]{2,32}){1,4}[(\[][\w., =]*+\)?")
_NO_VALUES = frozenset(
    """true false yes no on off none null undefined nil str int bool bytes optional
    string required""".split()
)
_KINDS_OF_AUTH = frozenset(
    """auto default basic digest ntlm negotiate bearer oauth oauth2 ident trust peer
    md5 plain login cram-md5 always never inherit any kerberos gssapi scram-sha-256
    strict lax session header iam sso anonymous publickey jwt ldap saml oidc
    mtls""".split()
)
_A_FILE = re.compile(
    r"(?:/|\./|\.\./|~/)[^\s]*+"
    r"|[^\s=]*\.(?:pem|key|crt|cer|json|txt|sig|asc|gpg|pub|p12|pfx|jks|toml|ya?ml|env|ini)"
)
# With one of these words, a value like a path may be a secret: base64 may begin with a
# slash.
_NEVER_FILES = frozenset("secret access api account token password".split())
_MAY_BE_KINDS = frozenset("auth authorization credentials cookies token".split())
_MAY_BE_FILES = frozenset(
    "key keys credential credentials creds cookie cookies signature sig id jar".split()
)


def is_harmless(name: str, value: str) -> bool:
    """Tell whether `value` is no secret although its `name` means one."""
    if is_no_value(value) or name == "sshpass":  # the package, with a version
        return True
    words = words_of(name)
    last = words[-1] if words else ""
    if value.isdecimal():
        return len(value) <= (1 if last in _PASSWORDS else 6)
    if last == "pwd" and value.startswith(("/", "~")):
        return name.lstrip("-") in {"PWD", "OLDPWD", "pwd"}
    if last in _MAY_BE_KINDS and value.lower() in _KINDS_OF_AUTH:
        return True
    if not _MAY_BE_FILES.isdisjoint(words) and _NEVER_FILES.isdisjoint(words):
        return _A_FILE.fullmatch(value) is not None
    return False


def is_no_value(value: str) -> bool:
    """Tell whether `value` only refers to a value, as $TOKEN, or says there is none."""
    return (
        not value
        or value.startswith("***")
        or value.lower() in _NO_VALUES
        or _REFERENCE.fullmatch(value) is not None
        or _CODE.fullmatch(value) is not None
    )
