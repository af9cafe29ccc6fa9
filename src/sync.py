"""The script of the command `sync`; see src/tunebook/cli/sync.py."""

from tunebook.cli.sync import main

if __name__ == "__main__":
    main()
