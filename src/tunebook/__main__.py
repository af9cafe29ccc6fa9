"""Run `python -m tunebook`, which is the command `tunebook`."""

import sys
from pathlib import Path

if not __package__:
    # Run as a file: Python looks for modules beside it, where `secrets` is not the standard one.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tunebook.cli.dispatch import main

if __name__ == "__main__":
    main()
