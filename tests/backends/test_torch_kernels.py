"""Every op of the catalogue that has a kernel for a device, beside its twin on the CPU."""

from kaleidoscope import ops
from kaleidoscope.ops.base import Op, op
from kaleidoscope.ops.device import _KERNELS, kernel_of
from kaleidoscope.ops.operations import known_ops
from kaleidoscope.testing.device_tests import DeviceTests

BORDERS = ("constant", "replicate", "reflect", "wrap", "reflect_101")

#: Those that take any image.
ANY = (
    *(ops.HorizontalFlip(), ops.VerticalFlip(), ops.Transpose(), ops.RandomRotate90(), ops.D4()),
    *(ops.Rotate(40, border_mode=mode) for mode in BORDERS),
    *(ops.Rotate(40, interpolation="nearest", border_mode=mode) for mode in BORDERS),
    *(ops.Rotate(40, interpolation="cubic", border_mode=mode) for mode in BORDERS),
    *(ops.Rotate(20, fill=0.7), ops.Rotate(20, crop_border=True), ops.SafeRotate(), ops.ShiftScaleRotate()),
    *(ops.Affine(scale=(0.5, 1.5), rotate=(-90, 90), shear=(-20, 20)), ops.Affine(rotate=30, fit_output=True)),
    *(ops.Perspective(), ops.Perspective(scale=0.3, border_mode="reflect_101"), ops.Perspective(keep_size=False)),
    *(ops.Resize(40, 30), ops.Resize(90, 100), ops.Resize(30, 120), ops.Resize(37, 41, interpolation="nearest")),
    *(ops.Resize(50, 97, interpolation="cubic"), ops.Resize(70, 50, interpolation="lanczos4")),
    *(ops.Resize(*size, interpolation="area") for size in ((20, 30), (61, 42), (100, 30), (90, 120))),
    *(ops.Resize(20, 20, area_for_downscale="image"), ops.LongestMaxSize(50), ops.SmallestMaxSize(70)),
    *(ops.RandomScale((-0.4, 0.4)), ops.RandomResizedCrop((30, 40)), ops.RandomSizedCrop((1, 1), (20, 30))),
    *(ops.Pad(3), ops.Pad((1, 2, 3, 4), fill=0.3), *(ops.Pad(70, border_mode=mode) for mode in BORDERS[1:])),
    *(ops.PadIfNeeded(70, 90, position="random"), ops.PadIfNeeded(70, 90, border_mode="reflect_101")),
    *(ops.CenterCrop(40, 30, pad_if_needed=True), ops.RandomCrop(40, 30, pad_if_needed=True, fill=0.5)),
    *(ops.CropAndPad(px=(-3, 5)), ops.CropAndPad(percent=(-0.2, 0.2), keep_size=False, border_mode="reflect")),
    *(
        ops.BBoxSafeRandomCrop(),
        ops.RandomGamma((50, 200)),
        ops.Solarize((0.2, 0.8)),
        ops.InvertImg(),
        ops.Posterize(3),
    ),
    *(ops.RandomToneCurve(), ops.RandomToneCurve(per_channel=True), ops.RandomBrightnessContrast()),
    *(ops.RandomBrightnessContrast(brightness_by_max=False), ops.RandomBrightnessContrast(ensure_safe_range=True)),
    *(ops.ChannelShuffle(), ops.ToFloat(), ops.ToFloat(max_value=200.0), ops.Normalize(0.5, 0.3)),
    *(ops.Normalize(normalization=way) for way in ("image", "image_per_channel", "min_max", "min_max_per_channel")),
    *(ops.GaussianBlur(), ops.GaussianBlur((3, 7)), ops.GaussianBlur(sigma_limit=(0, 0)), ops.Blur((3, 9))),
    *(ops.MotionBlur((3, 9)), ops.MedianBlur((3, 5)), ops.Sharpen(), ops.Sharpen(method="gaussian")),
    *(
        ops.Emboss(),
        ops.UnsharpMask(),
        ops.UnsharpMask(threshold=0),
        ops.GaussNoise(),
        ops.GaussNoise(per_channel=False),
    ),
    *(ops.GaussNoise((0.05, 0.1), (-0.1, 0.1), noise_scale_factor=0.4), ops.MultiplicativeNoise((0.5, 1.5))),
    *(ops.MultiplicativeNoise((0.5, 1.5), per_channel=True), ops.MultiplicativeNoise((0.5, 1.5), elementwise=True)),
    *(ops.MultiplicativeNoise(elementwise=True, per_channel=True), ops.PixelDropout(0.1), ops.PixelDropout(0.1, True)),
    *(ops.PixelDropout(0.1, drop_value=None), ops.SaltAndPepper((0.1, 0.3))),
    *(ops.CoarseDropout((1, 5)), ops.CoarseDropout(fill=0.8), ops.Erasing(), ops.GridDropout(), ops.GridDropout(0.8)),
)
POLICIES = known_ops("linear", 0.0, 0.0)
#: Colours, grey or not.
GREY_OR_RGB = (
    *(ops.HueSaturationValue(), ops.HueSaturationValue(90, 120, 60), ops.HueSaturationValue(0, 0, 0)),
    *(ops.ColorJitter(), ops.ToSepia()),
)
RGB = (ops.RGBShift(), ops.RGBShift(60, 60, 60), ops.PlanckianJitter(), ops.PlanckianJitter("cied"))
#: Those that ask for more than channels.
LARGE = (ops.CenterCrop(40, 30), ops.RandomCrop(61, 128), ops.Crop(3, 4, 50, 60), ops.Tile(1, 0, 2, 3))
SEVERAL = (ops.ChannelDropout(), ops.ChannelDropout((1, 2), fill=0.4))
GREY = tuple(ops.ToGray(method=method) for method in ("weighted_average", "average", "max", "desaturation"))
FLOATS = (ops.FromFloat(), ops.FromFloat("uint16"), ops.FromFloat(max_value=100.0))
WHOLE_IMAGE = (
    ops.CropNonEmptyMaskIfExists(40, 50),
    # OpenCV rounds the ends of rows, and cuts the rest of them off; such factors make 3 levels of the one between.
    ops.ColorJitter(0.5, 0.5, 0.9, 0.5),
)

