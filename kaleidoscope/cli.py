"""The command line: arguments only. Exit code 0: done; 1: some images failed; 2: bad usage or no way to go on."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from kaleidoscope.errors import KaleidoscopeError


@click.group()
@click.version_option(package_name="kaleidoscope")
def cli() -> None:
    """Make many images out of few."""


@cli.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default="kaleidoscope-demo")
def demo(folder: Path) -> None:
    """Make the 64 variants of each bundled photograph in FOLDER, on a Dask cluster of this machine."""
    from kaleidoscope import demo as demonstration

    report = demonstration.run(folder)
    sys.exit(1 if report.failed else 0)


def main() -> None:
    """Run the command line; errors of ours are one line on stderr, not a traceback."""
    try:
        cli()
    except KaleidoscopeError as error:
        click.echo(f"kaleidoscope: {error}", err=True)
        sys.exit(2)
