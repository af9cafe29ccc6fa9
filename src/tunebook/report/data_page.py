"""Write the page about a data set, and all that was found in it as CSV.

The page is self-contained: its pictures are in it.
"""

import base64
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from tunebook.config.validation import InputError
from tunebook.data.audit import ALL, Audit
from tunebook.data.encoded import EncodedImages
from tunebook.data.thumbnails import classes_to_show, contact_sheets, thumbnail
from tunebook.redaction import redact
from tunebook.report.html import render
from tunebook.report.pictures.data import pictures_of_data
from tunebook.run_folder import write_atomically
from tunebook.text_output import bytes_text, counted, csv_cell

PAGE, PROBLEMS = "report.html", "problems.csv"
MAX_SHEETS = 36  # classes with a contact sheet
MAX_ROWS = 100  # in the tables of the page; the CSV has all of them
MAX_PAIRS = 24  # of each kind
SIDE = 128  # pixels of the images of a pair
QUALITY = 80  # of JPEG files in the page
COLUMNS = (
    "problem", "image", "class", "split", "other image", "other class", "other split", "detail",
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """Hold two images that are shown side by side."""

    first: Markup
    second: Markup
    captions: tuple[str, str]


def write(
    audit: Audit, images: EncodedImages, sentences: Sequence[str], name: str, folder: Path
) -> Path:
    """Write the page and the CSV into `folder`, and return the path of the page.

    They replace those of an earlier audit. name: of the data set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = page(audit, images, sentences, name)
    write_atomically(folder / PROBLEMS, redact(_csv(audit)).encode(errors="replace"))
    write_atomically(folder / PAGE, text.encode(errors="replace"))
    return folder / PAGE


def summary(audit: Audit) -> str:
    """Return in a sentence how many images of which sizes there are."""
    classes = len(audit.counts)
    text = (
        f"{counted(int(audit.counts.sum()), 'image')} of "
        f"{counted(classes, 'class') if classes == 1 else f'{classes:,} classes'}, "
        f"{bytes_text(audit.bytes())}"
    )
    widths, heights = audit.widths(), audit.heights()
    if audit.sizes() == 1:
        return f"{text}; all are {widths.lowest} x {heights.lowest} pixels"
    sides = "; ".join(
        f"{name} {one.lowest:,} to {one.highest:,} pixels, median {one.median:,.0f}"
        for name, one in (("width", widths), ("height", heights))
    )
    return f"{text}; {audit.sizes():,} different sizes: {sides}" if audit.sizes() else text


def page(audit: Audit, images: EncodedImages, sentences: Sequence[str], name: str) -> str:
    """Return the page as text; names of files and classes are escaped."""
    problems = audit.inspection.problems
    totals = audit.counts.sum(axis=1)
    chosen = classes_to_show(totals.tolist(), MAX_SHEETS)
    return render(
        "data_page.html",
        name=redact(name),
        summary=summary(audit),
        sentences=[redact(sentence) for sentence in sentences],
        splits=["images" if split == ALL else split for split in audit.splits],
        rows=[(_class(audit, label), audit.counts[label].tolist()) for label in chosen],
        classes=len(audit.counts),
        problems=[
            (redact(audit.name(position)), reason)
            for position, reason in list(problems.items())[:MAX_ROWS]
        ],
        more_problems=max(0, len(problems) - MAX_ROWS),
        pictures=[(picture, Markup(picture.svg())) for picture in pictures_of_data(audit)],
        sheets=[
            (_class(audit, label), int(totals[label]), embedded(sheet))
            for label, sheet in contact_sheets(audit.listing, audit.inspection, images.read, chosen)
        ],
        pairs=list(_shown_pairs(audit, images)),
    )


def embedded(image: Image.Image) -> Markup:
    """Return the address of an image for a page, which holds the image itself as JPEG."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=QUALITY)
    return Markup(f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}")


def _class(audit: Audit, label: int) -> str:
    return redact(audit.listing.class_names[label])


def _pairs(audit: Audit) -> Iterator[tuple[str, str, Sequence[tuple[int, int]]]]:
    """Yield each kind of pair of images: its title, a sign between them, and the pairs."""
    labels = audit.listing.labels
    yield (
        "The same content, different classes",
        "=",
        [
            (group[0], next(i for i in group if labels[i] != labels[group[0]]))
            for group in audit.conflicts()
        ],
    )
    for leak in audit.leaks():
        yield f"Copies of {leak.other} images among {leak.split} images", "=", leak.pairs
    for leak in audit.near_leaks():
        title = f"Near duplicates of {leak.other} images among {leak.split} images"
        yield title, "~", leak.pairs
    if audit.near is not None:
        first, second = audit.near.first.tolist(), audit.near.second.tolist()
        near = list(zip(first, second, strict=True))
        different = [(one, other) for one, other in near if labels[one] != labels[other]]
        yield "Near duplicates of different classes", "~", different
        yield "Near duplicates", "~", near
    yield "Copies", "=", [(group[0], other) for group in audit.copies for other in group[1:]]


def _shown_pairs(audit: Audit, images: EncodedImages) -> Iterator[tuple[str, int, str, list[Pair]]]:
    """Yield each kind of pair: its title, the number of pairs, a sign, and the first pairs."""
    for title, sign, pairs in _pairs(audit):
        shown: list[Pair] = []
        for one, other in pairs[:MAX_PAIRS]:
            try:
                first, second = (
                    embedded(thumbnail(images.read(position), SIDE)) for position in (one, other)
                )
            except InputError:  # the file has changed since it was inspected
                continue
            captions = (_caption(audit, one), _caption(audit, other))
            shown.append(Pair(first, second, captions))
        if pairs:
            yield title, len(pairs), sign, shown


def _caption(audit: Audit, position: int) -> str:
    split = audit.split_name(position)
    where = "" if split == ALL else f", {split}"
    return redact(f"{audit.name(position)} ({audit.class_name(position)}{where})")


def _csv(audit: Audit) -> str:
    """Return one line for each image that is unusable, a copy, a near duplicate or of one colour.

    Cells are escaped, so that a spreadsheet does not read any of them as a formula.
    """
    text = io.StringIO()
    out = csv.writer(text)
    out.writerow(COLUMNS)
    out.writerows([csv_cell(value) for value in row] for row in _rows(audit, audit.listing.paths))
    return text.getvalue()


def _rows(audit: Audit, paths: Sequence[str]) -> Iterator[list[Any]]:
    def described(position: int) -> list[str]:
        label = int(audit.listing.labels[position])
        return [paths[position], audit.listing.class_names[label], audit.split_name(position)]

    nothing = ["", "", ""]
    for position, reason in audit.inspection.problems.items():
        yield ["unusable", *described(position), *nothing, reason]
    for group in audit.copies:
        for other in group[1:]:
            yield ["copy", *described(other), *described(group[0]), ""]
    if audit.near is None:
        return
    near = audit.near
    for one, other, bits in zip(
        near.first.tolist(), near.second.tolist(), near.distances.tolist(), strict=True
    ):
        yield ["near duplicate", *described(one), *described(other), f"{bits} of 64 bits differ"]
    for position in near.blank:
        yield ["one colour", *described(position), *nothing, ""]
    for position, reason in near.failed.items():
        yield ["not compared", *described(position), *nothing, reason]
