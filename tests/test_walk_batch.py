import gc
import itertools
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest
import torch

from kaleidoscope import ops, samples
from kaleidoscope.backends import torch as torch_backend
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.backends.torch import TorchBackend
from kaleidoscope.codecs import Encoder
from kaleidoscope.errors import DecodeError, OpError, ResourceError
from kaleidoscope.ops.base import Op, op
from kaleidoscope.ops.combine import as_recipe
from kaleidoscope.outcome import Encoded, Handover
from kaleidoscope.plan import make_plan
from kaleidoscope.read import Picture
from kaleidoscope.record import Frame
from kaleidoscope.targets import Targets
from kaleidoscope.testing.device_tests import SHARE, agreement
from kaleidoscope.tree import grow
from kaleidoscope.walk import walk, walk_segment
from kaleidoscope.walk_batch import Traveller, walk_batch

SEED = 7
FLIP, BLUR, NOISE = ops.HorizontalFlip(), ops.GaussianBlur(), ops.GaussNoise((0.02, 0.05))
SIX = [FLIP, ops.Rotate(15), ops.HueSaturationValue(), ops.RandomBrightnessContrast(), BLUR, ops.GaussNoise()]
COUNT = 4


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def images(count=COUNT, shape=(64, 96)):
    photograph = cv2.imread(str(samples.folder() / "coffee.jpg"))
    height, width = shape
    return [np.ascontiguousarray(photograph[30 * i :, 50 * i :][:height, :width, ::-1]) for i in range(count)]


def plan_of(recipe):
    return make_plan(grow(as_recipe(recipe)))


def travellers(some, targets=None, **more):
    return [
        Traveller(f"{i}.jpg", Picture.of(pixels), targets=None if targets is None else targets[i], **more)
        for i, pixels in enumerate(some)
    ]


def in_batches(recipe, some, backend=None, **more):
    """Return the outcomes of each image, in the order in which they came."""
    found = [[] for _ in some]
    backend = backend or TorchBackend("cpu")
    for number, outcome in walk_batch(plan_of(recipe), travellers(some, **more), seed=SEED, backend=backend):
        found[number].append(outcome)
    return found


def one_by_one(recipe, some, targets=None, **more):
    """Return the same of the walk on the CPU, with copies of the pixels."""
    found, plan = [], plan_of(recipe)
    for i, pixels in enumerate(some):
        mine = None if targets is None else targets[i]
        outcomes = walk(plan, pixels, key=f"{i}.jpg", seed=SEED, backend=Cv2Backend(), targets=mine, **more)
        copies = [(each, None if each.pixels is None else each.pixels.copy()) for each in outcomes]
        found.append(copies)
    return found


def assert_alike(recipe, some, backend=None, **more):
    """Assert that a device makes of each image what the CPU makes of it; return what it made."""
    made = in_batches(recipe, some, backend, **more)
    for mine, wanted in zip(made, one_by_one(recipe, some, **more), strict=True):
        assert [each.variant for each in mine] == [each.variant for each, _ in wanted]
        for one, (other, pixels) in zip(mine, wanted, strict=True):
            assert one.lineage == other.lineage
            assert repr(one.error) == repr(other.error)
            assert same_targets(one.targets, other.targets)
            assert (one.pixels is None) == (pixels is None)
            if pixels is not None:
                assert Frame.of(one.pixels) == Frame.of(pixels)
                assert agreement(one.pixels, pixels) >= SHARE, one.variant
    return made


def same_targets(one, other):
    if one is None or other is None:
        return one is other
    masks = one.masks.keys() == other.masks.keys() and all(
        np.array_equal(one.masks[name], other.masks[name]) for name in one.masks
    )
    return masks and one.objects() == other.objects()


def test_the_64_variants_of_the_six_ops():
    backend = TorchBackend("cpu")
    made = assert_alike(SIX, images(), backend)
    assert [len(mine) for mine in made] == [64] * COUNT
    # One batch: it goes there once, and each variant comes back once. 60 kernels, and geometry as on the CPU.
    applied = {"kernel": 60 * COUNT, "warp": 2 * COUNT, "permutation": COUNT}
    assert dict(backend.counts) == {**applied, "batch": 63, "upload": 1, "download": 64}


