"""Tell by its name whether an option, a variable, a header or a key holds a secret.

A name is split into words (API_KEY, apiKey, --api-key). If one of them means a secret,
the value is one, unless the last word says that the value is only about the secret, as
in `--token-limit` and `PASSWORD_FILE`.
"""

import re
from functools import lru_cache

_MAX_NAME = 128
_WORDS = re.compile(r"[A-Z]++(?![a-z])|[A-Z]?[a-z]++|[A-Z]|\d++")

PASSWORDS = frozenset(
    """password passwords passwd passphrase passcode passwort pass pwd pw psk secret
    secrets mnemonic""".split()
)
"""Words for what may be any word."""
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
MEANING = frozenset({*PASSWORDS, *_SECRETS, *_ENDINGS, "key"})
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


@lru_cache(maxsize=1024)
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


_cached = lru_cache(maxsize=1024)(_is_secret)


def _is_about_secret(words: tuple[str, ...], index: int, word: str) -> bool:
    if word in PASSWORDS or word in _SECRETS or word.endswith(_ENDING):
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
    if index and words[0] in _BEGINS_HARMLESS and words[index] not in PASSWORDS:
        return False
    if index == len(words) - 1:
        return True
    # PASSWORD_FILE and TOKEN_LIMIT hold none, but PASSWORD_1 and API_KEY_OPENAI do.
    return last not in _ENDS_HARMLESS


def is_password(name: str) -> bool:
    """Tell whether `name` means a password, which may be any word."""
    return any(word in PASSWORDS or word.endswith(_ENDING) for word in words_of(name))


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
# Kinds of secrets whose names are like those of secrets: `run.end` counts by them.
_COUNTED = frozenset({"named-secret", "authorization", "cookie", "jwt"})
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
        most = 1 if last in PASSWORDS else 6
        return name in _COUNTED or len(value) <= most
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


# Words that say that a value is none, and those that may stand with them. Other words
# with them are none of these: SecretAgentMan is a password.
_STAND_IN = re.compile(
    r"[\W_xX]*+|(?:\W{0,3}(?:your|redacted|filtered|masked|hidden|removed|scrubbed|"
    r"saniti[sz]ed|placeholder|dummy|fake|example|changeme|change[_-]me|xxx+|omitted|"
    r"secret|none|null|n/a|deleted|stripped|insert|replace)(?:[\W_]{0,2}(?:"
    r"your|my|the|an?|this|that|is|it|me|with|here|in|for|by|of|to|from|and|or|not|no|"
    r"real|used|value|values|please|goes|put|text|string|data|env|var|variable|"
    r"key|keys|api|token|tokens|secret|secrets|password|pass|auth|access|account|app|"
    r"application|client|user|service|server|admin|session|cookie|cookies|header|"
    r"bearer|basic|credential|credentials|private|public|project|org|team|id|name|"
    r"test|tests|testing|example|examples|dummy|fake|placeholder|demo|dev|local|only|"
    r"vcr|ci|docs|url|web|hook|webhook|bot|own|openai|anthropic|google|github|gitlab|"
    r"aws|azure|stripe|slack|redacted|removed|changeme|sensitive|information|content"
    r")){0,6}[\W_]{0,3})",
    re.IGNORECASE,
)
# First parts of names of keys that are no secrets: of caches, tables, keyboards.
_NO_KEYS = frozenset(
    """public primary foreign cache sort partition hash range index row column unique
    natural composite map dict object group routing registry registration hot arrow
    enter return shift ctrl control alt meta escape tab delete home end press on config
    json property lookup translation message event state query context known host s3
    gcs bucket idempotency dedup metric label tag option setting settings header param
    field attr attribute feature flag gpg pgp ssh issue ticket jira order item product
    entity record data parent child job task build artifact cluster secondary global
    version release shard topic redis_cache session_cache site recaptcha pub node tree
    sub line trace span log file path url object_store storage_object""".split()
)
_KEY_VARIABLE = re.compile(r"(?P<before>[A-Z][A-Z0-9_]{1,63})_KEY")


def is_stand_in(value: str) -> bool:
    """Tell whether `value` only says that something was, or is to be put, here."""
    return _STAND_IN.fullmatch(value[:256]) is not None


def is_key_variable(name: str) -> bool:
    """Tell whether `name` is a variable as MAILGUN_KEY, which may be a secret's."""
    found = _KEY_VARIABLE.fullmatch(name)
    if found is None:
        return False
    before = found["before"].lower()
    return before not in _NO_KEYS and _NO_KEYS.isdisjoint(before.split("_"))
