"""What people look at: the contact sheet, a report's table, the progress of a run."""

from kaleidoscope.display.progress import Counting, Progress
from kaleidoscope.display.sheet import ContactSheet, contact_sheet
from kaleidoscope.display.table import html_table

__all__ = ["ContactSheet", "Counting", "Progress", "contact_sheet", "html_table"]