@pytest.mark.parametrize("shape", [(64, 96), (1, 5)])
def test_a_batch_of_four_is_four_batches_of_one(shape):
    some = images(shape=shape)
    together = in_batches([*SIX[:5], NOISE], some)
    alone = in_batches([*SIX[:5], NOISE], some, TorchBackend("cpu", batch_bytes=1))
    for mine, other in zip(together, alone, strict=True):
        for one, two in zip(mine, other, strict=True):
            np.testing.assert_array_equal(one.pixels, two.pixels, err_msg=one.variant)


def labelled(some):
    height, width = some[0].shape[:2]
    mask = np.zeros((height, width), np.uint8)
    mask[10:40, 20:60] = 3
    return [
        Targets(
            boxes=[[5 + i, 5, 30, 40], [60, 20, 95, 60]],
            classes=["cat", "dog"],
            keypoints=[[(10, 10)], [(70, 30)]],
            masks={"m": mask},
        )
        for i in range(len(some))
    ]


@pytest.mark.parametrize(
    "recipe",
    [
        [FLIP, ops.Rotate(30), ops.RandomCrop(40, 50), ops.Resize(30, 30)],
        [ops.RandomRotate90(), ops.CoarseDropout(fill_mask=9), ops.Perspective()],
        ops.Sequential(ops.BBoxSafeRandomCrop(), BLUR, ops.Transpose()),
    ],
    ids=["crop", "turn", "labels"],
)
def test_targets_follow_exactly(recipe):
    some = images()
    made = assert_alike(recipe, some, targets=labelled(some))
    assert all(each.targets is not None for mine in made for each in mine)


@pytest.mark.parametrize(
    "recipe",
    [
        ops.OneOf(BLUR, ops.Sequential(FLIP, ops.Rotate(30, border_mode="reflect")), ops.CenterCrop(40, 40)),
        ops.SomeOf(ops.RandomGamma(), ops.Affine(rotate=20), NOISE, ops.Resize(40, 40), n=(0, 4)),
        ops.Sequential(ops.Sometimes(ops.HueSaturationValue()), ops.Sometimes(ops.RandomCrop(50, 60)), BLUR),
        ops.Sequential(ops.RandomScale((-0.5, 0.5)), FLIP, BLUR),
        ops.Branch(
            a=ops.Rotate(30, border_mode="wrap"), b=ops.Sequential(ops.Rotate(9), ops.Rotate(9, border_mode="reflect"))
        ),
        ops.Sequential(ops.Split(2, 3), ops.Repeat(ops.Rotate(20, interpolation="cubic"), 2), ops.InvertImg()),
        ops.RandAugment(),
    ],
    ids=["oneof", "someof", "sometimes", "sizes", "borders", "tiles", "policy"],
)
def test_batches_part_where_draws_do_and_meet_again(recipe):
    assert_alike(recipe, images(8))


def test_neighbouring_draws_that_agree_are_done_together():
    backend = TorchBackend("cpu")
    in_batches(ops.Sequential(ops.OneOf(ops.InvertImg(), ops.RandomGamma()), BLUR), images(8), backend)
    assert backend.counts["kernel"] == 16
    assert backend.counts["batch"] == 3


def test_images_of_several_frames_make_several_batches():
    backend = TorchBackend("cpu")
    some = [*images(3), *images(2, (50, 60)), images(1)[0].astype(np.uint16) * 257, images(1)[0][..., :1]]
    assert_alike([FLIP, BLUR], some, backend)
    assert backend.counts["upload"] == 4


def test_only_what_is_wanted_is_made():
    backend = TorchBackend("cpu")
    wanted = ("hflip-blur", "rotate")
    made = in_batches([FLIP, ops.Rotate(15), BLUR], images(), backend, wanted=wanted)
    assert [[each.variant for each in mine] for mine in made] == [list(wanted)] * COUNT
    assert dict(backend.counts) == {
        "upload": 1,
        "batch": 3,
        "permutation": COUNT,
        "kernel": COUNT,
        "warp": COUNT,
        "download": 2,
    }


