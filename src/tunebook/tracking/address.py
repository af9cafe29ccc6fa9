"""Check the address of a tracking store before the store is opened."""

import re
from urllib.parse import unquote, urlsplit

# A driver may follow the name of a database: postgresql+psycopg.
SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql")
DATABASES = ("postgresql", "mysql", "mssql")
EXAMPLES = "an address such as sqlite:////path/to/mlflow.db or http://host:5000"
LONGEST = 2000  # characters
HIGHEST_PORT = 65535


def address_problem(uri: str) -> str:
    """Return why `uri` can't be the address of a store, or "" if it can."""
    scheme, separator, rest = uri.partition("://")
    kind, plus, _ = scheme.partition("+")
    if (
        not separator
        or not rest.strip("/ ")
        or not unquote(uri).isprintable()
        or len(uri) > LONGEST
    ):
        return f"must be {EXAMPLES}"
    if kind not in SCHEMES or (plus and kind not in DATABASES):
        return (
            f"must be {EXAMPLES}; allowed before :// are {', '.join(SCHEMES)}, "
            "and a driver for a database, such as +psycopg"
        )
    if kind == "sqlite":
        return _wrong_with_file(rest)
    if kind in ("http", "https"):
        return _wrong_with_server(uri)
    return _wrong_with_database(uri)


def without_user(uri: str) -> str:
    """Return an address without the user and the password in it.

    It is for an address that can't be parsed: everything before the last "@" is hidden.
    """
    return re.sub(r"://.*@", "://***@", uri)


def _wrong_with_file(rest: str) -> str:
    path = rest.removeprefix("/")
    if not rest.startswith("/") or path.endswith("/") or path == ":memory:" or "?" in path:
        return "must name a file: sqlite:////absolute/path.db, or sqlite:///relative/path.db"
    return ""


def _wrong_with_server(uri: str) -> str:
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        # The port is not a number, or an IPv6 address is incomplete. The error's text is not used,
        # because it may quote a password.
        return (
            "is not a server's address with a host and a port, as in http://host:5000; "
            "in a password, write %2F for / and %40 for @"
        )
    if not host or not re.fullmatch(r"[\w.:%-]+", host) or host.startswith("."):
        return "names no host; expected an address such as http://host:5000"
    return _wrong_with_port(port)


def _wrong_with_database(uri: str) -> str:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(uri)
        url.get_dialect()
    except (ArgumentError, ValueError):
        # An unknown driver is an ArgumentError, too. The error's text may quote a password.
        return (
            "is not a database's address, or names an unknown driver; "
            "expected an address such as postgresql://user@host/name"
        )
    except ImportError as error:
        return f"needs a driver that is not installed ({error})"
    if not url.host and not url.database:
        return "names neither a host nor a database; expected postgresql://user@host/name"
    return _wrong_with_port(url.port)


def _wrong_with_port(port: int | None) -> str:
    return (
        ""
        if port is None or 1 <= port <= HIGHEST_PORT
        else f"has the port {port}; allowed: 1 to {HIGHEST_PORT}"
    )
