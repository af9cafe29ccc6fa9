"""Express what an audit of a data set found in sentences that say what to do about it."""

from collections.abc import Iterator, Sequence

import numpy as np

from tunebook.data.audit import Audit, Leak
from tunebook.text_output import counted, printable

FEW_IMAGES = 10  # of a class to train on
IMBALANCE = 3  # the largest class has so many times the images of the smallest
SHOWN = 3  # examples in a sentence
DO_NOT_DIVIDE = (
    "give the copies one value in the column `group` of a table (data=image_table), or remove them"
)
TOO_GOOD = "figures on them would be too good"


def findings(audit: Audit, drawn: Audit | None = None) -> list[str]:
    """Return the findings in sentences, the worst first; an empty list if there are none.

    drawn: the audit with the splits that a training with default settings would draw. The findings
    about images in two splits are then about these.
    """
    divided, is_default = drawn or audit, drawn is not None
    return [
        *_conflicts(audit),
        *_leaks(divided, is_default),
        *_near_leaks(divided, is_default),
        *_unusable(audit),
        *_missing_classes(audit),
        *_small_classes(audit),
        *_imbalance(audit),
        *_near_conflicts(audit),
        *_copies(audit),
        *_near(audit),
        *_blank(audit),
        *_search(audit),
    ]


def _conflicts(audit: Audit) -> Iterator[str]:
    groups = audit.conflicts()
    if groups:
        examples = _examples([_with_classes(audit, group) for group in groups])
        yield (
            f"{counted(sum(map(len, groups)), 'file')} in {counted(len(groups), 'group')} have the "
            f"same content but different classes ({examples}): at most one of them is right; "
            "correct or remove the others."
        )


def _leaks(audit: Audit, is_default: bool) -> Iterator[str]:
    for leak in audit.leaks():
        verb = (
            f"is a copy of a {leak.other} image"
            if len(leak.pairs) == 1
            else f"are copies of {leak.other} images"
        )
        yield (
            f"{_part(audit, leak, is_default)} {verb} "
            f"({_pairs(audit, leak.pairs, '=')}): {TOO_GOOD}; {_separate(audit, leak)}."
        )


def _near_leaks(audit: Audit, is_default: bool) -> Iterator[str]:
    for leak in audit.near_leaks():
        verb = (
            f"looks nearly the same as a {leak.other} image"
            if len(leak.pairs) == 1
            else f"look nearly the same as {leak.other} images"
        )
        yield (
            f"{_part(audit, leak, is_default)} {verb} "
            f"({_pairs(audit, leak.pairs, '~')}): {TOO_GOOD}; look at the pairs, and "
            f"{_separate(audit, leak)}."
        )


def _part(audit: Audit, leak: Leak, is_default: bool) -> str:
    column = audit.splits.index(leak.split)
    start = "With the default split, " if is_default and not _are_stated(audit, leak) else ""
    total = int(audit.counts[:, column].sum())
    return f"{start}{len(leak.pairs):,} of {total:,} {leak.split} images"


def _are_stated(audit: Audit, leak: Leak) -> bool:
    return {leak.split, leak.other} <= set(audit.listing.splits or ())


def _separate(audit: Audit, leak: Leak) -> str:
    if _are_stated(audit, leak):
        return "remove them from one of the two splits"
    return DO_NOT_DIVIDE


def _unusable(audit: Audit) -> Iterator[str]:
    problems = audit.inspection.problems
    if problems:
        examples = _examples([f"{audit.name(i)} {reason}" for i, reason in problems.items()])
        yield (
            f"{counted(len(problems), 'file')} of {len(audit.listing.paths):,} can't be used "
            f"({examples}): repair or remove them; data.corrupt=skip leaves them out."
        )


def _missing_classes(audit: Audit) -> Iterator[str]:
    for column, split in enumerate(audit.splits):
        missing = np.flatnonzero(audit.counts[:, column] == 0)
        if len(missing):
            names = _examples([_class(audit, int(label)) for label in missing])
            kind = "" if split == "all" else f"{split} "
            yield (
                f"{_classes(len(missing))} no {kind}image ({names}): each class needs images "
                "in every split; add some, or remove the class."
            )


def _small_classes(audit: Audit) -> Iterator[str]:
    sizes = audit.counts[:, 0]
    few = np.flatnonzero((sizes > 0) & (sizes < FEW_IMAGES))
    if len(few):
        few = few[np.argsort(sizes[few], kind="stable")]
        names = _examples([f"{_class(audit, int(label))}: {sizes[label]}" for label in few])
        yield (
            f"{_classes(len(few))} fewer than {FEW_IMAGES} {_trained(audit)} ({names}): "
            "a network hardly learns them; add images, or remove the class."
        )