def test_each_image_may_want_other_variants():
    plan, backend = plan_of([FLIP, ops.Rotate(15), BLUR]), TorchBackend("cpu")
    variants = plan.tree.variants
    party = [Traveller(f"{i}.jpg", Picture.of(pixels), wanted=variants[i : i + 3]) for i, pixels in enumerate(images())]
    found = [(number, each.variant) for number, each in walk_batch(plan, party, seed=SEED, backend=backend)]
    assert sorted(found) == sorted((i, name) for i in range(COUNT) for name in variants[i : i + 3])


def test_draws_of_an_earlier_run_are_used_again():
    first = in_batches(ops.Sequential(ops.Rotate(40), NOISE), images())
    draws = [{step.node: step.params for step in mine[0].lineage} for mine in first]
    plan = plan_of(ops.Sequential(ops.Rotate(40), NOISE))
    party = [Traveller("other", Picture.of(pixels), draws=draws[i]) for i, pixels in enumerate(images())]
    for number, each in walk_batch(plan, party, seed=SEED + 1, backend=TorchBackend("cpu")):
        np.testing.assert_array_equal(each.pixels, first[number][0].pixels)


def test_a_jpeg_is_decoded_as_large_as_each_op_needs_it():
    def picture(pixels):
        frame = Frame(*(2 * side for side in pixels.shape[:2]), 3, "uint8")
        sizes = {1: cv2.resize(pixels, None, fx=2, fy=2), 2: pixels}
        return Picture(frame, sizes.__getitem__, (2,))

    recipe = ops.Branch(small=ops.Resize(20, 20, interpolation="area"), large=FLIP)
    plan, backend = plan_of(recipe), TorchBackend("cpu")
    party = [Traveller(f"{i}.jpg", picture(pixels)) for i, pixels in enumerate(images())]
    made = {(number, each.variant): each for number, each in walk_batch(plan, party, seed=SEED, backend=backend)}
    for i, each in enumerate(party):
        for other in walk(plan, each.start, key=each.key, seed=SEED, backend=Cv2Backend()):
            assert agreement(made[i, other.variant].pixels, other.pixels) >= SHARE
            assert made[i, other.variant].lineage == other.lineage
    assert backend.counts["upload"] == 2  # both sizes


# ---- what fails


@op
class Fussy(Op):
    """Refuse images whose first value is odd, on either device."""

    short_name = "fussy"

    def kernel(self, src, params, out):
        np.copyto(out, src)
        self.look(int(src[0, 0, 0]))

    def device_kernel(self, batch, params):
        for first in batch[:, 0, 0, 0].tolist():
            self.look(int(first))
        return batch.clone()

    def look(self, first):
        if first % 2:
            raise ValueError(f"{first} is odd")


def odd_and_even():
    some = images(6)
    for i, pixels in enumerate(some):
        pixels[0, 0, 0] = 100 + i % 3
    return some


def test_what_fails_for_one_image_costs_it_alone_what_is_below():
    some = odd_and_even()
    made = assert_alike([Fussy(), FLIP], some)
    failed = [[each.variant for each in mine if each.error] for mine in made]
    assert failed == [["fussy", "fussy-hflip"] if i % 3 == 1 else [] for i in range(6)]
    assert made[1][1].error.key == "1.jpg"


def test_an_op_that_refuses_a_frame_says_so_for_each_image():
    some = [*images(2), images(1)[0][:20]]
    made = assert_alike([ops.CenterCrop(40, 40), FLIP], some)
    assert [each.error is None for each in made[2]] == [True, False, False, True]


def test_an_image_that_cannot_be_decoded_does_not_stop_the_others():
    def fail(_):
        raise DecodeError("broken")

    party = travellers(images(2))
    party.insert(1, Traveller("broken.jpg", Picture(Frame(64, 96, 3, "uint8"), fail)))
    found = list(walk_batch(plan_of([FLIP]), party, seed=SEED, backend=TorchBackend("cpu")))
    assert [(number, each.variant) for number, each in found if each.error] == [(1, "original"), (1, "hflip")]
    assert len(found) == 6


