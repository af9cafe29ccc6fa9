"""The script of the command `predict`; see src/tunebook/cli/predict.py."""

from tunebook.cli.predict import main

if __name__ == "__main__":
    main()
