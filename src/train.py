"""The script of the command `train`; see src/tunebook/cli/train.py."""

from tunebook.cli.train import main

if __name__ == "__main__":
    main()
