"""The script of the command `ui`; see src/tunebook/cli/ui.py."""

from tunebook.cli.ui import main

if __name__ == "__main__":
    main()
