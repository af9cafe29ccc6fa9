"""The script of the command `evaluate`; see src/tunebook/cli/evaluate.py."""

from tunebook.cli.evaluate import main

if __name__ == "__main__":
    main()
