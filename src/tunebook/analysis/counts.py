"""Numbers of things, as a sentence has them."""


def counted(count: int, noun: str) -> str:
    """Return the number with its noun: `1 run`, `3 runs`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