def _imbalance(audit: Audit) -> Iterator[str]:
    sizes = audit.counts[:, 0]
    present = np.flatnonzero(sizes)
    if len(present) < 2:
        return
    least, most = (int(present[f(sizes[present])]) for f in (np.argmin, np.argmax))
    ratio = sizes[most] / sizes[least]
    if ratio >= IMBALANCE:
        yield (
            f"The largest class ({_class(audit, most)}, {sizes[most]:,}) has {ratio:.3g} times the "
            f"{_trained(audit)} of the smallest ({_class(audit, least)}, {sizes[least]:,}): "
            "data.sampler=balanced draws from all classes equally often, and metrics=balanced "
            "counts all classes equally."
        )


def _near_conflicts(audit: Audit) -> Iterator[str]:
    if audit.near is None:
        return
    labels = audit.listing.labels
    first, second = audit.near.first, audit.near.second
    pairs = np.flatnonzero(labels[first] != labels[second])
    if len(pairs):
        examples = [_with_classes(audit, (int(first[i]), int(second[i]))) for i in pairs[:SHOWN]]
        pair = (
            "1 pair of images looks" if len(pairs) == 1 else f"{len(pairs):,} pairs of images look"
        )
        yield (
            f"{pair} nearly the same, but of different classes "
            f"({_examples(examples, len(pairs))}): check the classes."
        )


def _copies(audit: Audit) -> Iterator[str]:
    groups = audit.copies
    if groups:
        more = sum(map(len, groups)) - len(groups)
        examples = _examples([_pair(audit, group[0], group[1], "=") for group in groups])
        yield (
            f"{counted(more, 'file')} {'is a copy' if more == 1 else 'are copies'} of another "
            f"({examples}): an image with copies counts more than others"
            f"{_if_divided(audit, ', and')}; remove the copies."
        )


def _near(audit: Audit) -> Iterator[str]:
    if audit.near is None or not len(audit.near.first):
        return
    near, groups = audit.near, audit.near.groups()
    pairs = list(zip(near.first[:SHOWN].tolist(), near.second[:SHOWN].tolist(), strict=True))
    yield (
        f"{sum(map(len, groups)):,} images in {counted(len(groups), 'group')} look nearly the same "
        f"as another ({_pairs(audit, pairs, '~', len(near.first))}; hashes differ in at most "
        f"{near.threshold} of 64 bits): look at the pairs{_if_divided(audit, ', since')}."
    )


def _if_divided(audit: Audit, word: str) -> str:
    """Return, after `word`, what a random split may do; "" if the splits or groups are stated."""
    if audit.splits != ("all",) or audit.listing.groups is not None:
        return ""
    return f"{word} a random split may put the two of a pair into different splits"


def _blank(audit: Audit) -> Iterator[str]:
    if audit.near is not None and audit.near.blank:
        examples = _examples([audit.name(position) for position in audit.near.blank])
        verb = "is" if len(audit.near.blank) == 1 else "are"
        yield (
            f"{counted(len(audit.near.blank), 'image')} {verb} of almost one colour ({examples}), "
            "and not compared with others: check what they show."
        )


def _search(audit: Audit) -> Iterator[str]:
    if audit.near is None:
        return
    if audit.near.failed:
        position, reason = next(iter(audit.near.failed.items()))
        yield (
            f"{counted(len(audit.near.failed), 'image')} could not be compared with others "
            f"({audit.name(position)} {printable(reason)})."
        )
    if not audit.near.is_complete:
        yield (
            "Very many images look alike, so that some near duplicates may be missing; a smaller "
            "near_threshold finds fewer that are less alike."
        )


def _pairs(
    audit: Audit, pairs: Sequence[tuple[int, int]], sign: str, count: int | None = None
) -> str:
    found = [_pair(audit, one, other, sign) for one, other in pairs[:SHOWN]]
    return _examples(found, len(pairs) if count is None else count)


def _pair(audit: Audit, one: int, other: int, sign: str) -> str:
    return f"{audit.name(one)} {sign} {audit.name(other)}"


def _with_classes(audit: Audit, group: Sequence[int]) -> str:
    """Return an image of each of the first classes in a group: `a/1.png is a, b/7.png is b`."""
    of_class = {audit.class_name(position): position for position in reversed(group)}
    return ", ".join(
        f"{audit.name(position)} is {name}" for name, position in list(of_class.items())[::-1][:2]
    )


def _class(audit: Audit, label: int) -> str:
    return printable(audit.listing.class_names[label])


def _classes(count: int) -> str:
    return "1 class has" if count == 1 else f"{count:,} classes have"


def _trained(audit: Audit) -> str:
    return "training images" if audit.splits[:1] == ("train",) else "images"


def _examples(texts: Sequence[str], count: int | None = None) -> str:
    """Return the first few texts, and how many more there are of `count`."""
    count = len(texts) if count is None else count
    more = f" and {count - SHOWN:,} more" if count > SHOWN else ""
    return "; ".join(texts[:SHOWN]) + more
