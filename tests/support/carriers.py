"""The ways in which a value is written behind its name; `@` stands for the value."""

import html
import json
import urllib.parse
from collections.abc import Callable

CARRIERS = [
    *('password="@"', "password='@'", "password=@", "password: @", "f(password=@)"),
    *('password=b"@"', 'f(password=r"@")', "password=f'@'", "{'password': b'@'}"),
    *('password=rb"@"', 'password = u"@"', 'password=r#"@"#', "password=N'@'"),
    *('password="""@"""', "password='''@'''", '"{""password"":""@""}"'),
    *("DB_PASSWORD=$'@'", 'DB_PASSWORD=$"@"', "DB_PASSWORD=('@')", 'passwords=["@"]'),
    *(
        'passwords=["@","@x"]',
        "password: !!str @",
        "password: &a @",
        "password: !x '@'",
    ),
    *(
        "password: >-\n  @\n",
        "password: |2-\n  @\n",
        "password:\n- @\n",
        "api_key:\n- @",
    ),
    *('{"password":\n "@"}', '{"password":"@"}', "password => '@'", 'password := "@"'),
    *("<password>@</password>", '<wsse:Password Type="x">@</wsse:Password>'),
    *("<password><![CDATA[@]]></password>", '<input name="password" value="@">'),
    *('{"name":"password","value":"@"}', "- name: DB_PASSWORD\n  value: @\n"),
    *('{"Name": "DB_PASSWORD", "Value": "@"}', 'name = "db_password"\n value = "@"'),
    '--B\r\nContent-Disposition: form-data; name="password"\r\n\r\n@\r\n--B--\r\n',
    'form-data; name="password"\r\nContent-Type: text/plain\r\n\r\n@\r\n--B',
    *("https://x.test/?next=1&access_token=@&b=1", "a=1&password=@&b=2"),
    *('export DB_PASSWORD="@"; run', 'os.environ["DB_PASSWORD"] = "@"'),
    *('<a b="password=@"/>', 'password=***"@"', "x: password=@,b=1"),
]
"""With a password in them, which may be any text of letters and digits."""


def _escaped(text: str) -> str:
    return json.dumps(text)[1:-1]


WRAPPINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "behind text": lambda text: f"it said: {text} and ended",
    "JSON": lambda text: json.dumps({"a": text}),
    "JSON in JSON": lambda text: json.dumps({"a": json.dumps({"b": text})}),
    "in a string": _escaped,
    "in a string in a string": lambda text: _escaped(_escaped(text)),
    "a shell's words": lambda text: "sh -c '" + text.replace("'", "'\\''") + "'",
    "percent": lambda text: "next=" + urllib.parse.quote(text, ""),
    "code points": lambda text: "".join(f"\\u{ord(one):04x}" for one in text),
    "XML": lambda text: f"<log>{html.escape(text)}</log>",
}
