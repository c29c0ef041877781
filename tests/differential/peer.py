"""What Albumentations makes of the cases: run by the Python of an environment that has it.

::

    python peer.py FOLDER

It reads ``cases.json``, a list of op, settings, what they are to draw, and dtype, and ``scene.npz``, a photograph with
boxes, keypoints and a mask. It writes ``made.json``, for each case what was drawn, the transform as ``to_dict`` says
it, and the error if there was one, beside ``to_dict`` of every transform, where it needs no settings, and the version
of OpenCV; and ``made.npz`` with images, boxes, keypoints, masks, and drawn arrays. Nothing of Kaleidoscope is imported.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import cv2
import numpy as np

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # or it asks the network for its newest version when it is imported
import albumentations

#: Arrays up to this size are told as JSON, others lie in the archive.
SMALL = 64


def as_theirs(name: str, value: Any) -> Any:
    """Return a setting as Albumentations takes it: tuples for lists, OpenCV's numbers for names."""
    if isinstance(value, list):
        return tuple(as_theirs("", one) for one in value)
    if isinstance(value, dict):
        inside = "interpolation" if name == "interpolation_pair" else ""
        return {key: as_theirs(inside, one) for key, one in value.items()}
    if isinstance(value, str) and name.endswith("interpolation"):
        return getattr(cv2, f"INTER_{value.upper()}")
    if isinstance(value, str) and name == "border_mode":
        return getattr(cv2, f"BORDER_{value.upper()}")
    return value


def as_json(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """Return a drawn value as JSON; a large array goes to `arrays`, and its name is returned."""
    if isinstance(value, dict):
        return {str(key): as_json(one, f"{name}.{key}", arrays) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(one, f"{name}.{i}", arrays) for i, one in enumerate(value)]
    if isinstance(value, np.ndarray) and value.size > SMALL and value.dtype != object:
        arrays[name] = value
        return {"array": name}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def run(case: dict[str, Any], scene: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a case's transform drew and how it is serialized, and what it made."""
    settings = {name: as_theirs(name, value) for name, value in case["settings"].items()}
    transform = getattr(albumentations, case["op"])(p=1.0, **settings)
    spec = albumentations.to_dict(transform)
    if case["forced"]:
        draw = transform.get_params_dependent_on_data
        forced = {
            name: np.asarray(value["array"]) if isinstance(value, dict) and "array" in value else as_theirs("", value)
            for name, value in case["forced"].items()
        }
        transform.get_params_dependent_on_data = lambda params, data: {**draw(params, data), **forced}
    image = scene[case["image"]]
    if case["dtype"] == "float32":
        image = (image / 255).astype(np.float32)
    whole = {"label_fields": ["labels"], "clip": True, "min_area": 0.0, "min_visibility": 0.0}
    compose = albumentations.Compose(
        [transform],
        bbox_params=albumentations.BboxParams("pascal_voc", **whole),
        keypoint_params=albumentations.KeypointParams("xy", label_fields=["names"], remove_invisible=False),
        seed=case["seed"],
    )
    boxes, keypoints = scene["boxes"], scene["keypoints"]
    made = compose(
        image=image,
        mask=scene["mask"],
        bboxes=boxes,
        labels=np.arange(len(boxes)),
        keypoints=keypoints,
        names=np.arange(len(keypoints)),
    )
    arrays = {
        "image": made["image"],
        "mask": made["mask"],
        "boxes": np.asarray(made["bboxes"], float).reshape(-1, 4),
        "labels": np.asarray(made["labels"], int),
        "keypoints": np.asarray(made["keypoints"], float).reshape(-1, 2),
        "names": np.asarray(made["names"], int),
    }
    drawn = {name: as_json(value, f"drawn.{name}", arrays) for name, value in transform.params.items()}
    return {"error": "", "drawn": drawn, "spec": as_json(spec, "spec", {})}, arrays


def defaults() -> dict[str, Any]:
    """Return what ``to_dict`` says of each transform, None of those that need settings."""
    found: dict[str, Any] = {}
    for name, kind in vars(albumentations).items():
        if isinstance(kind, type) and issubclass(kind, albumentations.BasicTransform):
            try:
                found[name] = as_json(albumentations.to_dict(kind(p=1.0)), name, {})
            except Exception:  # noqa: BLE001 - it needs settings: the cases have some
                found[name] = None
    return found


def main() -> None:
    """Run all cases."""
    folder = Path(sys.argv[1])
    scene = np.load(folder / "scene.npz")
    told, arrays = [], {}
    for number, case in enumerate(json.loads((folder / "cases.json").read_text("utf-8"))):
        try:
            said, made = run(case, scene)
        except Exception:  # noqa: BLE001 - a case that fails is told, and the others go on
            said, made = {"error": traceback.format_exc(), "drawn": {}, "spec": {}}, {}
        told.append(said)
        arrays |= {f"{number}.{name}": value for name, value in made.items()}
    made = {"cases": told, "defaults": defaults(), "opencv": cv2.__version__}
    (folder / "made.json").write_text(json.dumps(made), "utf-8")
    np.savez(folder / "made.npz", **arrays)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
