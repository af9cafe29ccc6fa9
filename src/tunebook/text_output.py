"""Make untrusted text (names of files or runs) safe for terminals, tables and command lines."""

import re
import unicodedata

# Spreadsheets read a cell as a formula if it begins with one of these or their full-width forms.
FORMULA_STARTS = tuple(
    "=+-@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}"
    "\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}"
)
MAX_LABEL = 24  # characters of a name in a table or a picture
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", re.ASCII)


def printable(text: str) -> str:
    r"""Return the text on one line, with escapes for what a terminal would obey or cannot show.

    Control characters become escapes such as `\x1b` and `\n`. So do characters that are invisible
    or change the direction of text (`\u202e`). A byte of a file name that is not UTF-8 becomes an
    escape such as `\xff`.
    """
    return "".join(char if _is_visible(char) else _escaped(char) for char in text)


def clipped(text: str, longest: int = MAX_LABEL) -> str:
    """Return the printable text, without its middle if it is longer than `longest`."""
    shown = printable(text)
    if len(shown) <= longest:
        return shown
    end = longest // 2
    return f"{shown[: longest - end - 1]}…{shown[-end:]}"


def counted(count: int, noun: str) -> str:
    """Return the number with its noun: `1 run`, `3 runs`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def bytes_text(count: int) -> str:
    """Return a number of bytes as text for a user, such as "1.2 GB"."""
    size, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB", "PB", "EB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:,.3g} {unit}" if size < 1000 else f"{size:,.0f} {unit}"


def quoted(text: str) -> str:
    """Return the text in quotes, so that Hydra's command line accepts it whatever it contains.

    Backslashes are doubled only before a quote, because Hydra unescapes them only there.
    """
    escaped = re.sub(r'(\\*)"', lambda found: found[1] * 2 + '\\"', text)
    return '"' + re.sub(r"(\\+)$", r"\1\1", escaped) + '"'


def csv_cell(value: object) -> object:
    """Return the value as a cell of a CSV file that a spreadsheet shows but does not evaluate.

    Text is made printable. If it begins like a formula and is not a number, it gets an apostrophe
    in front, which tells spreadsheets that it is text. Anything that is not text stays as it is.
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    is_formula = text.lstrip().startswith(FORMULA_STARTS) and not NUMBER.fullmatch(text)
    return f"'{text}" if is_formula or value.startswith(("\t", "\r", "\n")) else text


def _is_visible(char: str) -> bool:
    return char.isprintable() or unicodedata.category(char) == "Zs"


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # how Python keeps a byte that it could not decode
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()
