"""Which options of which programs hold secrets: a table, from their own manuals.

A row is a program, perhaps with a subcommand (`docker login`), and what holds what:

    secret      the value is one
    userpass    `user:password`, or with `%` (Samba) or `,` (lftp): masked if parted
    pair        NAME=SECRET
    cookie      masked, unless it is a file's name
    cert        a file, perhaps with `:password`
    source      OpenSSL's `pass:SECRET` or `key:SECRET`, but `env:`, `file:`
    joined      short options whose value, a secret, is only ever joined (-pSECRET)
    ifnamed     masked if one of the words is a secret's name
    manifest    masked if it holds the data of a Kubernetes Secret
    text        short options with a text, so that joined ones are taken apart
    plain       no secret, whatever the name says
    takes       the other short options that take a value, so that clusters can be read
    words       what stands without an option: secret, plain, pair, named (a name, then
                its value), hosted (a host's name, then its credentials), oracle
                (user/password@db), or userpass; the last repeats with `*`
    prefix      beginnings of words that hold a secret behind them
    last        with this option, the last word that is no option's value is a secret

Names that speak for themselves (`--password`, `--api-key`) need no row.
"""

_MYSQL = "joined: -p; takes: h P u D S e"
_MONGO = "secret: -p --password; takes: u h"
_CREDS = "userpass: --creds --src-creds --dest-creds; plain: --secret"
_LOGIN = "secret: -p --password; takes: u"
_RUN = "plain: -p -u --user -a --secret --publish --tmpfs; text: -e; takes: v w h l m c"
_AZ_DB = "secret: -p; takes: u g n l"
_LDAP = "secret: -w; takes: D H b s f y h p"
_SAMBA = "userpass: -U --user; takes: I p A W c D"
_AGE = "secret: -P -p; takes: S U d"
_SNMP = "secret: -c -A -X -Z; takes: v u l a x n C m M O I"