@op
class Liar(Op):
    """Return something else than it announced."""

    short_name = "liar"

    def kernel(self, src, params, out):
        np.copyto(out, src)

    def device_kernel(self, batch, params):
        return batch[:, :1]


def test_a_kernel_that_makes_another_frame_is_an_error():
    ((outcome,),) = in_batches(Liar(), images(1))
    assert "Liar: expected its device kernel to make (1, 3, 64, 96) torch.uint8, got (1, 1, 64, 96)" in str(
        outcome.error
    )
    assert isinstance(outcome.error, OpError)


@op
class OnlyHere(Op):
    """Have a kernel for the CPU only."""

    short_name = "onlyhere"

    def kernel(self, src, params, out):
        np.subtract(255, src, out=out)


def test_an_op_without_a_kernel_for_a_device_is_done_on_the_cpu():
    backend = TorchBackend("cpu")
    assert_alike([FLIP, OnlyHere(), ops.Rotate(20, interpolation="lanczos4")], images(), backend)
    assert backend.counts["on_cpu"] == 6 * COUNT  # at two nodes, and warps at four


def test_a_device_that_is_not_there_is_an_error_of_ours():
    with pytest.raises(ResourceError, match="expected a device of torch, got 'cuda:99'"):
        TorchBackend("cuda:99")


# ---- files


def test_variants_are_fetched_as_files_where_the_device_can_make_them(monkeypatch):
    def in_colour(batch, encoder):
        rows = batch.permute(0, 2, 3, 1).contiguous().numpy()
        return [encoder.encode(image) for image in rows] if rows.shape[3] == 3 else None

    monkeypatch.setattr(torch_backend, "encode_there", in_colour)
    plan, backend, encoder = plan_of([FLIP, ops.ToGray(num_output_channels=1)]), TorchBackend("cpu"), Encoder("jpg")
    fetch = partial(backend.finished, encoder=encoder)
    files = list(walk_batch(plan, travellers(images()), seed=SEED, backend=backend, fetch=fetch))
    pixels = list(walk_batch(plan, travellers(images()), seed=SEED, backend=TorchBackend("cpu")))
    for (number, found), (other, plain) in zip(files, pixels, strict=True):
        assert (number, found.variant, found.lineage) == (other, plain.variant, plain.lineage)
        if found.variant.endswith("gray"):
            assert np.array_equal(found.pixels, plain.pixels)
        else:
            assert found.pixels is None
            assert found.encoded == Encoded(encoder.encode(plain.pixels), Frame.of(plain.pixels))
    assert backend.counts["encoded_there"] == 2 * COUNT


# ---- segments


@op
class There(Op):
    """Need another worker than the others."""

    short_name = "there"
    resources = {"GPU": 1}  # noqa: RUF012 - nobody writes to it

    def kernel(self, src, params, out):
        np.subtract(255, src, out=out)

    def device_kernel(self, batch, params):
        return 255 - batch


@pytest.mark.parametrize(
    "recipe",
    [
        [FLIP, There(), BLUR],
        ops.Sequential(There(), ops.Rotate(20), There()),
        ops.Branch(a=ops.Sequential(ops.Resize(20, 20, interpolation="area"), There()), b=There()),
    ],
    ids=["powerset", "twice", "names"],
)
@pytest.mark.parametrize("which", [0, 1], ids=["even", "odd"])
def test_segments_may_run_on_either_device(recipe, which):
    """Those of even or of odd places run in batches, the others image by image; all of it is as if it were not cut."""
    plan, some, backend = plan_of(recipe), images(), TorchBackend("cpu")
    waiting = [[Picture.of(pixels)] for pixels in some]
    made = [{} for _ in some]
    for segment in plan.segments:
        if segment.place % 2 == which:
            starts = [
                (number, start) for number, mine in enumerate(waiting) for start in mine if turn(plan, start, segment)
            ]
            party = [Traveller(f"{number}.jpg", start, targets=labelled(some)[number]) for number, start in starts]
            walked = walk_batch(plan, party, seed=SEED, backend=backend, segment=segment.place)
            found = [(starts[number][0], one) for number, one in walked]
        else:
            found = [
                (number, copied(one))
                for number, mine in enumerate(waiting)
                for start in mine
                if turn(plan, start, segment)
                for one in walk_segment(
                    *(plan, start, segment.place),
                    key=f"{number}.jpg",
                    seed=SEED,
                    backend=Cv2Backend(),
                    targets=labelled(some)[number],
                )
            ]
        for number, one in found:
            if isinstance(one, Handover):
                waiting[number].append(one)
            else:
                made[number][one.variant] = one
    for mine, wanted in zip(made, one_by_one(recipe, some, labelled(some)), strict=True):
        assert sorted(mine) == sorted(each.variant for each, _ in wanted)
        for other, pixels in wanted:
            one = mine[other.variant]
            assert one.lineage == other.lineage
            assert same_targets(one.targets, other.targets)
            assert agreement(one.pixels, pixels) >= SHARE


