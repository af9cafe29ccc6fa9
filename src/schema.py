"""The script of the command `schema`; see src/tunebook/commands/schema.py."""

from tunebook.commands.schema import main

if __name__ == "__main__":
    main()
