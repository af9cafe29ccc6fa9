"""Generate passwords and the forms in which programs write them."""

import base64
import html
import json
import shlex
from collections.abc import Callable, Iterator
from html.entities import html5
from pathlib import Path
from urllib.parse import quote, quote_plus

import yaml
from hypothesis import strategies as st

from tunebook.redaction import redact
from tunebook.redaction.known import COMMON
from tunebook.text_output import quoted

NASTY = "/@#?'\"` ,&%=+;:!$\\|<>[]{}()*~^-_.éß漢😀\t"


def is_password(text: str) -> bool:
    """Return whether a text can be told from an ordinary word wherever it stands."""
    is_plain = (
        text == text.strip()
        and "***" not in text
        and "${" not in text
        and text.lower() not in COMMON
    )
    return (
        is_plain
        and len(set(text)) > 4
        and not text.isdigit()
        and any(c.isascii() and c.isalnum() for c in text)
    )


PASSWORD = st.text("abcXYZ0189" + NASTY, min_size=8, max_size=24).filter(is_password)
NASTY_ONE = "p/a@s#s?w'o\"r d,&%é\\x"


def lower_hex(text: str) -> str:
    """Return the text percent-encoded, with hexadecimal digits in lower case."""
    return "%".join(
        part if i == 0 else part[:2].lower() + part[2:]
        for i, part in enumerate(quote(text, safe="").split("%"))
    )


ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "quote": quote,
    "quote all": lambda text: quote(text, safe=""),
    "sqlalchemy": lambda text: quote(text, safe=" +"),
    "lower hex": lower_hex,
    "quote_plus": quote_plus,
    "quoted twice": lambda text: quote(quote(text, safe=""), safe=""),
    "json": json.dumps,
    "json, unicode": lambda text: json.dumps(text, ensure_ascii=False),
    "json twice": lambda text: json.dumps(json.dumps({"x": text})),
    "json thrice": lambda text: json.dumps(json.dumps(json.dumps(text))),
    "repr": repr,
    "repr of repr": lambda text: repr([repr(text)]),
    "repr of bytes": lambda text: repr(text.encode()),
    "shell": shlex.quote,
    "shell twice": lambda text: shlex.quote(shlex.quote(text)),
    "hydra": quoted,
    "hydra in a shell": lambda text: shlex.quote(f"a.b={quoted(text)}"),
    "yaml": lambda text: yaml.safe_dump({"x": text}),
    "yaml, unicode": lambda text: yaml.safe_dump({"x": text}, allow_unicode=True, width=10_000),
    "html": html.escape,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for addresses": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "basic": lambda text: base64.b64encode(f"somebody:{text}".encode()).decode(),
    "inside base64": lambda text: base64.b64encode(
        json.dumps({"ab": text}, ensure_ascii=False).encode()).decode(),
    "yaml in json": lambda text: json.dumps(yaml.safe_dump({"x": text})),
    "json in an address": lambda text: quote_plus(json.dumps({"x": text})),
}  # fmt: skip


NAMES = {
    character: name
    for name, character in html5.items()
    if name.endswith(";") and len(character) == 1
}
# Ways to write every character as an escape, letters included. Each takes one character.
SPELLINGS: dict[str, Callable[[str], str]] = {
    "unicode": lambda c: json.dumps(c)[1:-1] if ord(c) > 0xFFFF else f"\\u{ord(c):04x}",
    "unicode, upper": lambda c: f"\\U{ord(c):08X}",
    "unicode, braced": lambda c: f"\\u{{{ord(c):x}}}",
    "unicode, doubled": lambda c: "".join(f"\\\\u{int.from_bytes(unit):04X}" for unit in units(c)),
    "bytes": lambda c: "".join(f"\\x{byte:02x}" for byte in c.encode()),
    "octal": lambda c: "".join(f"\\{byte:03o}" for byte in c.encode()),
    "percent, unicode": lambda c: "".join(f"%u{int.from_bytes(unit):04x}" for unit in units(c)),
    "percent": lambda c: "".join(f"%{byte:02x}" for byte in c.encode()),
    "percent twice": lambda c: "".join(f"%25{byte:02X}" for byte in c.encode()),
    "html": lambda c: f"&#{ord(c)};",
    "html, zeros": lambda c: f"&#{ord(c):05};",
    "html, hexadecimal": lambda c: f"&#x{ord(c):X};",
    "html twice": lambda c: f"&amp;#{ord(c)};",
    "html in json": lambda c: f"\\u0026#{ord(c)};",
    "html, names": lambda c: f"&{NAMES[c]}" if c in NAMES else f"&#x{ord(c):x};",
}


