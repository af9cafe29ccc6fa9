"""The script of the command `ui`; see src/tunebook/commands/ui.py."""

from tunebook.commands.ui import main

if __name__ == "__main__":
    main()
