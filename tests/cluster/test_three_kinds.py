"""The same lines on this machine, on hosts reached by SSH, and on Kubernetes: only the cluster's file differs."""

import cv2
import numpy as np
import pytest
import yaml

import kaleidoscope as ks
from kaleidoscope import ops

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of kr8s

GROUPS = {
    "cpu": {"min": 1, "max": 2, "memory": "1GiB"},
    "gpu": {"min": 1, "max": 1, "memory": "1GiB", "resources": {"GPU": 1}},
}


def job(cluster_file, photos, target):
    """What a user writes once."""
    recipe = [
        ops.HorizontalFlip(),
        ops.Rotate(15),
        ops.RandomBrightnessContrast(),
        ops.Apply(np.invert, resources={"GPU": 1}),
        ops.GaussianBlur(),
        ops.GaussNoise(),
    ]
    with ks.cluster.from_yaml(cluster_file) as cluster, cluster.get_client():
        return ks.augment(photos, recipe, seed=7).write(target).compute()


def write_photos(folder):
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 256, (48, 64, 3), np.uint8))
    return folder


def test_one_job_is_the_same_on_local_ssh_and_kubernetes(servers, kube, tmp_path, tree):
    photos = write_photos(tmp_path / "photos")
    one, two, three = (servers.start() for _ in range(3))
    hosts = [one.as_host(workers={"cpu": 1}), two.as_host(workers={"cpu": 1}), three.as_host(workers={"gpu": 1})]
    ssh = {**servers.options, "hosts": hosts}
    files = {
        "local": {"kind": "local", "workers": GROUPS},
        "ssh": {"kind": "ssh", "workers": GROUPS, "env": ssh.pop("env"), "ssh": ssh},
        "kubernetes": {
            "kind": "kubernetes",
            "name": "three-kinds",
            "workers": GROUPS,
            "kubernetes": {"image": "kaleidoscope:test", "namespace": "augment"},
        },
    }
    for kind, content in files.items():
        (tmp_path / f"{kind}.yaml").write_text(yaml.safe_dump(content))
        report = job(tmp_path / f"{kind}.yaml", photos, tmp_path / kind)
        assert (report.outputs, report.failed) == (12 * 64, 0)
    local = tree(tmp_path / "local")
    assert len(local) == 12 * 64
    assert tree(tmp_path / "ssh") == local
    assert tree(tmp_path / "kubernetes") == local