TABLE: dict[str, str] = {
    "curl": "userpass: -u --user -U --proxy-user; secret: --oauth2-bearer --pass "
    "--proxy-pass --tlspassword --proxy-tlspassword; cookie: -b --cookie; "
    "cert: -E --cert --proxy-cert; text: -H -d -F -x; "
    "takes: A c C D e K m o P Q r t T w X y Y z; plain: --key --proxy-key --aws-sigv4 "
    "--cookie-jar --proxy-key-type",
    "wget": "secret: --http-passwd; text: -e; takes: o a i B t O T w Q U P D A R l I X",
    "wget2": "secret: --http-passwd; text: -e",
    "http": "secret: -a --auth; takes: A o s b",
    "https": "secret: -a --auth; takes: A o s b",
    "httpie": "secret: -a --auth; takes: A o s b",
    "xh": "secret: -a --auth; takes: A o s b",
    "xhs": "secret: -a --auth; takes: A o s b",
    "aria2c": "secret: --http-passwd --ftp-passwd --all-proxy-passwd --rpc-secret",
    "ab": "userpass: -A -P; cookie: -C; text: -H",
    "hey": "userpass: -a; text: -H",
    "nikto": "userpass: -id",
    "sqlmap": "secret: --auth-cred; plain: --auth-type",
    "mysql": _MYSQL,
    "mysqldump": _MYSQL,
    "mysqladmin": _MYSQL,
    "mysqladmin password": "words: secret",
    "mysqlimport": _MYSQL,
    "mysqlcheck": _MYSQL,
    "mysqlshow": _MYSQL,
    "mysqlbinlog": _MYSQL,
    "mysqlslap": _MYSQL,
    "mysqlsh": _MYSQL,
    "mariadb": _MYSQL,
    "mariadb-dump": _MYSQL,
    "mariadb-admin": _MYSQL,
    "psql": "takes: h p U d c f v L o P R F T",
    "mongo": _MONGO,
    "mongosh": _MONGO,
    "mongodump": _MONGO,
    "mongorestore": _MONGO,
    "mongoexport": _MONGO,
    "mongoimport": _MONGO,
    "mongostat": _MONGO,
    "mongotop": _MONGO,
    "redis-cli": "secret: -a --pass; takes: h p s n r i u",
    "redis-cli auth": "words: secret*",
    "redis-cli config": "words: named*",
    "valkey-cli": "secret: -a --pass; takes: h p s n r i u",
    "valkey-cli auth": "words: secret*",
    "redis-benchmark": "secret: -a; takes: h p s c n d",
    "cqlsh": "secret: -p; takes: u e f k",
    "cypher-shell": "secret: -p; takes: a u d f P",
    "neo4j-admin set-initial-password": "words: secret",
    "neo4j-admin dbms set-initial-password": "words: secret",
    "elasticsearch-users": "secret: -p; takes: r",
    "clickhouse-client": "takes: h u d q",
    "clickhouse": "takes: h u d q",
    "influx": "secret: -t; takes: o b f",
    "sqlcmd": "secret: -P; takes: S U d Q q i o",
    "bcp": "secret: -P; takes: S U d",
    "osql": "secret: -P; takes: S U d",
    "isql": "takes: d x; words: plain plain secret",
    "sqlplus": "words: oracle*",
    "sqlldr": "words: oracle*",
    "expdp": "words: oracle*",
    "impdp": "words: oracle*",
    "beeline": "secret: -p; takes: u n e f",
    "snowsql": "takes: a u d s w q f",
    "rabbitmqctl add_user": "words: plain secret",
    "rabbitmqctl change_password": "words: plain secret",
    "rabbitmqctl authenticate_user": "words: plain secret",
    "rabbitmqadmin": "secret: -p; takes: H P u V",
    "mosquitto_pub": "secret: -P; takes: h p u t m i",
    "mosquitto_sub": "secret: -P; takes: h p u t i",
    "mosquitto_passwd": "last: -b",
    "kafkacat": "text: -X; takes: b t p o",
    "kcat": "text: -X; takes: b t p o",
    "etcdctl": "userpass: --user",
    "etcdctl put": "words: named*",
    "celery": "text: -b; takes: A Q n l c",
    "sshpass": "secret: -p; takes: f d P",
    "ssh-keygen": "secret: -N -P; takes: t b C f O I n V s D",
    "ssh-add": "takes: t s e",
    "openssl": "source: -passin -passout -pass -password -macopt; secret: -K -k -hmac; "
    "plain: -key -pubkey -certsout -signature -cert",
    "openssl passwd": "words: secret*; plain: -salt -in",
    "gpg": "plain: --keyring --default-key --recv-keys --keyserver",
    "gpg2": "plain: --keyring --default-key --recv-keys --keyserver",
    "zip": "secret: -P; takes: b t n",
    "unzip": "secret: -P; takes: d",
    "7z": "joined: -p",
    "7za": "joined: -p",
    "7zz": "joined: -p",
    "rar": "joined: -p -hp",
    "unrar": "joined: -p -hp",
    "qpdf": "secret: --password",
    "pdftotext": "secret: -upw -opw",
    "keytool": "secret: -storepass -keypass -srcstorepass -deststorepass -srckeypass "
    "-destkeypass -new; plain: -keystore",
    "jarsigner": "secret: -storepass -keypass",
    "ldapsearch": _LDAP,
    "ldapadd": _LDAP,
    "ldapmodify": _LDAP,
    "ldapdelete": _LDAP,
    "ldapwhoami": _LDAP,
    "ldappasswd": "secret: -w -s -a; takes: D H b y h p",
    "smbclient": _SAMBA + "; words: plain secret",
    "smbget": _SAMBA,
    "smbpasswd": "last: -s",
    "smbmap": "secret: -p; takes: u H d P r",
    "rpcclient": _SAMBA,
    "net": _SAMBA,
    "wmic": _SAMBA,
    "lftp": "userpass: -u; text: -e; takes: p c f",
    "open": "userpass: -u",
    "ncftp": "secret: -p; takes: u P",
    "ncftpget": "secret: -p; takes: u P",
    "ncftpput": "secret: -p; takes: u P",
    "htpasswd": "last: -b",
    "snmpget": _SNMP,
    "snmpwalk": _SNMP,
    "snmpset": _SNMP,
    "snmpbulkwalk": _SNMP,
    "hydra": "secret: -p; takes: l L P s t C M o",
    "evil-winrm": "secret: -p; takes: i u P s e",
    "crackmapexec": "secret: -p; takes: u d H",
    "nxc": "secret: -p; takes: u d H",
    "ipmitool": "secret: -P -k; takes: H U I L p",
    "xfreerdp": "prefix: /p: /gp:",
    "rdesktop": "secret: -p; takes: u d g a",
    "vncdo": "secret: -p; takes: s",
    "wpa_passphrase": "words: plain secret",
    "nmcli": "words: named*",
    "useradd": "secret: -p; takes: u g G d s c e k K",
    "usermod": "secret: -p; takes: u g G d s c l e",
    "ncat": "userpass: --proxy-auth",
    "openvpn": "plain: --auth-user-pass --askpass --secret --tls-auth --key --auth",
    "swaks": "secret: -ap; userpass: -au",
    "docker": _RUN,
    "docker login": _LOGIN,
    "podman": _RUN + "; userpass: --creds",
    "podman login": _LOGIN,
    "nerdctl": _RUN,
    "nerdctl login": _LOGIN,
    "buildah": _CREDS,
    "buildah login": _LOGIN,
    "skopeo": _CREDS,
    "skopeo login": _LOGIN,
    "crane auth": _LOGIN,
    "regctl registry": _LOGIN,
    "oras": "secret: -p; takes: u",
    "helm registry": _LOGIN,
    "helm": "secret: --kube-token; plain: --key-file --keyring --key; text: --set",
    "kubectl": "pair: --from-literal; plain: -p -u",
    "kubectl patch": "manifest: -p --patch; takes: n f",
    "kubectl patch secret": "secret: -p --patch",
    "kubectl patch secrets": "secret: -p --patch",
    "kubectl config": "words: named*",
    "oc": "pair: --from-literal; plain: -u",
    "oc login": _LOGIN,
    "argocd": "plain: --auth-token-file",
    "aws": "plain: --secret-id --key --expression-attribute-names --key-name "
    "--key-schema --starting-token --cli-auto-prompt",
    "aws configure": "words: named*",
    "aws ssm put-parameter": "secret: --value",
    "aws secretsmanager": "secret: --secret-string --secret-binary",
    "gcloud": "plain: --secret --keyring --key --key-file",
    "gcloud config": "words: named*",
    "gcloud auth activate-refresh-token": "words: plain secret",
    "az": "plain: --auth-mode --secret-name",
    "az login": "secret: -p; takes: u t",
    "az acr login": "secret: -p; takes: n u",
    "az sql server create": _AZ_DB,
    "az mysql server create": _AZ_DB,
    "az mysql flexible-server create": _AZ_DB,
    "az postgres server create": _AZ_DB,
    "az postgres flexible-server create": _AZ_DB,
    "az keyvault secret set": "secret: --value",
    "mc alias set": "words: plain plain secret*",
    "mc config host add": "words: plain plain secret*",
    "rclone obscure": "words: secret",
    "rclone config": "words: named*",
    "b2 authorize-account": "words: plain secret",
    "b2 authorize_account": "words: plain secret",
    "b2 account authorize": "words: plain secret",
    "swift": "secret: -K; takes: U A V",
    "rclone": "secret: --rc-pass --webdav-pass --ftp-pass --sftp-pass",
    "vault login": "words: secret*",
    "vault kv": "words: plain pair*",
    "vault write": "words: plain pair*",
    "vault unwrap": "words: secret",
    "vault token lookup": "words: secret*",
    "vault token renew": "words: secret*",
    "vault token revoke": "words: secret*",
    "vault operator unseal": "words: secret",
    "consul": "secret: -token -http-token",
    "consul kv put": "words: named*",
    "nomad": "secret: -token",
    "terraform": "text: -var",
    "tofu": "text: -var",
    "pulumi config": "last: --secret",
    "ansible": "text: -e; takes: i m a u t l; plain: --private-key",
    "ansible-playbook": "text: -e; takes: i u t l; plain: --private-key",
    "ansible-vault encrypt_string": "words: secret*",
    "twine": "secret: -p; takes: u r",
    "hatch": "secret: -a --auth; takes: u r",
    "uv": "secret: -t; takes: p i f",
    "uv publish": "secret: -p -t; takes: u",
    "pdm publish": "secret: -P; takes: u r",
    "poetry": "takes: C P r u",
    "poetry publish": "secret: -p; takes: u r",
    "poetry config": "words: named*",
    "pip": "takes: i f r c e t",
    "pip config": "words: named*",
    "npm": "secret: --otp",
    "pnpm": "secret: --otp",
    "npm config": "words: named*",
    "npm set": "words: named*",
    "pnpm config": "words: named*",
    "pnpm set": "words: named*",
    "yarn config": "words: named*",
    "composer config": "words: named*",
    "bundle config": "words: hosted*",
    "bundle config set": "words: hosted*",
    "gem": "secret: --otp; takes: k s v",
    "nuget": "secret: -apikey -ApiKey",
    "dotnet user-secrets set": "words: plain secret; plain: --id --project",
    "dotnet nuget": "secret: -k -p; takes: s u n",
    "cargo": "plain: --key",
    "cargo login": "words: secret",
    "git": "text: -c; takes: C",
    "git config": "words: named*; plain: --get --file",
    "gh secret": "secret: -b --body",
    "gh variable": "ifnamed: -b --body",
    "glab auth": "secret: -t; takes: h",
    "glab variable": "words: named*; ifnamed: -v --value",
    "heroku config:set": "words: pair*",
    "flyctl secrets": "words: pair*",
    "fly secrets": "words: pair*",
    "doppler secrets": "words: pair*",
    "vercel": "secret: -t",
    "doctl": "secret: -t; takes: c u o",
    "netlify env:set": "words: named*",
    "bw login": "words: plain secret plain",
    "bw unlock": "words: secret",
    "security": "secret: -w -p; takes: a s l k",
    "ngrok authtoken": "words: secret",
    "ngrok config": "words: secret*",
    "wandb login": "words: secret",
    "snyk auth": "words: secret",
    "codecov": "secret: -t; takes: f F n",
    "sonar-scanner": "prefix: -Dsonar.login= -Dsonar.token=",
    "airflow users create": "secret: -p; takes: u r f l e",
    "airflow users reset-password": "secret: -p; takes: u e",
    "anaconda": "secret: -t --token",
    "conda token": "words: named*",
    "dvc remote": "words: named*",
    "jf config": "words: named*",
}

