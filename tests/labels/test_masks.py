"""Folders of masks, paired with images by stem."""

import cv2
import numpy as np
import pytest
from PIL import Image

import kaleidoscope as ks
from kaleidoscope import ops
from kaleidoscope.errors import DecodeError, RecipeError, StoreError
from kaleidoscope.labels.masks import values_of

MASK = np.zeros((40, 60), np.uint8)
MASK[10:20, 5:30] = 3


@pytest.fixture
def folder(tmp_path):
    for name in ("cat/1.jpg", "2.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((40, 60, 3), 90, np.uint8))
        mask = tmp_path / "masks" / name
        mask.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(mask.with_suffix(".png")), MASK)
    return tmp_path


def records(dataset):
    return ks.augment(dataset, ops.Sequential()).compute()


def test_pair_by_stem(folder):
    dataset = ks.read_images(folder / "images", labels=ks.labels.Masks(folder / "masks"))
    for record in records(dataset):
        np.testing.assert_array_equal(record.targets.masks["mask"], MASK)
        assert len(record.targets) == 0


def test_may_lie_beside_the_images_and_are_none(folder):
    for mask in (folder / "masks").rglob("*.png"):
        mask.rename((folder / "images" / mask.relative_to(folder / "masks")).with_name(f"{mask.stem}_seg.png"))
    dataset = ks.read_images(folder / "images", labels=ks.labels.Masks(folder / "images", "seg", suffix="_seg"))
    assert [record.key for record in records(dataset)] == ["2.png", "cat/1.jpg"]
    assert all(list(record.targets.masks) == ["seg"] for record in records(dataset))


def test_may_be_several(folder):
    both = [ks.labels.Masks(folder / "masks", name) for name in ("one", "two")]
    assert [sorted(r.targets.masks) for r in records(ks.read_images(folder / "images", labels=both))] == [
        ["one", "two"]
    ] * 2


def test_an_image_without_one_is_told(folder):
    (folder / "masks" / "2.png").unlink()
    with pytest.warns(UserWarning, match=r"1 images have no mask in .*, such as '2.png'") as caught:
        dataset = ks.read_images(folder / "images", labels=ks.labels.Masks(folder / "masks"))
    assert caught[0].filename == __file__
    assert [record.targets is None for record in records(dataset)] == [True, False]


def test_no_image_with_one_is_refused(folder):
    with pytest.raises(RecipeError, match=r"called '2_m' with any extension for '2.png'; there is none"):
        ks.read_images(folder / "images", labels=ks.labels.Masks(folder / "masks", suffix="_m"))
    with pytest.raises(StoreError, match="there is nothing there"):
        ks.read_images(folder / "images", labels=ks.labels.Masks(folder / "nowhere"))


def test_two_for_one_image_are_refused(folder):
    cv2.imwrite(str(folder / "masks" / "2.tiff"), MASK)
    with pytest.raises(RecipeError, match="two masks belong to '2': "):
        ks.read_images(folder / "images", labels=ks.labels.Masks(folder / "masks"))


def test_only_masks_are_refused(folder):
    with pytest.raises(RecipeError, match="every one of these images is a mask"):
        ks.read_images(folder / "masks", labels=ks.labels.Masks(folder / "masks"))


def test_other_labels_are_refused(folder):
    with pytest.raises(RecipeError, match=r"labels: expected ks.labels.Masks\(folder\) or .*, got 'masks' \(str\)"):
        ks.read_images(folder / "images", labels=["masks"])


def test_of_another_size_cost_their_image_only(folder):
    cv2.imwrite(str(folder / "masks" / "2.png"), MASK[:30])
    failed, good = records(ks.read_images(folder / "images", labels=ks.labels.Masks(folder / "masks")))
    assert str(failed.error).startswith("2.png: labels: the mask 'mask' is 60x30 pixels large, its image 60x40")
    assert good.error is None


def test_that_cannot_be_read_cost_their_image_only(folder):
    (folder / "masks" / "2.png").write_text("no mask")
    failed, good = records(ks.read_images(folder / "images", labels=ks.labels.Masks(folder / "masks")))
    assert str(failed.error).startswith("2.png: labels: ")
    assert isinstance(failed.error, DecodeError)
    assert good.error is None


class TestValues:
    def encoded(self, pixels):
        return cv2.imencode(".png", pixels)[1].tobytes()

    @pytest.mark.parametrize("format", ["png", "tiff", "gif", "bmp"])
    def test_of_a_palette_are_its_indices(self, format, tmp_path):
        image = Image.fromarray(MASK, mode=None).convert("P")
        image.putdata(MASK.ravel().tolist())
        image.putpalette([0, 0, 0, 9, 9, 9, 128, 0, 0, 0, 128, 0])
        image.save(tmp_path / f"p.{format}", optimize=False)  # it would put the colours into another order
        np.testing.assert_array_equal(values_of((tmp_path / f"p.{format}").read_bytes(), "p"), MASK)

    def test_that_are_signed_stay_unless_one_is_negative(self, tmp_path):
        np.save(tmp_path / "s.npy", MASK.astype("int16"))
        np.testing.assert_array_equal(values_of((tmp_path / "s.npy").read_bytes(), "s"), MASK)
        np.save(tmp_path / "s.npy", MASK.astype("int16") - 1)
        with pytest.raises(DecodeError, match="at least 0, s has -1"):
            values_of((tmp_path / "s.npy").read_bytes(), "s")

    @pytest.mark.parametrize("dtype", ["uint8", "uint16"])
    def test_of_one_channel_stay(self, dtype):
        mask = MASK.astype(dtype) * 80
        np.testing.assert_array_equal(values_of(self.encoded(mask), "m"), mask)

    def test_of_three_equal_channels_are_one(self):
        np.testing.assert_array_equal(values_of(self.encoded(np.dstack([MASK] * 3)), "m"), MASK)

    def test_of_channels_that_differ_are_refused(self):
        with pytest.raises(DecodeError, match="m has 3 channels that differ"):
            values_of(self.encoded(np.dstack([MASK, MASK, MASK + 1])), "m")

    def test_of_floats_are_refused(self, tmp_path):
        np.save(tmp_path / "f.npy", MASK.astype("float32") / 3)
        with pytest.raises(DecodeError, match="expected a mask as uint8 or uint16, f holds float32"):
            values_of((tmp_path / "f.npy").read_bytes(), "f")
