"""Fill in the templates of web pages."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tunebook.text_output import printable


def render(template: str, **values: Any) -> str:
    """Return a page as text.

    Text, such as names and errors, is escaped. Control and direction-changing characters in it are
    shown as escapes. `markupsafe.Markup` is kept as it is.
    template: the name of a file in this folder.
    """
    environment = Environment(
        loader=PackageLoader("tunebook.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_as_shown,
    )
    return environment.get_template(template).render(**values)


def _as_shown(value: object) -> object:
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
