"""The script of the command `train`; see src/tunebook/commands/train.py."""

from tunebook.commands.train import main

if __name__ == "__main__":
    main()
