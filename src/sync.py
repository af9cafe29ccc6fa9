"""The script of the command `sync`; see src/tunebook/commands/sync.py."""

from tunebook.commands.sync import main

if __name__ == "__main__":
    main()
