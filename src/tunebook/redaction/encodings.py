"""Make regular expressions that match a text in every form in which programs write it."""

import re

RUNS = re.compile(r"[A-Za-z0-9_]+|[\\'\"]+|\s+|.", re.DOTALL)
# JSON and shells write backslashes, and an address may hold what they wrote, in encoded form.
BACKSLASH = r"(?:\\|%(?:25){0,3}5[cC])"
# One character of what shells, YAML, CSV, JSON and HTML write for a quote inside quotes.
QUOTES = (
    rf"(?:{BACKSLASH}|['\"]|%(?:25){{0,3}}2[27]"
    r"|&(?:amp;){0,2}(?:quot|apos|#0{0,4}3[49]|#x0{0,4}2[27]);|\\u002[27]|\\x2[27])"
)
ESCAPES = BACKSLASH + "{0,8}"  # the number that three levels of quoting put before a character
ESCAPE = BACKSLASH + "{1,8}"
PERCENT = "%(?:25){0,3}"
HTML = {"&": "amp", "<": "lt", ">": "gt"}


def in_any_form(text: str) -> str:
    """Return a regular expression for `text`, with each character in any of its forms.

    Every repetition in it is bounded.
    """
    return "".join(map(_form, RUNS.findall(text)))


def _form(run: str) -> str:
    if run.isascii() and (run.isalnum() or "_" in run):
        return run
    first = run[0]
    if first in "\\'\"":
        return f"{QUOTES}{{{len(run)},{16 * len(run) + 16}}}?"
    escaped = "|".join(form for character in dict.fromkeys(run) for form in _escaped(character))
    if first.isspace():
        one = rf"{ESCAPES}(?:\s|{escaped})|\+|{ESCAPE}[abfnrtvNLP_]"
        return f"(?:{one}){{1,{4 * len(run) + 12}}}"
    one = f"{ESCAPES}(?:{escaped}|{re.escape(first)})"
    if first == "$":
        one = rf"\$\$|{one}"
    elif ord(first) < 32 or ord(first) == 127:
        one = f"{one}|{ESCAPE}[abe0]"
    return f"(?:{one})"


def _escaped(character: str) -> list[str]:
    """Return the forms in which addresses, JSON, Python, YAML and HTML escape a character.

    Some of them begin with a backslash, which is left out here: `_form` allows backslashes before
    all of them, and a shorter regular expression is compiled faster.
    """
    code = ord(character)
    encoded = [_digits(f"{byte:02x}") for byte in character.encode(errors="surrogatepass")]
    units = character.encode("utf-16-be", errors="surrogatepass")
    words = [_digits(units[i : i + 2].hex()) for i in range(0, len(units), 2)]
    name = f"|{HTML[character]}" if character in HTML else ""
    forms = [
        "".join(f"{PERCENT}{byte}" for byte in encoded),
        f"u{f'{ESCAPES}u'.join(words)}|U{_digits(f'{code:08x}')}",
        f"x{f'{ESCAPES}x'.join(encoded)}",
        f"&(?:amp;){{0,2}}(?:#0{{0,4}}(?:{code}|x0{{0,4}}{_digits(f'{code:x}')}){name});",
    ]
    if len(encoded) > 1 and code < 256:
        forms.append(f"(?:x|%){_digits(f'{code:02x}')}")
    return forms


def _digits(digits: str) -> str:
    """Return a regular expression for hexadecimal digits in lower or upper case."""
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in digits)