BY_COUNTS = (
    *(ops.AutoContrast(), ops.AutoContrast(method="pil", cutoff=2.0), ops.AutoContrast(ignore=0)),
    *(ops.Equalize(), ops.Equalize(mode="pil"), POLICIES["Equalize"]),
)

INSTANCES = (*BY_COUNTS, *ANY, *GREY_OR_RGB, *RGB, *LARGE, *SEVERAL, *GREY, *FLOATS, *WHOLE_IMAGE)


def takes(op, frame):
    """Return whether an op can do images of that frame."""
    if op in LARGE or op in WHOLE_IMAGE:
        return (frame.height, frame.width) == (61, 128)
    if op in RGB:
        return frame.channels >= 3
    if op in SEVERAL:
        return frame.channels > op.channel_drop_range[1] + (frame.channels == 4)
    if op in FLOATS:
        return frame.dtype == "float32"
    if isinstance(op, ops.RandomSizedCrop | ops.RandomResizedCrop):
        return frame.height > 2
    return True


def test_every_kernel_is_tested():
    assert {type(op).__name__ for op in INSTANCES} >= set(_KERNELS) - {"_Sharpness"}  # its draws are a policy's
    assert len({type(op) for op in INSTANCES}) >= 56


class TestEveryKernel(DeviceTests):
    instances = INSTANCES

    def takes(self, op, frame):
        return takes(op, frame)


@op
class SharpnessOfAPolicy(Op):
    """Draw as policies do for the op that has no draw of its own."""

    short_name = "drawnsharpness"
    sharpness = POLICIES["Sharpness"]

    def sample_params(self, rng, frame):
        return {"factor": float(rng.uniform(0.1, 1.9))}

    def kernel(self, src, params, out):
        self.sharpness.kernel(src, params, out)

    def device_kernel(self, batch, params):
        return kernel_of(self.sharpness)(batch, params)


class TestSharpness(DeviceTests):
    instances = (SharpnessOfAPolicy(),)