WRAPPERS: dict[str, str] = {
    # The short options that take a value; then how many words stand before a command.
    "sudo": "ughpCrtTUDR 0",
    "doas": "uC 0",
    "runuser": "ugG 0",
    "setpriv": " 0",
    "gosu": " 1",
    "su-exec": " 1",
    "env": "uCS 0",
    "nice": "n 0",
    "ionice": "cnpPu 0",
    "chrt": "TPD 1",
    "taskset": " 1",
    "timeout": "ks 1",
    "time": "fo 0",
    "nohup": " 0",
    "setsid": " 0",
    "stdbuf": "ioe 0",
    "unbuffer": " 0",
    "script": "cEIOBTmt 0",
    "strace": "aeEIoOpPsSuUX 0",
    "ltrace": "aeFlnopsuwxX 0",
    "valgrind": " 0",
    "catchsegv": " 0",
    "xargs": "InPLdaEs 0",
    "parallel": "jSIaN 0",
    "watch": "nq 0",
    "flock": "wEc 1",
    "chroot": " 1",
    "unshare": "SGRw 0",
    "nsenter": "tSGWN 0",
    "firejail": " 0",
    "bwrap": " 0",
    "systemd-run": "pEuHMtS 0",
    "busybox": " 0",
    "toybox": " 0",
    "exec": "a 0",
    "command": " 0",
    "builtin": " 0",
    "nocache": " 0",
    "proxychains": "f 0",
    "proxychains4": "f 0",
    "torsocks": " 0",
    "torify": " 0",
    "faketime": "f 1",
    "fakeroot": "lsbiu 0",
    "tini": "pe 0",
    "dumb-init": "r 0",
    "s6-setuidgid": " 1",
    "tsocks": " 0",
    "npx": "pc 0",
    "bunx": " 0",
    "uvx": "p 0",
    "eatmydata": " 0",
    "then": " 0",
    "do": " 0",
    "else": " 0",
    "if": " 0",
    "while": " 0",
    "until": " 0",
    "elif": " 0",
    "!": " 0",
    "{": " 0",
    "coverage": " 1",
}

