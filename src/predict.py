"""The script of the command `predict`; see src/tunebook/commands/predict.py."""

from tunebook.commands.predict import main

if __name__ == "__main__":
    main()
