"""Find the secrets in an address: a password, a token, a parameter of its query.

A password may contain characters that should be encoded in an address, and libraries parse such
addresses differently. So every interpretation counts: each `@` may be the one that ends the
password.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, unquote_plus

from tunebook.redaction.names import is_secret_in_query
from tunebook.redaction.values import is_interpolation

SCHEME = re.compile(r"[A-Za-z][\w+.-]*$")
MAX_SCHEME = 40
END_OF_AUTHORITY = re.compile(r"[/?#\\]")
TOKEN_USERS = ("http", "https")  # schemes in which a user without a password is a token
NO_PASSWORDS = ("", "x-oauth-basic")  # what is in place of the password if the user is a token
LONG = 20  # characters; a user name of this length is more likely a token
MAX_READINGS = 16  # positions of `@` that are considered in one address
PORT = re.compile(r"\d{0,5}")


@dataclass(frozen=True)
class Secret:
    """Hold the position of a secret, text[start:end], and how it may be written elsewhere.

    values: the texts to hide elsewhere. user: the user whose password it is.
    """

    start: int
    end: int
    values: tuple[str, ...]
    user: str = ""


def secrets_in(text: str, at: int, is_setting: bool) -> Iterator[Secret]:
    """Yield the secrets in the address whose `://` begins at text[at] and which ends with the text.

    is_setting: whether the text is known to be an address; then a doubtful part counts as a secret.
    """
    found = SCHEME.search(text[max(0, at - MAX_SCHEME) : at])
    scheme, start = (found[0].lower() if found else ""), at + 3
    rest = text[start:]
    is_web = scheme.rpartition("+")[2] in TOKEN_USERS
    ends = _possible_ends(rest, is_web, is_setting)
    passwords: list[str] = []
    users: list[str] = []
    for end in ends:
        user, colon, password = rest[:end].partition(":")
        is_lone = not colon or password in NO_PASSWORDS
        if (is_web and is_lone) or (colon and len(user) >= LONG):
            users.append(user)
        if colon and not is_lone and not is_interpolation(password):
            passwords.append(password)
    users = [user for user in users if user and not is_interpolation(user)]
    if users or passwords:
        user = rest.partition(":")[0]
        yield Secret(start, start + ends[-1], tuple(_decoded(users + passwords)), unquote(user))
    yield from _in_query(text, start + (ends[-1] if ends else 0))


def _possible_ends(rest: str, is_web: bool, is_setting: bool) -> list[int]:
    """Return the positions of all `@` at which user and password may end.

    There are none if every `@` belongs to a path.
    """
    ends = [match.start() for match in re.finditer("@", rest)]
    ends = [*ends[: MAX_READINGS - 1], ends[-1]] if len(ends) > MAX_READINGS else ends
    if not ends or rest.startswith("/"):
        return []
    authority = END_OF_AUTHORITY.split(rest, maxsplit=1)[0]
    if "@" in authority:
        return ends
    host, colon, port = authority.partition(":")
    if not colon or host.startswith("["):
        return []
    if PORT.fullmatch(port) is None:
        return ends  # a password with a slash in it
    is_host = is_web and (host == "localhost" or "." in host)
    return ends if is_setting and not is_host else []


def _in_query(text: str, start: int) -> Iterator[Secret]:
    """Yield the query parameters that are secrets.

    A part without `=` belongs to the value before it, which held an unencoded `&`.
    """
    question = text.find("?", start)
    if question < 0:
        return
    parts: list[tuple[int, int]] = []
    at = question + 1
    for part in text[question + 1 :].split("&"):
        if "=" in part or not parts:
            parts.append((at, at + len(part)))
        else:
            parts[-1] = (parts[-1][0], at + len(part))
        at += len(part) + 1
    for first, last in parts:
        name, _, value = text[first:last].partition("=")
        if (
            value
            and is_secret_in_query(unquote(name).removeprefix("amp;"))
            and not is_interpolation(value)
        ):
            values = dict.fromkeys((value, value.partition("#")[0]))
            yield Secret(
                first + len(name) + 1, last, tuple(_decoded([text for text in values if text]))
            )


def _decoded(values: list[str]) -> list[str]:
    """Return the values as they are written, and in decoded form."""
    return list(dict.fromkeys([*values, *map(unquote, values), *map(unquote_plus, values)]))
