"""The script of the command `reproduce`; see src/tunebook/commands/reproduce.py."""

from tunebook.commands.reproduce import main

if __name__ == "__main__":
    main()
