"""The demonstration: the 64 variants of each bundled photograph, on a Dask cluster of this machine."""

from __future__ import annotations

from pathlib import Path

import click

import kaleidoscope as ks
from kaleidoscope import cluster, ops, samples
from kaleidoscope.ops.base import Part
from kaleidoscope.report import of_command
from kaleidoscope.storage import Store

SEED = 7
SHEET = "contact-sheet.png"


def recipe() -> list[Part]:
    """Return the six ops of the main example; the noise is light, so that one sees what the others do."""
    return [
        ops.HorizontalFlip(),
        ops.Rotate(limit=15),
        ops.HueSaturationValue(),
        ops.RandomBrightnessContrast(),
        ops.GaussianBlur(),
        ops.GaussNoise(std_range=(0.02, 0.08)),
    ]


def run(folder: Path | str, source: str | None = None) -> ks.Report:
    """Make the variants and a contact sheet in `folder`, telling on stdout what happens.

    Parameters
    ----------
    folder : Path or str
        A folder, or as a str the URL of one in a bucket.
    source : str, optional
        Other images than the bundled ones.

    Returns
    -------
    Report
        Of the run; it wrote nothing if everything was there already.
    """
    views = ks.augment(ks.read_images(source or samples.folder()), recipe(), seed=SEED)
    target = f"{folder}/variants" if isinstance(folder, str) else folder / "variants"
    write = views.write(target)
    if write.left == 0 and _has_sheet(folder):
        click.echo("Everything is already there; there is nothing to do.\n")
        report = write.compute(progress=False)
    else:
        with cluster.local() as machine, machine.get_client():
            click.echo(f"Dashboard: {machine.dashboard_link}\n")
            report = write.compute()
            sheet = views.preview(6, variants=8)
        if isinstance(folder, str):
            Store(folder).write(SHEET, sheet.png)
        else:
            sheet.save(folder / SHEET)
    click.echo(f"{of_command(report)}\n")
    click.echo(f"Variants:      {target}\nContact sheet: {f'{folder}/{SHEET}'}")
    return report


def _has_sheet(folder: Path | str) -> bool:
    return Store(folder).exists(SHEET) if isinstance(folder, str) else (folder / SHEET).exists()
