"""The kinds of secrets that are told by what stands around them, or by randomness."""

from egressmon.sanitise.catalog import Kind

PRIVATE_KEY = Kind(
    "private-key",
    "a private key, or a PGP message",
    "RFC 7468; RFC 4716; RFC 9580, armour",
    r"-----BEGIN [A-Z0-9 ]{0,40}(?:PRIVATE KEY|PGP MESSAGE)",
    "-----BEGIN ",
    (
        "-----BEGIN PRIVATE KEY-----\n{b64}\n{b64}\n{b40}\n-----END PRIVATE KEY-----\n",
        "-----BEGIN EC PRIVATE KEY-----\\n{b64}\\n{b64}\\n-----END EC PRIVATE KEY-----",
    ),
    (
        "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQ\n-----END CERTIFICATE-----",
        'if "-----BEGIN PRIVATE KEY-----" in text:',
    ),
)
WEB_HOOK = Kind(
    "web-hook",
    "the address of a web hook or a bot: its path is the secret",
    "docs.slack.dev: incoming webhooks; discord.com/developers; core.telegram.org/bots",
    r"(?P<before>hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/"
    r"|discord(?:app)?\.com/api/(?:v\d{1,2}/)?webhooks/\d{1,32}/"
    r"|webhook\.office\.com/webhookb2/)"
    r"(?P<secret>[^\s/?#\"'][^\s?#\"']*+)",
    "hooks.slack webhooks/ webhookb2/",
    ("https://hooks.slack.com/services/T{A8}/B{A8}/{w24}",),
    ("https://hooks.slack.com/services/",),
)
TELEGRAM_ADDRESS = r"(?P<before>telegram\.org/(?:file/)?bot)[^/\s?#\"']++"
URL_CREDENTIALS = Kind(
    "url-credentials",
    "a user name with a password, or a token, in a URL or a DSN",
    "RFC 3986, 3.2.1; go-sql-driver/mysql: DSN",
    shape=("postgres://app:{p16}@db.example.test:5432/x", "https://{w40}@git.test/x"),
    harmless=(
        "https://example.test/a:b@c",
        "ssh://git@host.test/x",
        "postgres://db.test:5432/x",
        "https://$USER:$PASS@host.test/",
    ),
)
SIGNED_URL = Kind(
    "signed-url",
    "a parameter of a URL that signs it, or that is a token",
    "docs.aws.amazon.com: SigV4 query; cloud.google.com: signed URLs; Azure: SAS",
    shape=(
        "https://b.s3.example.test/k?X-Amz-Date=1&X-Amz-Signature={h64}&x=1",
        "https://s.example.test/k?X-Goog-Signature={h128}",
        "https://a.blob.example.test/c?sv=2024&sig={w43}%3D",
        "https://api.example.test/v1?access_token={w32}",
    ),
    harmless=("https://x.test/?sig=", "https://x.test/?token=$TOKEN&page=2"),
)
AUTHORIZATION = Kind(
    "authorization",
    "credentials of an Authorization header",
    "RFC 9110, 11.6.2; RFC 6750; RFC 7617",
    shape=(
        "Authorization: Bearer {w40}",
        "authorization: Basic dXNlcjp{b20}",
        '["Authorization", "Bearer {w40}"]',
        '{"name": "Authorization", "value": "token {w40}"}',
        'Authorization: Digest username="b", realm="x", uri="/", response="{h32}"',
        "    Authorization:\n    - Bearer {w32}\n",
    ),
    harmless=(
        "Authorization: Bearer $TOKEN",
        "authorization:\n- REDACTED",
        "Authorization: Bearer <token>",
        "the bearer of this letter",
    ),
)
API_KEY_HEADER = Kind(
    "api-key-header",
    "a header that holds a key",
    "docs.anthropic.com (x-api-key); cloud.google.com (x-goog-api-key); Azure",
    shape=(
        "X-API-Key: {w32}",
        "    x-api-key:\n    - {w32}\n",
        '"x-goog-api-key": "{w39}"',
        '{"name": "X-Api-Key", "value": "{h32}"}',
    ),
    harmless=("X-API-Key: ***", "x-api-key: ${API_KEY}", '["x-api-key", "accept"]'),
)
COOKIE = Kind(
    "cookie",
    "cookies of a Cookie or Set-Cookie header",
    "RFC 6265",
    shape=(
        "Cookie: session={w32}; theme=dark",
        "set-cookie:\n      - sid={w32}; Path=/; HttpOnly\n",
        '"Set-Cookie": ["__cf_bm={u60}; path=/"]',
    ),
    harmless=("Cookie: ***", "set-cookie:\n- REDACTED", "cookie: yes"),
)
NAMED = Kind(
    "named-secret",
    "a value whose name says that it is a secret",
    "secret_names.py",
    shape=(
        "DB_PASSWORD={p14}",
        '"client_secret": "{w40}"',
        "api_key = '{w32}'",
        '"aws_secret_access_key": "{b40}"',
        "AccountKey={b86}==;EndpointSuffix=core.windows.net",
        '{\\"refresh_token\\": \\"{u64}\\"}',
        "password: {p12}\n",
        "password = b'{p14}'",
        '{"name": "DB_PASSWORD", "value": "{p14}"}',
        "- name: DB_PASSWORD\n  value: {p14}\n",
        "ACME_KEY=hunt{w16}",
    ),
    harmless=(
        '"max_tokens": 1024',
        '"input_tokens": 123456, "output_tokens": 12',
        "password: str = None",
        "token = get_token()",
        "PASSWORD=$DB_PASSWORD",
        "api_key: REDACTED",
        "api_key: your-openai-api-key-here",
        "CACHE_KEY=deps-linux-v1-2026",
        "PRIMARY_KEY=order4711item0815",
        '"next_page_token": "CAUQAA"',
    ),
)
ARGUMENT = Kind(
    "command-argument",
    "an argument that its program takes for a secret",
    "table.py: manuals of the programs",
    shape=(
        "mysql -u root -p{p16} shop",
        "curl -u bob:{p12} https://x.test/",
        "sshpass -p {p14} ssh host",
        '["redis-cli", "-a", "{p16}", "ping"]',
        "docker login -u bob -p {p20} registry.test",
    ),
    harmless=("mysql -u root -p shop", "curl -u $U:$P https://x.test/"),
)
IN_NAME = Kind(
    "token-in-name",
    "a token in a host name: records only",
    "the issuers of the tokens in TOKENS",
)
RANDOM_BASE64 = Kind(
    "random-base64",
    "40 and more characters that look random",
    "randomness.py: letters of both cases and digits that alternate",
    shape=("{w44}", "value {b64}"),
    harmless=(
        "sha512-" + "A1b2C3d4" * 11 + "==",
        "testThatTheServerClosesAllConnectionsAfterTimeout",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlE",
    ),
)
RANDOM_HEX = Kind(
    "random-hex",
    "40 and more hexadecimal digits, in a number that no digest has",
    "randomness.py; FIPS 180-4 for the lengths of digests",
    shape=("{h50}", "{h72}"),
    harmless=(
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ),
)
