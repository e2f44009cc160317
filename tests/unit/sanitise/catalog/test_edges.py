"""What is a secret although it looks like none, and the other way round."""

import random

import pytest

from egressmon.sanitise.redaction import redact, scan_text
from support.secrets import filled

_SECRETS = [
    'Authorization: Digest username="bob", uri="/", response="{h32}"\n',
    "proxy: Digest username=bob, response={h32}\n",
    '{"name":"password","value":"hunter22zq"}',
    "env:\n- name: DB_PASSWORD\n  value: hunter22zq\n",
    '{"Name": "DB_PASSWORD", "Value": "hunter22zq"}',
    '<input type="text" name="password" value="hunter22zq">',
    '--B\r\nContent-Disposition: form-data; name="password"\r\n\r\nhunter22zq\r\n--B',
    "password: &a hunter22zq\n",
    "DB_PASSWORD=SecretAgentMan\n",
    "password: insert-Coin-Tonight\n",
    "ACME_KEY=hunter22zq8f7d6\n",
    "MAILGUN_KEY={w32}\n",
    "ghp\\_{w36}",
    'passwords = ["***", "hunter22zq"]',
    "glwt-{u20}",
    "GR1348941{u20}",
    "dose{h32}",
    "api_org_{w34}",
    "mfa.{u84}",
]
_NONE = [
    "https://u:dummy@h.test/",
    "https://u:your-key-here@h.test/",
    "curl -u bob:*** x",
    "curl -u bob:dummy x",
    "Cookie: a=your-key-here",
    '{"forgot_password":"Forgot password?"}',
    "x-amz-id-2: eftixk72aD6Ap51TnqcoF8eFidJG9Z/2mkiDFu8yU9AS1ed4OpIszj7UDNEHGran",
    "x-amz-id-2:\n      - eftixk72aD6Ap51TnqcoF8eFidJG9Z/2mkiDFu8yU9AS1ed4OpIszj7UDNEH",
    "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPBdG",
    "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
    "PUBLIC_KEY=hunter22zq8f7d6",
    "password: your_password_here",
    "token=***/bin/prog",
]


@pytest.mark.parametrize("shape", _SECRETS)
def test_a_secret_is_found_in_each_form(shape: str) -> None:
    text = filled(shape, random.Random(9))  # noqa: S311 -- a test's

    assert scan_text(text)
    assert not scan_text(redact(text)[0])


@pytest.mark.parametrize("text", _NONE)
def test_what_is_known_to_be_none_is_not_found(text: str) -> None:
    assert not scan_text(f"a\n{text}\n")
