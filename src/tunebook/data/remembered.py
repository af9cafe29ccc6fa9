"""Look at the files of a data set only once in a command.

This module does not import torch.
"""

import contextlib
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

Found = TypeVar("Found")

_found: ContextVar[dict[Hashable, Any] | None] = ContextVar("found", default=None)


@contextlib.contextmanager
def remembering() -> Iterator[None]:
    """Within the block, let `remembered` call each function once for each key."""
    if _found.get() is not None:
        yield
        return
    token = _found.set({})
    try:
        yield
    finally:
        _found.reset(token)


def remembered(key: Hashable, find: Callable[[], Found]) -> Found:
    """Return what `find` returns, or what it returned for this key in the same block."""
    known = _found.get()
    if known is None:
        return find()
    if key not in known:
        known[key] = find()
    found: Found = known[key]
    return found
