"""Photographs as arrays for a CNN, and the features that a frozen CNN makes of them, kept on disk.

Pillow reads the files; it is imported by the first call.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from minigrad import as_tensor, no_grad
from minigrad.backend import to_numpy

from .checkpoint import CheckpointError, digest, load, save
from .module import Module

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

Floats = npt.NDArray[np.floating[Any]]
Channels = tuple[float, float, float]

# Of the images that the published weights were trained on, ImageNet's: R, G and B as 0..1.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # of all that Pillow knows, some run other programs
LARGEST = 100_000_000  # pixels: a file of a few kilobytes may say that it has any number


class ImageError(ValueError):
    """A file that can't be read as an image."""


def read_image(
    path: str | Path, size: int, mean: Channels = IMAGENET_MEAN, std: Channels = IMAGENET_STD
) -> npt.NDArray[np.float32]:
    """The square in the middle of an image file, as a CNN takes it.

    The image is turned as its EXIF orientation says and made RGB: grey, palettes, CMYK and 16 bits too; what is
    transparent lies on white, as on a page. Its shorter side is resized to `size` (bilinear, averaging what is made
    smaller), and what the longer one has more is cut off on both sides. Of an animation it is the first image.

    Args:
        path: the file.
        size: S, pixels a side, at least 1.
        mean: what is subtracted of R, G and B as 0..1.
        std: what they are divided by then.

    Returns:
        An array of shape (3, S, S).

    Raises:
        ImageError: the file is missing, damaged, cut short, no image, or too large.

    >>> import tempfile
    >>> from PIL import Image
    >>> path = Path(tempfile.mkdtemp(), "red.png")
    >>> Image.new("RGB", (60, 40), "red").save(path)
    >>> read_image(path, size=2, mean=(0, 0, 0), std=(1, 1, 1))
    array([[[1., 1.],
            [1., 1.]],
    <BLANKLINE>
           [[0., 0.],
            [0., 0.]],
    <BLANKLINE>
           [[0., 0.],
            [0., 0.]]], dtype=float32)
    """
    return decoded(Path(path), file_bytes(Path(path)), size, mean, std)


def file_bytes(path: Path) -> bytes:
    """What a file says; ImageError where there is none."""
    if not path.exists():
        raise ImageError(f"{path}: expected an image, but there is no such file; check its name and its folder")
    if not path.is_file():  # to read a device might never end
        raise ImageError(f"{path}: expected an image, but it is a folder or a device; give a file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: could not be read ({error.strerror}); check who may read it") from error


def decoded(path: Path, data: bytes, size: int, mean: Channels, std: Channels) -> npt.NDArray[np.float32]:
    """The array that `read_image` makes of a file's bytes; the path is for its errors."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    if size < 1:
        raise ValueError(f"size: expected 1 or more pixels a side, got {size}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata, which we don't need, and of sizes, which we check
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > LARGEST:
                    raise ImageError(f"it has {image.width} x {image.height} pixels; scale it down to {LARGEST:,}")
                square = ImageOps.fit(as_rgb(ImageOps.exif_transpose(image)), (size, size), Image.Resampling.BILINEAR)
    except (Image.DecompressionBombError, ImageError) as error:
        raise ImageError(f"{path}: expected a photograph, but {error}") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path}: expected an image, but it is none that can be read here, or its beginning is damaged; "
            f"convert it to one of {', '.join(FORMATS)}"
        ) from error
    except Exception as error:  # what decoders raise for damaged files has no bounds
        raise ImageError(f"{path}: the image is damaged or cut short ({error}); get the file again") from error
    pixels = np.asarray(square, np.float32).transpose(2, 0, 1) / 255  # (3, S, S)
    return np.ascontiguousarray((pixels - as_channels(mean)) / as_channels(std))


def as_rgb(image: PillowImage) -> PillowImage:
    """An image of any mode as RGB of 8 bits, on white."""
    from PIL import Image

    if image.mode[0] in "IF":  # numbers of more than 8 bits, which Pillow would cut off at 255
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise ImageError("its pixels have 32 bits of unknown range; save it with 8 or 16")
        image = Image.fromarray(np.round(values / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def as_channels(values: Channels) -> npt.NDArray[np.float32]:
    """A number for each of R, G and B, of shape (3, 1, 1)."""
    return np.array(values, np.float32).reshape(3, 1, 1)


class FeatureCache:
    """The features that a frozen CNN makes of image files, computed once and then read from a folder.

    Each image has a file of its own, so that nothing is lost when the program is killed, and no more in memory than is
    asked for. It is found by a digest of the image file's contents in a folder named by a digest of the net's weights,
    its `repr`, and the preprocessing: a changed image, another net or size has other files, and a damaged file is made
    again. What a module does otherwise without other weights, its `extra_repr` must tell.

    Args:
        folder: where the files are; it is made when it is needed, and may be deleted at any time.
        net: from images (1, 3, S, S) to features (1, ...), whose weights stay as they are now; set to evaluation.
        size: S, as are `mean` and `std` for `read_image`.

    >>> import tempfile, nn
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp())
    >>> Image.new("L", (9, 9)).save(folder / "black.png")
    >>> features = FeatureCache(folder / "features", nn.Flatten(), size=2)
    >>> features(folder / "black.png").shape
    (12,)
    """

    def __init__(
        self,
        folder: str | Path,
        net: Module,
        size: int,
        mean: Channels = IMAGENET_MEAN,
        std: Channels = IMAGENET_STD,
    ) -> None:
        self._net, self._preprocessing = net.eval(), (size, mean, std)
        weights = {name: to_numpy(array) for name, array in net.state_dict().items()}
        self.of = digest(weights, {"net": repr(net), "preprocessing": repr((size, *map(float, (*mean, *std))))})
        self.folder = Path(folder) / self.of[:16]  #: where the files of this net are

    def __call__(self, path: str | Path) -> Floats:
        """The features of an image file, of the shape that the net gives to one; what `read_image` raises.

        Raises:
            CheckpointError: a file of the cache can't be written.
        """
        path = Path(path)
        data = file_bytes(path)
        image = hashlib.sha256(data).hexdigest()
        file = self.folder / f"{image[:32]}.safetensors"
        found = self._found(file, image)
        return self._made(path, data, file, image) if found is None else found

    def _found(self, file: Path, image: str) -> Floats | None:
        """The features in a file of the cache; None: it is not there, damaged, or of something else."""
        if not file.exists():
            return None
        try:
            state = load(file)
        except CheckpointError:
            return None
        if not isinstance(state, dict) or (state.get("of"), state.get("image")) != (self.of, image):
            return None
        features: Floats = state["features"]
        return features

    def _made(self, path: Path, data: bytes, file: Path, image: str) -> Floats:
        x = as_tensor(decoded(path, data, *self._preprocessing)[None])  # (1, 3, S, S)
        with no_grad():
            self._net.eval()  # whatever became of it meanwhile
            output = self._net(x.to(next((p.device for p in self._net.parameters()), "cpu")))
        features: Floats = to_numpy(output.data)[0]
        self.folder.mkdir(parents=True, exist_ok=True)
        save(file, {"of": self.of, "image": image, "features": features})
        return features
