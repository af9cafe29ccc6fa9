"""A text as it reads once its escapes are undone, and where each part of that stands in the text.

Who escapes a character need not have had to: `\\u0068`, `%68` and `&#104;` are an h as well. So a
secret is looked for in the text, and in what it reads as once one level of escapes is undone, two
levels, and so on.
"""

import bisect
import re
from collections.abc import Callable, Iterator
from html.entities import html5

H = "[0-9A-Fa-f]"
OCTAL = r"(?:\\2[0-7]{2})"  # of a byte that goes on with a character
MOST_LEVELS = 4  # of escapes in escapes
SIMPLE = {
    "n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v", "a": "\a",
    "\\": "\\", "/": "/", '"': '"', "'": "'",
}  # fmt: skip


def _bytes_after(mark: str) -> str:
    """Return a regular expression for the bytes of one character in UTF-8, or for one other byte."""
    more = f"(?:{mark}[89abAB]{H})"
    longer = rf"{mark}[cdCD]{H}{more}|{mark}[eE]{H}{more}{{2}}|{mark}[fF]{H}{more}{{3}}"
    return rf"{longer}|{mark}{H}{{2}}"


ESCAPE = re.compile(
    rf"(?P<bytes>{_bytes_after(re.escape(chr(92)) + 'x')}|{_bytes_after('%')})"
    rf"|(?P<units>[\\%]u[dD][89abAB]{H}{{2}}[\\%]u[dD][c-fC-F]{H}{{2}}|[\\%]u{H}{{4}})"
    rf"|\\(?:U(?P<long>{H}{{8}})|[ux]\{{(?P<braced>{H}{{1,6}})\}})"
    rf"|(?P<octal>\\3[0-3][0-7]{OCTAL}|\\3[45][0-7]{OCTAL}{{2}}|\\3[67][0-7]{OCTAL}{{3}}|\\[0-3][0-7]{{2}})"
    r"|\\(?P<simple>[nrtbfva\\/\"'])"
    rf"|&(?:\#(?P<decimal>\d{{1,9}});?|\#[xX](?P<hex>{H}{{1,8}});?|(?P<name>[A-Za-z]\w{{1,31}});)"
)


def _meaning(found: re.Match[str]) -> str | None:
    """Return the characters that an escape stands for; None where it stands for none."""
    kind = found.lastgroup or ""
    told = found[kind]
    try:
        if kind == "bytes":
            return _decoded(bytes.fromhex(re.sub(r"\\x|%", "", told)))
        if kind == "units":
            units = bytes.fromhex(re.sub(r"[\\%]u", "", told))
            return units.decode("utf-16-be", errors="surrogatepass")
        if kind == "octal":
            return _decoded(bytes(int(digits, 8) for digits in told.split("\\")[1:]))
        if kind == "simple":
            return SIMPLE[told]
        if kind == "name":
            return html5.get(f"{told};")
        return chr(int(told, 10 if kind == "decimal" else 16))
    except (ValueError, OverflowError):
        return None


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


class View:
    """What a text reads as. Each mark: where in it a piece begins, its length, and what it was."""

    def __init__(self, text: str, inner: "View | None" = None) -> None:
        self.text = text
        self._inner = inner
        self._begins: list[int] = []
        self._marks: list[tuple[int, int, int]] = []

    def replaced(
        self, pattern: re.Pattern[str], meaning: Callable[[re.Match[str]], str | None]
    ) -> "View | None":
        """Return the view of this one with another text in place of what matches; None where nothing does."""
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
        """Return where in the view that this one was made of its characters start to end stand."""
        return self._place(start)[0], self._place(end - 1)[1]

    def origin(self, span: tuple[int, int]) -> tuple[int, int]:
        """Return where in the text itself a span of this view stands."""
        view = self
        while view._inner is not None:
            span, view = view.inside(*span), view._inner
        return span

    def _place(self, at: int) -> tuple[int, int]:
        """Return where the character at `at` begins and ends."""
        number = bisect.bisect_right(self._begins, at) - 1
        if number < 0:
            return at, at + 1
        new_end, start, end = self._marks[number]
        if at < new_end:
            return start, end
        return end + at - new_end, end + at - new_end + 1


def readings(text: str) -> Iterator[View]:
    """Yield the text itself, and what it reads as with more and more levels of escapes undone."""
    view: View | None = View(text)
    for _ in range(MOST_LEVELS + 1):
        if view is None:
            return
        yield view
        view = view.replaced(ESCAPE, _meaning)
