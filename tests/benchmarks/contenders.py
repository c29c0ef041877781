"""Who takes part, in which jobs, in what environment."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PEERS = Path(__file__).parent / "peers"
#: Of the peers' virtual environments.
ENVIRONMENTS = ROOT / ".venv-bench"


@dataclass(frozen=True)
class Contender:
    """One row of the table.

    Parameters
    ----------
    key : str
        What ``--only`` calls it.
    title : str
        What the table calls it.
    script : str
        Which of ``peers/`` it runs.
    mode : str
        What that is told to do.
    jobs : str
        Letters.
    environment : str
        The virtual environment, by its folder; empty for this interpreter's.
    requirements : tuple of str
        What goes into the environment.
    """

    key: str
    title: str
    script: str
    mode: str = ""
    jobs: str = "AB"
    environment: str = ""
    requirements: tuple[str, ...] = ()

    @property
    def python(self) -> Path:
        """The interpreter that runs it."""
        return ENVIRONMENTS / self.environment / "bin" / "python" if self.environment else Path(sys.executable)

    @property
    def installed(self) -> bool:
        """Whether it can run; the stamp is written when everything is installed."""
        return not self.environment or (ENVIRONMENTS / self.environment / "installed").exists()


#: What the peers get, as their best: OpenCV 5.0 takes twice as long for warpAffine and HSV2RGB. Kaleidoscope needs 5.
_OPENCV = "opencv-python-headless==4.14.0.94"
_OPENCV_4 = {"environment": "opencv4", "requirements": (_OPENCV, "numpy")}
_RAY = {"environment": "ray", "requirements": ("ray[data]==2.60.0", _OPENCV)}

_WRITE = "kaleidoscope_write.py"

OURS, ONE_THREAD, CEILING = "kaleidoscope", "kaleidoscope-one-thread", "ceiling"
CONTENDERS = (
    Contender(OURS, "Kaleidoscope, threads", _WRITE, "threads", "ABCD"),
    Contender(ONE_THREAD, "Kaleidoscope, one thread", _WRITE, "one-thread", "ABCD"),
    Contender("kaleidoscope-cluster-1", "Kaleidoscope, cluster, one process", _WRITE, "cluster-1"),
    Contender(
        "kaleidoscope-cluster-2",
        "Kaleidoscope, cluster, a process a core",
        "kaleidoscope_write.py",
        "cluster-2",
        "ABCD",
    ),
    Contender("script", "OpenCV script, pool", "opencv_script.py", "plain"),
    Contender("script-shared", "OpenCV script, pool, prefixes shared", "opencv_script.py", "shared", "A"),
    Contender("script-4", "OpenCV 4 script, pool, prefixes shared", "opencv_script.py", "shared", "A", **_OPENCV_4),
    Contender("script-scaled", "OpenCV script, pool, scaled decoding", "opencv_script.py", "scaled", "B"),
    Contender(
        "script-scaled-4", "OpenCV 4 script, pool, scaled decoding", "opencv_script.py", "scaled", "B", **_OPENCV_4
    ),
    Contender(
        "albumentations",
        "Albumentations, pool",
        "albumentations_pool.py",
        jobs="ABCD",
        environment="albumentations",
        requirements=("albumentations==2.0.8", _OPENCV),
    ),
    Contender("ray", "Ray Data, files written in tasks", "ray_data.py", "tasks", **_RAY),
    Contender("ray-rows", "Ray Data, outputs as rows", "ray_data.py", "rows", **_RAY),
    Contender("daft", "Daft", "daft_resize.py", "", "B", "daft", ("daft==0.7.26",)),
    Contender("img2dataset", "img2dataset", "img2dataset_resize.py", "", "B", "img2dataset", ("img2dataset==1.47.0",)),
    Contender(CEILING, "Ceiling: encode and write only", "ceiling.py"),
)


def pip_line(contender: Contender) -> str:
    """Return the command that installs what a contender needs."""
    folder = ENVIRONMENTS.relative_to(ROOT) / contender.environment
    return f"{folder}/bin/pip install {' '.join(contender.requirements)}"
