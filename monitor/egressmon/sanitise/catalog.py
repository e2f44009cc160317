"""The catalog of secrets: every kind that is masked in records or found by `scan`.

There is no second list. What masks records (`tokens.py`, `urls.py`, `text.py`) and what
searches recordings (`matches.py`) take their patterns from here.

A pattern has to take linear time: it begins with a literal, its body is matched
possessively, and the rest is bounded. It must not need more than ASCII, as it is
compiled for text and for bytes. `shape` is a test vector without a secret in it: the
tests put random characters in place of `{w36}` (36 letters and digits), `{h}`
(hexadecimal), `{A}` (capitals and digits), `{u}` (base64url), `{b}` (base64), `{d}`
(digits) and `{p}` (a password).
"""

from typing import NamedTuple


class Kind(NamedTuple):
    """One kind of secret."""

    name: str
    about: str
    source: str
    """Who says so: documentation of the issuer, or a standard."""
    pattern: str = ""
    """Of a token that is recognised alone. Other kinds need what stands around them."""
    marks: str = ""
    """Literals, one of which is at the beginning of every such token."""
    shape: tuple[str, ...] = ()
    harmless: tuple[str, ...] = ()
    """What looks alike and must stay."""
    inside: int = 0
    """How many characters may stand before a mark, if not none."""
    in_name: str = ""
    """As it appears in host names, which have neither underscores nor case."""
    parted: bool = False
    """Of several parts: it is looked for only where a run of characters begins."""


_GITHUB_LIST = "docs.github.com/code-security: supported secret scanning patterns"

