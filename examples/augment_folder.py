"""Make 64 variants of every image of a folder, on all cores of this machine, with the dashboard to watch.

python examples/augment_folder.py photos augmented
"""

from __future__ import annotations

import sys

import kaleidoscope as ks
from kaleidoscope import ops

RECIPE = [
    ops.HorizontalFlip(),
    ops.Rotate(limit=15),
    ops.HueSaturationValue(),
    ops.RandomBrightnessContrast(),
    ops.GaussianBlur(),
    ops.GaussNoise(std_range=(0.02, 0.08)),
]


def main(source: str, target: str) -> None:
    """Augment the images in `source` into `target`."""
    views = ks.augment(ks.read_images(source), RECIPE, seed=7)
    with ks.cluster.local() as cluster, cluster.get_client():
        print("dashboard:", cluster.dashboard_link)
        report = views.write(target).compute()
    print(report)
    if report.failed:
        print(report.errors.to_string(index=False))


if __name__ == "__main__":  # the workers of the cluster import this file
    main(*sys.argv[1:])
