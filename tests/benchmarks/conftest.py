"""Which of these files are scripts.

They import their neighbours, as scripts do, and the peers' scripts what only the peers' environments have. pytest,
which looks for doctests in every module, could import neither.
"""

from pathlib import Path

HERE = Path(__file__).parent
collect_ignore = [
    "peers",
    *(path.name for path in HERE.glob("*.py") if not path.name.startswith(("test_", "conftest"))),
]
