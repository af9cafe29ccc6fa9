"""Decide which names belong to secrets.

A name is split into words at `_`, `-`, `.` and capitals, so that COMPASS is not taken for a `pass`.
"""

import functools
import itertools
import re

WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+")
# Words that mark a secret anywhere in its name, even at the end of a longer word: PGPASSWORD,
# sslpassword, authtoken.
ENDINGS = (
    "password", "passwords", "passwd", "passphrase", "passcode", "secret", "secrets", "token",
    "credential", "credentials", "apikey", "accesskey", "secretkey", "privatekey", "accountkey",
    "connectionstring", "accesskeyid",
)  # fmt: skip
# Words that mark a secret only as the last word of its name: SSH_AUTH_SOCK is not a secret.
LAST = {
    "pass", "dbpass", "userpass", "pwd", "pw", "pat", "auth", "authorization", "bearer", "dsn",
    "cookie", "webhook",
}  # fmt: skip
# Pairs of words that mark a secret if one follows the other in its name.
PAIRS = {
    ("api", "key"), ("access", "key"), ("private", "key"), ("secret", "key"), ("account", "key"),
    ("storage", "key"), ("shared", "key"), ("signing", "key"), ("license", "key"),
    ("encryption", "key"), ("master", "key"), ("auth", "key"), ("auth", "header"),
    ("connection", "string"), ("conn", "str"), ("amz", "signature"), ("goog", "signature"),
}  # fmt: skip
# Last words of names that describe a secret without revealing it.
ABOUT = {
    "file", "path", "dir", "directory", "folder", "sock", "socket", "store", "name", "type", "kind",
    "method", "mode", "provider", "user", "username", "url", "uri", "endpoint", "host", "length",
    "len", "size", "limit", "count", "min", "max", "ttl", "expiry", "expires", "timeout", "enabled",
    "required", "parallelism", "policy", "env",
}  # fmt: skip
IN_QUERIES = {"sig", "signature", "awsaccesskeyid"}  # secrets only as parameters of an address
NOT_SECRETS = {"PWD", "OLDPWD"}  # the working directories of a shell


@functools.lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Return whether a setting or variable of this name is a secret."""
    if name in NOT_SECRETS:
        return False
    words = [word.lower() for word in WORD.findall(name)]
    if not words:
        return False
    if any(pair in PAIRS for pair in itertools.pairwise(words)):
        return words[-1] not in ABOUT
    if words[-1] in LAST:
        return True
    return any(word.endswith(ENDINGS) for word in words) and words[-1] not in ABOUT


def is_secret_in_query(name: str) -> bool:
    """Return whether a query parameter of this name is a secret."""
    return name.lower() in IN_QUERIES or is_secret(name)
