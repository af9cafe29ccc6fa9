"""The script of the command `bench`; see src/tunebook/cli/bench.py."""

from tunebook.cli.bench import main

if __name__ == "__main__":
    main()
