import itertools
import json
import pickle
import subprocess
import sys
from collections import Counter

import cv2
import numpy as np
import pytest
from dask.base import tokenize

from kaleidoscope import ops
from kaleidoscope.codecs import Encoder
from kaleidoscope.job import Job, digest, environment, leaves_digest
from kaleidoscope.ops.combine import as_recipe
from kaleidoscope.plan import make_plan
from kaleidoscope.tree import grow

FORMATS = ["jpg", "png", "webp", "tiff", "npy"]
THREE = [ops.HorizontalFlip(), ops.Rotate(15), ops.GaussianBlur()]
KEYS = [f"{i:03d}.jpg" for i in range(400)]
PINNED = "7f4a8131"


def job(recipe=tuple(THREE), seed=7, **more):
    return Job(make_plan(grow(as_recipe(recipe))), seed, **more)


class TestDigest:
    def test_is_pinned(self):
        # Ids in manifests, and the names of parts, are made of it.
        assert digest({"b": [1, 2.5], "a": None}, size=4) == PINNED

    def test_does_not_depend_on_the_order_of_keys(self):
        assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        assert digest([1, 2]) != digest([2, 1])

    @pytest.mark.parametrize("size", [4, 8, 16])
    def test_has_so_many_bytes(self, size):
        assert len(bytes.fromhex(digest("a", size))) == size


class TestLeafIds:
    def test_are_one_for_each_variant(self):
        made = job()
        assert list(made.leaf_ids) == made.plan.tree.variants
        assert len(set(made.leaf_ids.values())) == 8

    def test_of_an_op_appended_leave_the_earlier_ones(self):
        before, after = job().leaf_ids, job([*THREE, ops.GaussNoise()]).leaf_ids
        assert {variant: after[variant] for variant in before} == before

    def test_hash_their_own_chain_only(self):
        alone = job(ops.Sequential(ops.HorizontalFlip(), ops.Rotate(15))).leaf_ids
        assert job().leaf_ids["hflip-rotate"] == alone["hflip-rotate"]

    def test_do_not_depend_on_how_the_op_was_typed(self):
        one, other = job([ops.Rotate(15)]), job([ops.Rotate(limit=(-15.0, 15), interpolation=cv2.INTER_LINEAR)])
        assert one.leaf_ids == other.leaf_ids

    @pytest.mark.parametrize(
        "other",
        [
            {"seed": 8},
            {"encoder": Encoder("png")},
            {"encoder": Encoder("jpg", quality=90)},
            {"recipe": [ops.HorizontalFlip(), ops.Rotate(16), ops.GaussianBlur()]},
        ],
        ids=str,
    )
    def test_change_with_what_the_bytes_depend_on(self, other):
        before, after = job().leaf_ids, job(**other).leaf_ids
        changed = {variant for variant in before if before[variant] != after[variant]}
        assert changed == ({v for v in before if "rotate" in v} if "recipe" in other else set(before))

    @pytest.mark.parametrize("other", [{"on_error": "raise"}, {"picks": 2}, {"only": ("hflip",)}], ids=str)
    def test_do_not_change_with_what_the_bytes_do_not_depend_on(self, other):
        assert job(**other).leaf_ids == job().leaf_ids

    def test_are_the_same_in_another_process(self):
        code = (
            "from kaleidoscope import ops; from kaleidoscope.job import Job; from kaleidoscope.plan import make_plan\n"
            "from kaleidoscope.tree import grow\n"
            "recipe = ops.PowerSet(ops.HorizontalFlip(), ops.Rotate(15), ops.GaussianBlur())\n"
            "print(Job(make_plan(grow(recipe)), 7).leaf_ids['hflip-rotate-blur'])"
        )
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert told.strip() == job().leaf_ids["hflip-rotate-blur"]

    def test_of_a_set_of_variants_do_not_depend_on_their_order(self):
        ids = job().leaf_ids
        assert leaves_digest(ids, ["hflip", "blur"]) == leaves_digest(ids, ["blur", "hflip"])
        assert leaves_digest(ids, ["hflip"]) != leaves_digest(ids, ["blur"])
        assert len(leaves_digest(ids, ids)) == 8


