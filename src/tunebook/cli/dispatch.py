"""Run the command `tunebook`: one of the commands, or --help, --version or --completion."""

import ast
import importlib
import importlib.metadata
import sys
from pathlib import Path

from tunebook.program import NAME, running

COMMANDS = (
    "init", "train", "evaluate", "reproduce", "predict", "compare", "data", "ui", "sync", "schema",
    "bench",
)  # fmt: skip
HELP, VERSION, COMPLETION = "--help", "--version", "--completion"
FLAGS = {
    HELP: "Print this list.",
    VERSION: "Print the installed version.",
    COMPLETION: 'Print the completion script for bash: eval "$(tunebook --completion)"',
}
# Hydra answers what may follow in COMP_LINE, which begins with the word for the program.
# bench takes the settings of train, but is no command of Hydra's.
BASH = """\
_tunebook() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" command="${{COMP_WORDS[1]/bench/train}}" choices
    if [ "$COMP_CWORD" = 1 ]; then
        compopt +o nospace
        choices="{words}"
    else
        choices=$(COMP_LINE="${{COMP_LINE#* }}" "$1" "$command" -sc query=bash 2>/dev/null)
    fi
    COMPREPLY=($(compgen -W "$choices" -- "$word"))
}}
COMP_WORDBREAKS="${{COMP_WORDBREAKS//=}}"
complete -o nospace -o default -F _tunebook tunebook"""


def main() -> None:
    """Run what the first argument names, with the arguments after it."""
    word = sys.argv[1] if len(sys.argv) > 1 else HELP
    if word in COMMANDS:
        with running(word):
            importlib.import_module(f"tunebook.cli.{word}").main()
    elif word in (HELP, "-h"):
        print(help_text())
    elif word == VERSION:
        print(f"{NAME} {version()}")
    elif word == COMPLETION:
        print(BASH.format(words=" ".join((*COMMANDS, *FLAGS))))
    else:
        _refuse(word)


def help_text() -> str:
    """Return the text that --help prints, with a line for each command."""
    lines = {command: summary(command) for command in COMMANDS} | FLAGS
    return "\n".join(
        [
            f"usage: {NAME} <command> [group=option ...] [group.key=value ...]",
            "",
            *(f"  {word:<13} {line}" for word, line in lines.items()),
            "",
            f"{NAME} <command> --help lists its settings. A first run, in less than a minute:",
            "",
            f"  {NAME} train data=digits debug=quick",
        ]
    )


def version() -> str:
    """Return the version that is installed."""
    try:
        return importlib.metadata.version(NAME)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def summary(command: str) -> str:
    """Return the first line of a command's docstring; nothing is imported for it."""
    text = Path(__file__).with_name(f"{command}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def _refuse(word: str) -> None:
    from tunebook.cli.entry import BAD_INPUT, fail
    from tunebook.config.validation import format_value, suggest

    known = (*COMMANDS, *FLAGS)
    fail(
        f"{format_value(word)}: no such command; allowed: {', '.join(known)}."
        f"{suggest(word, known)}",
        BAD_INPUT,
    )
