"""The script of the command `init`; see src/tunebook/cli/init.py."""

from tunebook.cli.init import main

if __name__ == "__main__":
    main()
