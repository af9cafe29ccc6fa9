"""The script of the command `compare`; see src/tunebook/commands/compare.py."""

from tunebook.commands.compare import main

if __name__ == "__main__":
    main()