def turn(plan, start, segment):
    if isinstance(start, Picture):
        return segment.place == 0
    return any(child.segment == segment.place for child in plan.by_name[start.node].children)


def copied(one):
    return one if isinstance(one, Handover) else replace(one, pixels=one.pixels.copy())


# ---- memory


@op
class Greedy(Op):
    """Run out of memory for more than two images."""

    short_name = "greedy"
    most = 2

    def kernel(self, src, params, out):
        np.subtract(255, src, out=out)

    def device_kernel(self, batch, params):
        if len(batch) > self.most:
            raise torch.OutOfMemoryError(f"no memory for {len(batch)} images")
        return 255 - batch


def test_a_batch_too_large_for_the_memory_goes_on_in_halves():
    backend = TorchBackend("cpu", batch_bytes=8 * 64 * 96 * 3)
    assert_alike([FLIP, Greedy(), BLUR], images(11), backend)
    # 8 are 4 and 4, and each of these 2 and 2, below hflip and at the root; from then on a batch is so much smaller.
    assert backend.counts["halved"] == 6
    assert backend.batch_size(Frame(64, 96, 3, "uint8")) < 3


def test_one_image_too_large_for_the_memory_is_a_failure(monkeypatch):
    monkeypatch.setattr(Greedy, "most", 0)
    made = in_batches([FLIP, Greedy()], images(2))
    assert [[each.error is None for each in mine] for mine in made] == [[True, True, False, False]] * 2
    assert "no memory for 1 images" in str(made[0][2].error)


def test_memory_that_does_not_suffice_for_the_upload_is_met_by_halves(monkeypatch):
    backend, upload = TorchBackend("cpu"), TorchBackend.upload

    def greedy(self, some):
        if len(some) > 2:
            raise torch.OutOfMemoryError("no memory")
        return upload(self, some)

    monkeypatch.setattr(TorchBackend, "upload", greedy)
    assert_alike([FLIP], images(5), backend)


def tensors():
    """Return how many batches are alive, each once; what came back lies channel by channel last."""
    alive = (each for each in gc.get_objects() if type(each) is torch.Tensor and each.shape == (COUNT, 3, 64, 96))
    return len({each.untyped_storage().data_ptr() for each in alive})


def test_a_path_of_the_tree_is_alive_and_no_more():
    recipe = [FLIP, ops.Rotate(15), ops.InvertImg(), BLUR, ops.Posterize()]
    plan, party = plan_of(recipe), travellers(images())
    gc.collect()
    before, most = tensors(), 0
    outcomes = walk_batch(plan, party, seed=SEED, backend=TorchBackend("cpu"))
    for number, _ in outcomes:
        if number == COUNT - 1:
            most = max(most, tensors() - before)
    gc.collect()
    assert 5 <= most <= 6  # the image, and one for each of five ops
    assert tensors() == before


def test_a_failure_holds_no_pixels():
    gc.collect()
    before = tensors()
    kept = list(itertools.chain(*in_batches([FLIP, Fussy(), BLUR], odd_and_even()[:COUNT])))
    for each in kept:
        assert each.error is None or each.error.__traceback__ is None
    del each
    gc.collect()
    assert tensors() == before
