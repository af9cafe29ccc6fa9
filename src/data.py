"""The script of the command `data`; see src/tunebook/cli/data.py."""

from tunebook.cli.data import main

if __name__ == "__main__":
    main()