TOKENS = (
    Kind(
        "anthropic-key",
        "a key or token of Anthropic",
        "docs.anthropic.com/en/api: API keys, Admin API",
        r"sk-ant-[\w-]{12,}+",
        "sk-ant-",
        ("sk-ant-api03-{u93}AA", "sk-ant-admin01-{u93}AA", "sk-ant-oat01-{u93}AA"),
        ("sk-ant-", "task-ant-colony-optimisation", "sk-ant-<key>"),
        in_name=r"sk-ant-[a-z0-9_-]{12,}+",
    ),
    Kind(
        "openai-key",
        "a key of OpenAI, or of a service that took over its form",
        "platform.openai.com/docs: API keys; " + _GITHUB_LIST,
        r"sk-(?:(?:proj|or|svcacct|admin|lf|live|test)-[\w-]{12,}+"
        r"|(?=[A-Za-z]{0,19}[0-9])[A-Za-z0-9]{20,}+)",
        "sk-",
        ("sk-proj-{u48}T3BlbkFJ{u20}", "sk-svcacct-{u60}", "sk-{w20}T3BlbkFJ{w20}"),
        ("sk-video-tools-for-machine-learning", "sk-folding-cube-loader", "disk-usage"),
        in_name=r"sk-(?:proj|svcacct)-[a-z0-9_-]{12,}+",
    ),
    Kind(
        "github-token",
        "a token of GitHub",
        "github.blog/2021-04-05-behind-githubs-new-authentication-token-formats",
        r"(?:gh[pousr]_\w{16,}+|github_pat_\w{16,}+)",
        "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        ("ghp_{w36}", "ghs_{w36}", "github_pat_{w22}_{w59}"),
        ("ghp_", "github_pat_", "ghs_short"),
        in_name=r"gh[pousr][-_][a-z0-9]{16,}+|github[-_]pat[-_][a-z0-9_-]{16,}+",
    ),
    Kind(
        "gitlab-token",
        "a token of GitLab",
        "docs.gitlab.com/security/tokens: token prefixes",
        r"(?:gl(?:pat|rt|cbt|dt|ptt|ft|soat|agent|imt|oas|ffct|wt)-[\w-]{16,}+"
        r"|GR1348941[\w-]{16,}+)",
        "glpat- glrt- glcbt- gldt- glptt- glft- glsoat- glagent- glimt- gloas- glffct- "
        "glwt- GR1348941",
        ("glpat-{u20}", "glrt-{u20}", "gldt-{u20}", "glwt-{u20}", "GR1348941{u20}"),
        ("glpat-", "glft-small", "GR1348941"),
        in_name=r"gl(?:pat|rt|cbt|dt|ptt|ft|soat)-[a-z0-9_-]{16,}+",
    ),
    Kind(
        "aws-key",
        "an access key id of AWS: its secret is likely near",
        "docs.aws.amazon.com/IAM: unique identifiers",
        r"A(?:KIA|SIA|BIA|CCA)[0-9A-Z]{16,}+",
        "AKIA ASIA ABIA ACCA",
        ("AKIA{A16}", "ASIA{A16}"),
        ("AKIAshort", "ASIAN MARKETS", "ACCATTACGATT"),
        in_name=r"a(?:kia|sia)(?=[a-z0-9]{0,15}[0-9])[a-z0-9]{16}(?![a-z0-9])",
    ),
    Kind(
        "gcp-key",
        "a key or token of Google",
        "cloud.google.com/docs/authentication; " + _GITHUB_LIST,
        r"(?:AIza[\w-]{30,}+|ya29\.[\w-]{20,}+|GOCSPX-[\w-]{16,}+|1//0[\w-]{30,}+)",
        "AIza ya29. GOCSPX- 1//0",
        ("AIza{u35}", "ya29.{u60}", "GOCSPX-{u28}", "1//0{u60}"),
        ("AIzawa", "GOCSPX-", "1//0 is integer division"),
        in_name=r"gocspx-[a-z0-9_-]{16,}+",
    ),
    Kind(
        "azure-key",
        "a secret of Microsoft Entra, or a key of an Azure service",
        "learn.microsoft.com: azure-ad client secrets; Azure key formats (JQQJ99)",
        r"(?:[\w~.-]{3}[78]Q~[\w~.-]{31,34}(?![\w~-])"
        r"|[A-Za-z0-9]{52}JQQJ9[9D][A-Za-z0-9]{26})",
        "7Q~ 8Q~ JQQJ9",
        ("{w3}8Q~{w34}", "{w52}JQQJ99{w26}"),
        ("AB8Q~short",),
        inside=52,
    ),
    Kind(
        "slack-token",
        "a token of Slack",
        "docs.slack.dev/authentication/tokens",
        r"(?:xox[a-z]-[\w-]{10,}+|xoxe\.xox[a-z]-[\w-]{10,}+|xapp-[\w-]{10,}+)",
        "xoxa- xoxb- xoxc- xoxd- xoxe- xoxo- xoxp- xoxr- xoxs- xoxe. xapp-",
        (
            "xoxb-{d12}-{d12}-{w24}",
            "xoxp-{d12}-{d12}-{d12}-{h32}",
            "xapp-1-{A11}-{h64}",
        ),
        ("xoxb-", "foxapp-release-notes"),
        in_name=r"xox[a-z]-[a-z0-9-]{16,}+",
    ),
    Kind(
        "stripe-key",
        "a key of Stripe, or of a service that took over its form",
        "docs.stripe.com/keys; docs.stripe.com/webhooks",
        r"(?:[rsp]k_(?:live|test)_\w{16,}+|whsec_[\w+/=]{16,}+)",
        "rk_live_ sk_live_ pk_live_ rk_test_ sk_test_ pk_test_ whsec_",
        ("sk_live_{w24}", "rk_live_{w24}", "whsec_{w32}"),
        ("sk_live_", "risk_test_case_for_all"),
        in_name=r"whsec[-_][a-z0-9]{16,}+",
    ),
    Kind(
        "npm-token",
        "a token of npm",
        "docs.npmjs.com: about access tokens",
        r"npm_[A-Za-z0-9]{20,}+",
        "npm_",
        ("npm_{w36}",),
        ("npm_config_registry", "npm_lifecycle_event_of_package"),
        in_name=r"npm[-_](?=[a-z]{0,35}[0-9])[a-z0-9]{32,}+",
    ),
    Kind(
        "pypi-token",
        "a token of PyPI",
        "pypi.org/help/#apitoken (macaroons, base64url)",
        r"pypi-Ag[\w-]{12,}+",
        "pypi-Ag",
        ("pypi-AgEIcHlwaS5vcmc{u100}",),
        ("pypi-Agreement", "pypi-attestations"),
        in_name=r"pypi-ageic[a-z0-9_-]{12,}+",
    ),
    Kind(
        "hugging-face-token",
        "a token of Hugging Face",
        "huggingface.co/docs/hub/security-tokens",
        r"(?:hf_|api_org_)[A-Za-z0-9]{20,}+",
        "hf_ api_org_",
        ("hf_{w34}", "api_org_{w34}"),
        ("api_org_settings", "hf_hub_download_with_retries", "hf_transfer"),
    ),
    Kind(
        "docker-token",
        "an access token of Docker",
        "docs.docker.com/security/access-tokens",
        r"dckr_[po]at_[\w-]{16,}+",
        "dckr_pat_ dckr_oat_",
        ("dckr_pat_{u27}", "dckr_oat_{u32}"),
        ("dckr_pat_",),
        in_name=r"dckr[-_]pat[-_][a-z0-9_-]{16,}+",
    ),
    Kind(
        "jwt",
        "a JSON Web Token",
        "RFC 7519, RFC 7515",
        r"(?:eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*+"
        r"|eyJ(?:hbGci|0eXAi|raWQi|lbmMi)[\w-]{8,}+)",
        "eyJ",
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx{u40}.{u43}",),
        ("eyJ", "eyJhbGci"),
        in_name=r"eyj(?:hbgci|0exai|rawqi)[a-z0-9_-]{8,}+(?:\.[a-z0-9_-]{8,}+)*",
        parted=True,
    ),
    Kind(
        "vault-token",
        "a token of HashiCorp Vault or Terraform",
        "developer.hashicorp.com/vault/docs/concepts/tokens",
        r"(?:hv[sbr]\.[\w-]{16,}+|atlasv1_[\w-]{24,}+)",
        "hvs. hvb. hvr. atlasv1_",
        ("hvs.{u90}",),
        ("hvs.", "hvb.io"),
        in_name=r"hv[sb]\.[a-z0-9_-]{20,}+",
    ),
    Kind(
        "databricks-token",
        "a token of Databricks",
        "docs.databricks.com/dev-tools/auth/pat",
        r"d(?:api|ose)[0-9a-f]{32}\w*+",
        "dapi dose",
        ("dapi{h32}", "dose{h32}"),
        ("dapi-server", "dose of 100 mg"),
        in_name=r"dapi[0-9a-f]{32}",
    ),
    Kind(
        "shopify-token",
        "a token of Shopify",
        _GITHUB_LIST,
        r"shp(?:at|ca|pa|ss|tka)_[0-9a-fA-F]{16,}+\w*+",
        "shpat_ shpca_ shppa_ shpss_ shptka_",
        ("shpat_{h32}",),
        ("shpat_",),
        in_name=r"shpat[-_][0-9a-f]{16,}+",
    ),
    Kind(
        "digitalocean-token",
        "a token of DigitalOcean",
        _GITHUB_LIST,
        r"do[opr]_v1_\w{32,}+",
        "doo_v1_ dop_v1_ dor_v1_",
        ("dop_v1_{h64}",),
        ("dop_v1_",),
        in_name=r"do[opr][-_]v1[-_][0-9a-f]{32,}+",
    ),
    Kind(
        "sendgrid-key",
        "a key of SendGrid",
        _GITHUB_LIST,
        r"SG\.[\w-]{16,}+\.[\w-]{16,}+",
        "SG.",
        ("SG.{u22}.{u43}",),
        ("SG.short.x",),
        parted=True,
    ),
    Kind(
        "service-token",
        "a token of another service",
        _GITHUB_LIST,
        r"(?:SK[0-9a-f]{32}\w*+|key-[0-9a-f]{32}\w*+|lin_(?:api|oauth)_\w{16,}+"
        r"|cio[A-Za-z0-9]{32,}+|AGE-SECRET-KEY-1[0-9A-Z]{10,}+"
        r"|dp\.(?:st|pt|ct|sa|scim|audit)\.[\w.-]{16,}+|sq0[a-z]{3}-[\w-]{20,}+"
        r"|PMAK-[\w-]{24,}+|rubygems_[0-9a-f]{32,}+"
        r"|(?:nvapi|xkeysib|pplx|xai)-[\w-]{32,}+|gl(?:sa|c)_[\w=]{24,}+"
        r"|NRAK-[0-9A-Z]{20,}+|tskey-(?:auth|api|client|scim)-[\w-]{16,}+"
        r"|sntry[su]_[\w=+/]{24,}+"
        r"|(?:figd|ntn|gsk|sbp|r8|tgp_v1|bkua|CCIPAT)_[\w-]{24,}+"
        r"|AT(?:ATT|CTT)3x[\w=-]{24,}+|ATBB[A-Za-z0-9]{24,}+|pul-[0-9a-f]{40}"
        r"|mfa\.(?=[a-zA-Z_-]{0,60}[0-9])[\w-]{60,}+"
        r"|FlyV1 fm\d_[\w+/=,]{20,}+)",
        "SK key- lin_api_ lin_oauth_ cio AGE-SECRET-KEY- dp.st. dp.pt. dp.ct. dp.sa. "
        "dp.scim. dp.audit. sq0 PMAK- rubygems_ nvapi- xkeysib- pplx- xai- glsa_ glc_ "
        "NRAK- tskey- sntrys_ sntryu_ figd_ ntn_ gsk_ sbp_ r8_ tgp_v1_ bkua_ CCIPAT_ "
        "ATATT3x ATCTT3x ATBB pul- mfa. FlyV1",
        (
            "gsk_{w52}",
            "xai-{w80}",
            "glsa_{w32}",
            "AGE-SECRET-KEY-1{A58}",
            "cio{w32}",
            "mfa.{u84}",
        ),
        (
            "mfa.getTokenForUser()",
            "key-rotation-of-all-clusters",
            "SKIPPED",
            "precious",
            "dp.status.message",
        ),
    ),
    Kind(
        "terraform-token",
        "a token of HCP Terraform",
        "developer.hashicorp.com/terraform: API tokens",
        r"\w{1,64}+\.atlasv1\.[\w-]{20,}+",
        ".atlasv1.",
        ("{w14}.atlasv1.{w67}",),
        (".atlasv1.",),
        inside=64,
        parted=True,
    ),
    Kind(
        "airtable-token",
        "a token of Airtable",
        "airtable.com/developers/web/guides/personal-access-tokens",
        r"pat\w{14}\.[0-9a-f]{64}",
        "",
        ("pat{w14}.{h64}",),
        ("path.example", "patch"),
        parted=True,
    ),
    Kind(
        "discord-token",
        "a token of a Discord bot",
        "discord.com/developers/docs/reference#authentication",
        r"[MNO][\w-]{23,27}+\.[\w-]{6}\.[\w-]{27,}+",
        "",
        ("M{u25}.{u6}.{u38}",),
        ("MODULES.config.js",),
        parted=True,
    ),
    Kind(
        "raw-private-key",
        "a private key in base64, without the lines of PEM around it",
        "RFC 5958, RFC 8017, RFC 5915: how DER begins",
        r"M[A-Za-z0-9+/]{2,7}?(?:IBADANBgkqhkiG9w0B|IBAAKC|AgEAMBMGByqGSM49"
        r"|AQAwBQYDK2Vw|CAQEEI)[A-Za-z0-9+/]{24,}+={0,2}",
        "IBADANBgkqhkiG9w0B IBAAKC AgEAMBMGByqGSM49 AQAwBQYDK2Vw CAQEEI",
        ("MIIEvQIBADANBgkqhkiG9w0B{b800}", "MHcCAQEEI{b100}", "MC4CAQAwBQYDK2Vw{b44}"),
        ("MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA",),
        inside=8,
    ),
    Kind(
        "telegram-token",
        "a token of a Telegram bot, or another behind a number",
        "core.telegram.org/bots/features#botfather",
        r"\d{6,12}:[\w-]{32,}+",
        ":AA",
        ("{d10}:AA{u33}",),
        ("12:AA",),
        inside=12,
        parted=True,
    ),
)
"""Tokens whose issuers gave them a shape that is recognised anywhere."""

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
