"""A text in every form in which programs write it: as a regular expression, and in base64."""

import base64
import re

RUNS = re.compile(r"[A-Za-z0-9_]+|\\+|\s+|.", re.DOTALL)
ESCAPES = r"\\{0,8}"  # as many backslashes as quoting three times puts before a character
HTML = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
# What a shell, YAML and CSV make of a quote inside quotes.
IN_QUOTES = {"'": ("''", r"\\{0,8}'\"'\"'", r"\\{0,8}'\\{1,8}''"), '"': ('""',), "$": (r"\$\$",)}
SHORTEST_CORE = 6  # characters of base64


def in_any_form(text: str) -> str:
    """Return a regular expression for `text`, each character in any of its forms. Every repetition in it is bounded."""
    return "".join(map(_form, RUNS.findall(text)))


def _form(run: str) -> str:
    if run.isascii() and (run.isalnum() or "_" in run):
        return run
    first = run[0]
    if first == "\\":
        return rf"(?:\\{{{len(run)},{8 * len(run)}}}|(?i:%(?:25){{0,3}}5c){{{len(run)}}})"
    forms = {form for character in dict.fromkeys(run) for form in _escaped(character)}
    if first.isspace():
        forms |= {rf"{ESCAPES}\s", r"\+", r"\\{1,8}[abfnrtvNLP_]"}
        return f"(?:{'|'.join(sorted(forms))}){{1,{4 * len(run) + 12}}}"
    forms |= {ESCAPES + re.escape(run), *IN_QUOTES.get(first, ())}
    if ord(first) < 32 or ord(first) == 127:
        forms.add(r"\\{1,8}[abe0]")
    return f"(?:{'|'.join(sorted(forms, key=len, reverse=True))})"


def _escaped(character: str) -> list[str]:
    """Return how addresses, JSON, Python, YAML and HTML write a character that they do not write as it is."""
    code = ord(character)
    encoded = character.encode(errors="surrogatepass")
    units = character.encode("utf-16-be", errors="surrogatepass")
    forms = [
        "".join(f"%(?:25){{0,3}}{byte:02x}" for byte in encoded),
        "".join(rf"\\{{1,8}}u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2)),
        "".join(rf"\\{{1,8}}x{byte:02x}" for byte in encoded),
        rf"\\{{1,8}}U{code:08x}",
        f"&#0{{0,4}}{code};",
        f"&#x0{{0,4}}{code:x};",
    ]
    if code < 256:
        forms += [rf"\\{{1,8}}x{code:02x}", f"%{code:02x}"]
    if character in HTML:
        forms.append(f"&(?:amp;){{0,2}}{HTML[character]};")
    return [f"(?i:{form})" for form in forms]


def base64_cores(text: str) -> tuple[str, ...]:
    """Return what is the same in base64 of every text that holds `text`, one for each place in a group of three bytes."""
    data = text.encode(errors="surrogatepass")
    cores: dict[str, None] = {}
    for shift in range(3):
        whole = base64.b64encode(bytes(shift) + data).decode().rstrip("=")
        first = (0, 2, 3)[shift]
        exact = (shift + len(data)) * 8 // 6  # characters that no following byte changes
        core = whole[first:exact]
        if len(core) >= SHORTEST_CORE:
            cores |= {core: None, core.replace("+", "-").replace("/", "_"): None}
    return tuple(cores)
