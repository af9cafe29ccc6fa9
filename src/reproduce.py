"""The script of the command `reproduce`; see src/tunebook/cli/reproduce.py."""

from tunebook.cli.reproduce import main

if __name__ == "__main__":
    main()
