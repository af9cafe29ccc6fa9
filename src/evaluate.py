"""The script of the command `evaluate`; see src/tunebook/commands/evaluate.py."""

from tunebook.commands.evaluate import main

if __name__ == "__main__":
    main()
