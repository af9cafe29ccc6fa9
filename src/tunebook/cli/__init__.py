"""The commands, each with a `main` that takes its arguments from sys.argv.

dispatch   the command `tunebook`, which runs the others as its subcommands
entry      wraps a command's main: checks the config first, and reports bad input in one line
help       prints --help and --cfg job, with the comments of conf/

init       writes a project of the user's own, from the files in templates/
train      trains, tests and records one experiment, or runs a sweep
evaluate   tests a finished run's weights again
reproduce  trains a finished run again, and compares every metric
predict    classifies images
compare    reports which settings matter, what is seed noise, and what to run next
ui         serves MLflow's pages
sync       delivers to MLflow what it has not received
schema     describes the files of conf/ to an editor
bench      measures what the framework costs

The script of the same name in src/ runs each of them too. The first line of a command's docstring
is its line in `tunebook --help`. All but bench import what takes long within their function, so
that bad input is reported without delay.
"""
