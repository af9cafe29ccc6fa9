"""Find values next to the name of a secret: in settings, in YAML, on a command line."""

import re
from collections.abc import Iterator

from tunebook.redaction.names import is_secret
from tunebook.redaction.values import reveals_secret

# Each name of a secret contains one of these: a text without any of them is not searched.
IN_NAMES = (
    "pass", "pw", "secret", "token", "key", "cred", "auth", "bearer", "pat", "dsn", "cookie",
    "webhook", "string", "conn", "signature",
)  # fmt: skip
SPACE = r"\s{0,8}"
QUOTE = r"\\{0,8}[\"'`]"
# The separators of name and value in YAML, JSON, shells, Go, make, Pascal, Ruby, PHP, Perl and R.
SIGN = rf"{SPACE}(?:[:+?|]{{0,2}}={{1,3}}[>~]?|:{{1,2}}|[-~]>|<-|%3[dD]){SPACE}"
NAME = re.compile(
    rf"(?<![\w.-])(?<!//)(?P<name>[\w.-]{{1,100}})(?P<quote>(?:{QUOTE})?)\]?(?P<sign>{SIGN})"
)
TAG = re.compile(r"(?:[!&][\w!:./-]{0,60}[ \t]{1,8}){1,2}")  # YAML: !!str &name value
VALUE = re.compile(
    r"(?P<open>(?P<escaped>\\{1,8})?[\"'`])"
    r"(?P<quoted>(?:(?P=open){2}|(?(escaped)\\\\(?P=open)|(?!))"
    r"|(?!(?P=open))(?:\\[^\r\n]|[^\r\n\\])){0,4000})"
    r"|(?P<plain>(?:\$\{[^{}\s]{1,200}\}|(?!\\{1,8}[\"'])[^\s,'\"&}]){1,4000})"
)
# YAML: indented lines follow. An escaped line end is found again once its escape is decoded.
BLOCK = re.compile(
    r"[|>][-+\d]{0,3}[ \t]{0,8}(?:#[^\r\n]{0,200})?(?:\r?\n|\r|(?P<escaped>\\[rn\\]))"
)

ITEMS = re.compile(r"(?:[ \t]*-[ \t][^\r\n]*(?:\r?\n|\r|$))+")  # YAML: a list, on the lines below
LIST = re.compile(r"\[[^\[\]\r\n]{0,4000}\]")
MARGIN = re.compile(r"[ \t]*(?:[-?] +)*")
LINE = re.compile(r"([ \t]*)([^\r\n]*)(?:\r?\n|\r|$)")
# The separators of the arguments of a command, or of the items of a list of arguments.
NEXT_WORD = rf"(?:\s{{1,8}}|{QUOTE},\s{{0,8}}(?={QUOTE}))"
FLAG = re.compile(rf"(?<![\w-])--(?P<name>[\w-]{{1,60}}){NEXT_WORD}(?=[^\s-])")
IN_PROSE = {"pass", "pat", "auth"}  # words that may be followed by a colon in plain English as well

# A user and a password: curl -u me:password. Two numbers, or the same word twice, are the user and
# group of an operating system instead.
LOGIN = (
    rf"(?:\$?(?P<open>{QUOTE}))?"
    r"(?!\d{1,10}:\d{1,10}(?![^\s\"'\\])|(?P<user>\w{1,40}):(?P=user)(?![^\s\"'\\]))"
    r"[^\s:]{0,200}:(?!//)"
    r"(?P<password>(?(open)(?:(?!(?P=open))[^\r\n]){1,4000}"
    r"|(?:\"[^\"\r\n]{1,4000}\"|'[^'\r\n]{1,4000}'|[^\s\"']{1,4000})))"
)
LOGIN_FLAG = re.compile(rf"(?<![\w-])--(?:proxy-)?user(?:{NEXT_WORD}|=){LOGIN}")
CURL = re.compile(r"(?i)\bcurl\b(?:\\\r?\n|[^\r\n]){1,2000}")
# curl -sSu me:password, curl -ume:password
CURLS_FLAG = re.compile(rf"(?<![\w-])-[A-Za-z#0-9]{{0,12}}[uU](?:{NEXT_WORD}|=)?{LOGIN}")


def in_settings(text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of the values of settings and flags that are named like secrets."""
    lower = text.lower()
    if not any(word in lower for word in IN_NAMES):
        return
    until = 0
    for match in NAME.finditer(text):
        if match.start() < until or not is_secret(match["name"]):
            continue
        is_prose = (
            "=" not in match["sign"] and not match["quote"] and match["name"].lower() in IN_PROSE
        )
        # A message about a file: "/etc/passwd: no such file".
        before = text[max(0, match.start() - 1) : match.start()]
        is_path = before == "/" and re.fullmatch(r":\s+", match["sign"])
        span = None if is_prose or is_path else _value(text, match.start(), match.end())
        if span is not None:
            yield span
            until = span[1]
    for match in FLAG.finditer(text):
        span = _value(text, match.start(), match.end()) if is_secret(match["name"]) else None
        if span is not None:
            yield span


def in_logins(text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of the passwords in user:password, as curl and similar programs accept it."""
    if "-" not in text:
        return
    yield from (match.span("password") for match in LOGIN_FLAG.finditer(text))
    for command in CURL.finditer(text):
        yield from (match.span("password") for match in CURLS_FLAG.finditer(text, *command.span()))


def _value(text: str, begin: int, at: int) -> tuple[int, int] | None:
    """Return the span of the value that begins at text[at]; its name begins at text[begin]."""
    tag = TAG.match(text, at)
    start = at if tag is None else tag.end()
    block = BLOCK.match(text, start)
    if block is not None:
        return None if block["escaped"] else _lines(text, begin, block.end())
    found = VALUE.match(text, start)
    several = LIST.match(text, start) or ("\n" in text[begin:start] and ITEMS.match(text, start))
    if several and reveals_secret(several[0]):
        rest = VALUE.match(text, several.end()) if several.re is LIST else None
        return start, rest.end("plain") if rest and rest["plain"] else start + len(
            several[0].rstrip()
        )
    if found is None:
        return None
    first, last = found.span("quoted" if found["plain"] is None else "plain")
    if not reveals_secret(text[first:last]):
        return None
    return (first if tag is None else at), last  # a password may begin like a tag


def _lines(text: str, begin: int, at: int) -> tuple[int, int] | None:
    """Return the span of the lines from text[at] whose indentation exceeds that of text[begin].

    Return None if the lines do not reveal a secret.
    """
    margin = MARGIN.match(text, max(text.rfind("\n", 0, begin), text.rfind("\r", 0, begin)) + 1)
    assert margin is not None
    indent = len(margin[0])
    start = end = at
    while end < len(text) and (line := LINE.match(text, end)):
        if line[2] and len(line[1]) <= indent:
            break
        start = line.start(2) if start == at else start
        end = line.end()
    last = start + len(text[start:end].rstrip())
    return (start, last) if reveals_secret(text[start:last]) else None
