"""The script of the command `bench`; see src/tunebook/commands/bench.py."""

from tunebook.commands.bench import main

if __name__ == "__main__":
    main()
