"""Decode the escapes in a text, and map each part of the result to its position in the text.

A character may be escaped even if it need not be: `\\u0068`, `%68` and `&#104;` are all an h. So
a secret is searched for in the text itself, then with one level of escapes decoded, then with two
levels, and so on.
"""

import bisect
import re
from collections.abc import Callable, Iterator
from html.entities import html5

H = "[0-9A-Fa-f]"
OCTAL = r"(?:\\2[0-7]{2})"  # a further byte of a UTF-8 character
MAX_LEVELS = 4  # of escapes in escapes
SIMPLE = {
    "n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v", "a": "\a",
    "\\": "\\", "/": "/", '"': '"', "'": "'",
}  # fmt: skip


def _bytes_after(mark: str) -> str:
    """Return a regular expression for the escaped bytes of one UTF-8 character, or one other byte.

    mark: the regular expression for the prefix of each byte's two digits.
    """
    more = f"(?:{mark}[89abAB]{H})"
    longer = rf"{mark}[cdCD]{H}{more}|{mark}[eE]{H}{more}{{2}}|{mark}[fF]{H}{more}{{3}}"
    return rf"{longer}|{mark}{H}{{2}}"


ESCAPE = re.compile(
    rf"(?P<bytes>{_bytes_after(re.escape(chr(92)) + 'x')}|{_bytes_after('%')})"
    rf"|(?P<units>[\\%]u[dD][89abAB]{H}{{2}}[\\%]u[dD][c-fC-F]{H}{{2}}|[\\%]u{H}{{4}})"
    rf"|\\(?:U(?P<long>{H}{{8}})|[ux]\{{(?P<braced>{H}{{1,6}})\}})"
    rf"|(?P<octal>\\3[0-3][0-7]{OCTAL}|\\3[45][0-7]{OCTAL}{{2}}"
    rf"|\\3[67][0-7]{OCTAL}{{3}}|\\[0-3][0-7]{{2}})"
    r"|\\(?P<simple>[nrtbfva\\/\"'])"
    rf"|&(?:\#(?P<decimal>\d{{1,9}});?|\#[xX](?P<hex>{H}{{1,8}});?|(?P<name>[A-Za-z]\w{{1,31}});)"
)


def _meaning(found: re.Match[str]) -> str | None:
    """Return the characters that an escape stands for, or None if it stands for none."""
    kind = found.lastgroup or ""
    escape = found[kind]
    try:
        if kind == "bytes":
            return _decoded(bytes.fromhex(re.sub(r"\\x|%", "", escape)))
        if kind == "units":
            units = bytes.fromhex(re.sub(r"[\\%]u", "", escape))
            return units.decode("utf-16-be", errors="surrogatepass")
        if kind == "octal":
            return _decoded(bytes(int(digits, 8) for digits in escape.split("\\")[1:]))
        if kind == "simple":
            return SIMPLE[escape]
        if kind == "name":
            return html5.get(f"{escape};")
        return chr(int(escape, 10 if kind == "decimal" else 16))
    except (ValueError, OverflowError):
        return None


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


class View:
    """Hold a text with decoded escapes, and map its positions to the view that it was made from.

    For each replaced piece, `_begins` holds where it begins in this view. `_marks` holds where it
    ends in this view, and where it began and ended in the inner view.
    """

    def __init__(self, text: str, inner: "View | None" = None) -> None:
        self.text = text
        self._inner = inner
        self._begins: list[int] = []
        self._marks: list[tuple[int, int, int]] = []

    def replaced(
        self, pattern: re.Pattern[str], meaning: Callable[[re.Match[str]], str | None]
    ) -> "View | None":
        """Return a new view in which each match is replaced by its meaning.

        A match whose meaning is None stays as it is. Return None if nothing is replaced.
        """
        view = View("", self)
        pieces: list[str] = []
        at = length = 0
        for found in pattern.finditer(self.text):
            new = meaning(found)
            if new is None:
                continue
            length += found.start() - at
            pieces += [self.text[at : found.start()], new]
            at = found.end()
            view._begins.append(length)
            view._marks.append((length + len(new), found.start(), at))
            length += len(new)
        view.text = "".join([*pieces, self.text[at:]])
        return view if pieces else None

    def inside(self, start: int, end: int) -> tuple[int, int]:
        """Return the positions of the characters start to end in the inner view."""
        return self._place(start)[0], self._place(end - 1)[1]

    def origin(self, span: tuple[int, int]) -> tuple[int, int]:
        """Return the position of a span of this view in the original text."""
        view = self
        while view._inner is not None:
            span, view = view.inside(*span), view._inner
        return span

    def _place(self, at: int) -> tuple[int, int]:
        """Return where the character at `at` begins and ends in the inner view."""
        number = bisect.bisect_right(self._begins, at) - 1
        if number < 0:
            return at, at + 1
        new_end, start, end = self._marks[number]
        if at < new_end:
            return start, end
        return end + at - new_end, end + at - new_end + 1


def readings(text: str) -> Iterator[View]:
    """Yield the text itself, then the text with one more level of escapes undone each time."""
    view: View | None = View(text)
    for _ in range(MAX_LEVELS + 1):
        if view is None:
            return
        yield view
        view = view.replaced(ESCAPE, _meaning)