class TestWanted:
    def test_is_everything_unless_some_are_picked(self):
        assert job().wanted("a.jpg") is None
        assert job(picks=8).wanted("a.jpg") is None
        assert job(picks=99).wanted("a.jpg") is None

    def test_is_what_was_picked_in_tree_order(self):
        made = job(picks=3)
        order = made.plan.tree.variants.index
        for key in KEYS:
            picked = made.wanted(key)
            assert len(set(picked)) == 3
            assert sorted(picked, key=order) == list(picked)

    def test_of_fewer_is_among_that_of_more(self):
        for key in KEYS[:50]:
            picks = [set(job(picks=n).wanted(key)) for n in range(1, 8)]
            assert all(fewer < more for fewer, more in itertools.pairwise(picks))

    def test_is_the_images_own_and_the_seeds(self):
        assert len({job(picks=3).wanted(key) for key in KEYS}) > 30  # of 56
        assert [job(picks=3).wanted(key) for key in KEYS] != [job(picks=3, seed=8).wanted(key) for key in KEYS]

    def test_is_fair(self):
        drawn = Counter(variant for key in KEYS for variant in job(picks=2).wanted(key))
        expected = len(KEYS) * 2 / 8
        assert len(drawn) == 8
        assert sum((n - expected) ** 2 / expected for n in drawn.values()) < 24  # chi-square of 7, at 0.1 %

    def test_is_what_was_named(self):
        assert job(only=("hflip", "blur")).wanted("a.jpg") == ("hflip", "blur")


class TestSizes:
    @pytest.mark.parametrize(
        ("more", "count"), [({}, 8), ({"picks": 3}, 3), ({"picks": 99}, 8), ({"only": ("hflip",)}, 1)], ids=str
    )
    def test_of_an_image(self, more, count):
        made = job(**more)
        assert made.per_image == count
        assert count == len(made.wanted("a.jpg") or made.plan.tree.variants)

    @pytest.mark.parametrize("format", FORMATS)
    def test_of_a_block_are_at_least_one_image(self, format):
        one, many = job([], encoder=Encoder(format)).block_images, job(THREE * 3, encoder=Encoder(format)).block_images
        assert many == 1
        assert one > 1

    def test_of_a_block_come_of_leaves_and_format_only(self):
        assert job(seed=1).block_images == job(seed=2, on_error="raise").block_images == 128 // 8


class TestTravel:
    def test_a_job_is_named_by_what_it_says(self):
        assert tokenize(job()) == tokenize(job())
        others = [{"seed": 8}, {"picks": 2}, {"only": ("hflip",)}, {"on_error": "raise"}, {"recipe": THREE[:2]}]
        assert len({tokenize(job()), *(tokenize(job(**other)) for other in others)}) == 6

    def test_a_job_travels(self):
        made = job(picks=3, encoder=Encoder("png"))
        arrived = pickle.loads(pickle.dumps(made))
        assert (arrived.spec(), arrived.leaf_ids, arrived.picks) == (made.spec(), made.leaf_ids, 3)
        assert tokenize(arrived) == tokenize(made)

    def test_a_job_is_shown_in_short(self):
        # distributed logs the arguments of a task that failed: all of the text is made, then most is thrown away.
        shown = len(repr(job(THREE * 3)))
        assert shown < 2000

    def test_a_record_of_it_is_json(self):
        spec = json.loads(json.dumps(job().spec()))
        assert spec == job().spec()
        assert spec["recipe"]["PowerSet"]["parts"][1] == {"Rotate": {"limit": [-15.0, 15.0]}}
        assert (spec["seed"], spec["encoder"], spec["device"]) == (7, {"format": "jpg", "quality": 95}, "cpu")

    def test_another_encoder_is_another_job(self):
        assert tokenize(job()) == tokenize(job(encoder=Encoder("JPEG")))
        assert tokenize(job()) != tokenize(job(encoder=Encoder("png")))


def test_environment_names_what_else_the_bytes_depend_on():
    for word in (np.__version__, "opencv-python", "kaleidoscope", "python 3."):
        assert word in environment()


def test_what_a_gpu_makes_has_other_ids():
    cpu, gpu = (Job(make_plan(grow(as_recipe([ops.HorizontalFlip()])), device), 7) for device in ("cpu", "gpu"))
    assert (cpu.device, gpu.device) == ("cpu", "gpu")
    assert not set(cpu.leaf_ids.values()) & set(gpu.leaf_ids.values())
