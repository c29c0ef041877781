"""The demonstration: the 64 variants of each bundled photograph, on a Dask cluster of this machine."""

from __future__ import annotations

from pathlib import Path

import click

import kaleidoscope as ks
from kaleidoscope import cluster, ops, samples
from kaleidoscope.ops.base import Part

SEED = 7


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


def run(folder: Path) -> ks.Report:
    """Make the variants and a contact sheet in `folder`, telling on stdout what happens.

    Returns
    -------
    Report
        Of the run; it wrote nothing if everything was there already.
    """
    views = ks.augment(ks.read_images(samples.folder()), recipe(), seed=SEED)
    target, sheet = folder / "variants", folder / "contact-sheet.png"
    write = views.write(target)
    if write.left == 0 and sheet.exists():
        click.echo("Everything is already there; there is nothing to do.\n")
        report = write.compute(progress=False)
    else:
        with cluster.local() as machine, machine.get_client():
            click.echo(f"Dashboard: {machine.dashboard_link}\n")
            report = write.compute()
            views.preview(6, variants=8).save(sheet)
    click.echo(f"{report}\n")
    click.echo(f"Variants:      {target}\nContact sheet: {sheet}")
    return report
