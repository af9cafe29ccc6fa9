"""Run data.py, from its settings to its page."""

import sys
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunebook.config.compose import with_choices
from tunebook.config.validation import SettingError
from tunebook.data.audit import ALL, Audit, audit
from tunebook.data.audit_findings import findings
from tunebook.data.cleaning import clean
from tunebook.data.download import DataError
from tunebook.data.encoded import EncodedImages, ImageFiles
from tunebook.data.inspection import inspect_files
from tunebook.data.listing import SPLITS, list_folder, list_table
from tunebook.data.near_duplicates import find_near_duplicates
from tunebook.data.splits import Division, splits_of
from tunebook.report.data_page import summary, write
from tunebook.report.requested_audit import RequestedAudit
from tunebook.text_output import bytes_text, counted, printable
from tunebook.tracking.store import folder_name

MAX_CLASSES = 20  # in the printed table
PLAIN_WIDTH = 160  # characters per line without a terminal


def audit_data(requested: RequestedAudit) -> None:
    """Print what is in the data set and what is wrong with it, and write the page.

    Raises DataError for a folder or a table that can't be used.
    """
    found, images = audited(requested)
    drawn = with_default_split(found)
    place = requested.root or requested.table
    assert place is not None
    name = place.absolute().stem if requested.table else place.absolute().name
    sentences = findings(found, drawn)
    _print(found, sentences)
    folder = requested.outputs / "reports" / folder_name(f"data-{name}")
    print(f"\nreport  {printable(str(write(found, images, sentences, name, folder)))}")


def audited(requested: RequestedAudit) -> tuple[Audit, EncodedImages]:
    """Return the audit of the data set, and the reader of its images."""
    if requested.table is not None:
        listing = list_table(requested.table)
    else:
        assert requested.root is not None
        listing = list_folder(requested.root)
    inspection = inspect_files(listing, requested.cache_root)
    images = ImageFiles(listing.folder, listing.paths, inspection.digests)
    found = audit(listing, inspection)
    if requested.near_duplicates:
        near = find_near_duplicates(found.distinct(), images.read, requested.near_threshold)
        found = found.with_near_duplicates(near)
    return found, images


def with_default_split(found: Audit) -> Audit | None:
    """Return the audit with the splits that a training with default settings draws.

    None if the data set states all of its splits, or can't be divided.
    """
    listing, inspection = found.listing, found.inspection
    if set(listing.splits or ()) == set(SPLITS):
        return None
    usable = [n for n in range(len(listing.paths)) if n not in inspection.problems]
    settings = with_choices({"data": "image_folder"}).data
    division = Division(settings.val_fraction, settings.test_fraction, settings.split_seed)
    splits = np.full(len(listing.paths), "", dtype="<U5")
    try:
        splits[usable] = splits_of(listing.part(usable), division)
    except (SettingError, DataError):  # such as of very small classes, which is another finding
        return None
    return replace(audit(listing, inspection, splits), near=found.near)


def clean_cache(requested: RequestedAudit) -> None:
    """Remove decoded images and inspections, and say how much that was."""
    cleaned = clean(requested.cache_root)
    where = printable(str(requested.cache_root))
    print(f"{where}: removed {counted(cleaned.files, 'file')}, {bytes_text(cleaned.bytes)}")
    for path, reason in cleaned.kept:
        print(f"{printable(path.name)}: kept, since it {reason}")


def _print(found: Audit, sentences: list[str]) -> None:
    whole = not sys.stdout.isatty()  # one line per sentence, for programs that read them
    width = PLAIN_WIDTH if whole else None
    console = Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)
    console.print(Text(summary(found)), soft_wrap=whole)
    console.print()
    console.print(_table(found))
    if len(found.counts) > MAX_CLASSES:
        console.print(f"... and {len(found.counts) - MAX_CLASSES:,} more classes")
    console.print()
    for sentence in sentences:
        console.print(Text(f"- {sentence}"), soft_wrap=whole)
    if not sentences:
        console.print("No problems were found.")


def _table(found: Audit) -> Table:
    """Return the number of images of each of the largest classes in each split."""
    table = Table(box=None, pad_edge=False)
    table.add_column("class", overflow="fold")
    for split in found.splits:
        table.add_column("images" if split == ALL else split, justify="right")
    shown = np.argsort(-found.counts.sum(axis=1), kind="stable")[:MAX_CLASSES]
    if len(found.counts) <= MAX_CLASSES:
        shown = np.arange(len(found.counts))
    for label in shown:
        counts = (f"{count:,}" for count in found.counts[label])
        table.add_row(printable(found.listing.class_names[label]), *counts)
    return table
