"""The script of the command `compare`; see src/tunebook/cli/compare.py."""

from tunebook.cli.compare import main

if __name__ == "__main__":
    main()
