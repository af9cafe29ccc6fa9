"""The script of the command `schema`; see src/tunebook/cli/schema.py."""

from tunebook.cli.schema import main

if __name__ == "__main__":
    main()