SHELLS = frozenset(
    "sh bash dash zsh ksh mksh ash fish su runuser rbash script eval".split()
)
# Behind their own words and options comes a command of another place.
RUNNERS = frozenset(
    """docker podman nerdctl kubectl oc ssh sshpass docker-compose lxc incus
    machinectl systemd-nspawn uv poetry pipenv pipx pdm hatch bundle npm pnpm yarn op
    aws-vault chamber doppler dotenv direnv nix nix-shell find ip mosh vagrant heroku
    gcloud fly flyctl tox nox make screen tmux""".split()
)
# Their long options have one dash: no clusters of short ones.
ONE_DASH = frozenset(
    """openssl keytool jarsigner terraform tofu consul nomad vault nuget sqlmap nikto
    pdftotext swaks""".split()
)
# The long options of wrappers that take a value.
LONG_WITH_VALUE = frozenset(
    """--user --group --host --prompt --close-from --chdir --chroot --role --type
    --other-user --command-timeout --login-class --unset --split-string --kill-after
    --signal --adjustment --class --classdata --input --output --error --max-args
    --max-procs --max-lines --max-chars --delimiter --arg-file --userspec --groups
    --unit --property --setenv --uid --gid --slice --description --service-type
    --reuid --regid --target --timeout --conflict-exit-code --interval --format
    --trace --setuid
    --setgid --wd --root --map-user --map-group --package --jobs""".split()
)
