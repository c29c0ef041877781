"""A report as a small HTML table, for notebooks."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

# Colours are left to the notebook's theme, so that the table reads on a dark one too.
_TABLE = "border-collapse:collapse;font-variant-numeric:tabular-nums"
_TITLE = "caption-side:top;text-align:left;font-weight:600;padding:4px 0"
_NAME = "text-align:left;font-weight:normal;opacity:.7;padding:2px 24px 2px 0"
_VALUE = "text-align:left;padding:2px 0"


def html_table(rows: Iterable[tuple[str, str]], title: str) -> str:
    """Return names and values as an HTML table; whatever they hold is shown as text.

    Examples
    --------
    >>> page = html_table([("failed", "3 <of> 4")], "Report")
    >>> "3 &lt;of&gt; 4" in page
    True
    """
    lines = "".join(
        f'<tr><th scope="row" style="{_NAME}">{escape(name)}</th><td style="{_VALUE}">{escape(value)}</td></tr>'
        for name, value in rows
    )
    caption = f'<caption style="{_TITLE}">{escape(title)}</caption>'
    return f'<table style="{_TABLE}">{caption}<tbody>{lines}</tbody></table>'