def units(character: str) -> list[bytes]:
    whole = character.encode("utf-16-be")
    return [whole[i : i + 2] for i in range(0, len(whole), 2)]


def grouped(digits: str, before: str, between: str, bytes_each: int = 1) -> str:
    """Return hexadecimal digits in groups."""
    size = 2 * bytes_each
    return between.join(before + digits[i : i + size] for i in range(0, len(digits), size))


def in_lines(text: str, width: int, end: str = "\n") -> str:
    return end.join(text[i : i + width] for i in range(0, len(text), width))


# Ways to write a text's bytes as digits or letters, which may be part of a longer text.
PACKINGS: dict[str, Callable[[bytes], str]] = {
    "hex": lambda data: data.hex(),
    "hex, upper": lambda data: data.hex().upper(),
    "hex with colons": lambda data: grouped(data.hex(), "", ":"),
    "hex in words": lambda data: grouped(data.hex().upper(), "", " ", 2),
    "hex of C": lambda data: grouped(data.hex(), "0x", ", "),
    "hex of C, escaped": lambda data: grouped(data.hex(), "\\\\x", ""),
    "hex in lines": lambda data: in_lines(data.hex(), 32),
    "hex in lines of json": lambda data: json.dumps(in_lines(grouped(data.hex(), "", "-"), 30)),
    "base64": lambda data: base64.b64encode(data).decode(),
    "base64 for addresses": lambda data: base64.urlsafe_b64encode(data).decode().rstrip("="),
    "base64 of MIME": lambda data: base64.encodebytes(data).decode(),
    "base64 of PEM": lambda data: in_lines(base64.b64encode(data).decode(), 64, "\r\n"),
    "base64 in YAML": lambda data: "    " + in_lines(base64.b64encode(data).decode(), 20, "\n    "),
    "base64 of MIME in json": lambda data: json.dumps(base64.encodebytes(data).decode()),
    "base64 of MIME in json twice": lambda data: json.dumps(
        json.dumps(base64.encodebytes(data).decode())),
    "base64 in an address": lambda data: quote(base64.b64encode(data).decode(), safe=""),
    "base64 in a comment": lambda data: "# " + in_lines(
        base64.b64encode(data).decode(), 60, "\n# "),
    "base64 in joined strings": lambda data: '"' + in_lines(
        base64.b64encode(data).decode(), 20, '" +\n  "') + '"',
    "base32": lambda data: base64.b32encode(data).decode(),
    "base32 in lines": lambda data: in_lines(base64.b32encode(data).decode(), 40),
}  # fmt: skip


def forms_of(secret: str) -> list[str]:
    """Return the texts that must not appear where a secret was hidden."""
    found = {
        encode(secret).strip("'\"\n")
        for encode in (str, quote, quote_plus, ENCODINGS["quote all"], lower_hex)
    }
    inner = {
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
    }
    return [
        *found,
        *inner,
        ENCODINGS["base64"](secret).rstrip("="),
        ENCODINGS["basic"](secret).rstrip("="),
    ]


def known(**environment: str) -> Callable[[str], str]:
    return lambda text: redact(text, environment)


def files_with(secret: str, folder: Path) -> list[str]:
    """Return every file below a folder that contains a secret in some form.

    Links and the files that a database keeps for itself are included.
    """
    forms = [form.encode() for form in forms_of(secret)]
    return [str(path) for path in files(folder) if any(form in path.read_bytes() for form in forms)]


def files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path
