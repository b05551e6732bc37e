"""nn.images: files of every kind as arrays, each bad one as a clear line, and features that are never stale."""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nn
from nn.images import IMAGENET_MEAN, IMAGENET_STD, FeatureCache, ImageError, read_image

Image = pytest.importorskip("PIL.Image")

AS_IT_IS: dict[str, Any] = dict(mean=(0, 0, 0), std=(1, 1, 1))
colours = st.tuples(*[st.integers(0, 255)] * 3)
sides = st.integers(1, 40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


def pixels(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def palette(size: tuple[int, int], rgb: tuple[int, int, int]) -> Any:
    image = Image.new("P", size, 1)
    image.putpalette([255, 255, 255, *rgb])
    return image


# A plain image of a mode, the format that has it, and what one sees of a colour.
MODES: dict[str, Any] = {
    "RGB": ("png", lambda size, rgb: Image.new("RGB", size, rgb), lambda rgb: rgb),
    "CMYK": ("tiff", lambda size, rgb: Image.new("CMYK", size, (*(255 - c for c in rgb), 0)), lambda rgb: rgb),
    "P": ("png", palette, lambda rgb: rgb),
    "L": ("png", lambda size, rgb: Image.new("L", size, rgb[0]), lambda rgb: rgb[:1] * 3),
    "1": ("png", lambda size, rgb: Image.new("1", size, rgb[0] % 2), lambda rgb: (rgb[0] % 2 * 255,) * 3),
}


@given(st.sampled_from(list(MODES)), colours, sides, sides, st.integers(1, 9))
def test_a_plain_colour_comes_through_every_mode_and_size(
    folder: Path, mode: str, rgb: tuple[int, int, int], width: int, height: int, size: int
) -> None:
    ending, drawn, seen = MODES[mode]
    path = folder / f"plain.{ending}"
    drawn((width, height), rgb).save(path)
    image = read_image(path, size, **AS_IT_IS)
    assert image.dtype == np.float32
    assert image.shape == (3, size, size)
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(np.round(image * 255), np.broadcast_to(np.reshape(seen(rgb), (3, 1, 1)), image.shape))


@given(st.integers(0, 65535), st.sampled_from(["png", "tiff", "ppm"]))
def test_16_bits_of_grey_are_scaled_and_not_cut_off(folder: Path, value: int, ending: str) -> None:
    path = folder / f"deep.{ending}"
    Image.fromarray(np.full((3, 4), value, np.uint16)).save(path)
    assert abs(read_image(path, 2, **AS_IT_IS) - value / 65535).max() <= 0.5 / 255 + 1e-6


@given(colours, st.integers(0, 255), st.sampled_from(["RGBA", "LA"]))
def test_what_is_transparent_lies_on_white(folder: Path, rgb: tuple[int, int, int], alpha: int, mode: str) -> None:
    colour = rgb if mode == "RGBA" else rgb[:1]
    Image.new(mode, (3, 3), (*colour, alpha)).save(folder / "clear.png")
    expected = np.broadcast_to(255 - (255 - np.array(colour)) * alpha / 255, 3).reshape(3, 1, 1)
    assert abs(read_image(folder / "clear.png", 2, **AS_IT_IS) * 255 - expected).max() < 1


def test_a_transparent_colour_of_a_palette_lies_on_white(folder: Path) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.save(folder / "clear.gif", transparency=0)
    assert (read_image(folder / "clear.gif", 4, **AS_IT_IS) == 1).all()


@given(sides, sides, st.integers(1, 3))
def test_the_shorter_side_is_resized_and_the_middle_is_seen(folder: Path, width: int, height: int, times: int) -> None:
    shorter = min(width, height)
    array = pixels(width + (width - shorter) % 2, height + (height - shorter) % 2)  # an even margin
    (folder / "middle.png").write_bytes(png(array))
    whole = Image.fromarray(array)
    whole = np.asarray(whole.resize((whole.width * times, whole.height * times), Image.Resampling.BILINEAR))
    size = shorter * times
    top, left = (whole.shape[0] - size) // 2, (whole.shape[1] - size) // 2
    middle = whole[top : top + size, left : left + size].transpose(2, 0, 1)
    off = 0 if times == 1 else 1  # Pillow rounds to 8 bits between rows and columns, whose phases differ
    assert abs(read_image(folder / "middle.png", size, **AS_IT_IS) * 255 - middle).max() < off + 1e-3


def test_a_smaller_image_averages_all_pixels(folder: Path) -> None:
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 255
    (folder / "checks.png").write_bytes(png(np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)))
    assert abs(read_image(folder / "checks.png", 8, **AS_IT_IS) - 0.5).max() < 0.05


# What the camera's picture was turned by, from the one that is seen: EXIF's orientations 1 to 8.
TURNED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", TURNED)
def test_exif_orientation_is_honoured(folder: Path, orientation: int) -> None:
    seen = pixels(6, 6)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(TURNED[orientation](seen))).save(folder / "turned.png", exif=exif)
    image = read_image(folder / "turned.png", 6, **AS_IT_IS)
    np.testing.assert_array_equal(np.round(image * 255), seen.transpose(2, 0, 1))


def test_channels_are_normalised_by_default_as_imagenet(folder: Path) -> None:
    (folder / "a.png").write_bytes(png(pixels(5, 5)))
    plain = read_image(folder / "a.png", 4, **AS_IT_IS)
    mean, std = np.reshape(IMAGENET_MEAN, (3, 1, 1)), np.reshape(IMAGENET_STD, (3, 1, 1))
    np.testing.assert_allclose(read_image(folder / "a.png", 4), (plain - mean) / std, atol=1e-6)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 20_000), (20_000, 1)])
def test_an_image_of_one_pixel_a_side_is_an_image(folder: Path, width: int, height: int) -> None:
    Image.new("RGB", (width, height), "blue").save(folder / "thin.png")
    image = read_image(folder / "thin.png", 64, **AS_IT_IS)
    assert (image[:2] == 0).all()
    assert (image[2] == 1).all()


# ---- bad files


def refused(path: Path) -> str:
    with pytest.raises(ImageError) as error:
        read_image(path, 4)
    line = str(error.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return line


def made_png(width: int, height: int, *more: bytes) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (header, *more, b"IDAT" + zlib.compress(bytes(9999)), b"IEND")
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_bad_files_are_refused_by_a_line_with_their_name(tmp_path: Path) -> None:
    assert "no such file; check its name" in refused(tmp_path / "missing.jpg")
    assert "give a file" in refused(tmp_path)
    path = tmp_path / "bad.jpg"
    for data, message in [
        (b"", "none that can be read here"),
        (b"<html>404 Not Found</html>", "none that can be read here"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "convert it to one of JPEG"),
        (png(pixels(20, 20))[:600], "damaged or cut short"),
        (made_png(10_001, 10_000), "10001 x 10000 pixels; scale it down"),
        (made_png(100_000, 100_000), "decompression bomb"),
        (made_png(9, 9, b"zTXta\0\0" + zlib.compress(bytes(9_999_999))), "too large"),
    ]:
        path.write_bytes(data)
        assert message in refused(path)
    Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "float.tiff")
    assert "unknown range; save it with 8 or 16" in refused(tmp_path / "float.tiff")
    Image.fromarray(np.full((2, 2), -1, np.int32)).save(tmp_path / "int.tiff")
    assert "unknown range" in refused(tmp_path / "int.tiff")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a file that may not be read")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch(mode=0)
    assert "check who may read it" in refused(tmp_path / "a.png")


def refused_or_right(path: Path) -> bool:
    try:
        image = read_image(path, 4)
    except ImageError:
        refused(path)
        return False
    assert image.shape == (3, 4, 4)
    assert np.isfinite(image).all()
    return True


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "tiff", "webp"])
def test_every_beginning_of_a_file_is_refused_or_an_image(tmp_path: Path, kind: str) -> None:
    Image.fromarray(pixels(4, 4)).save(tmp_path / f"whole.{kind}", exif=Image.Exif())
    whole = (tmp_path / f"whole.{kind}").read_bytes()
    path, right = tmp_path / "cut", []
    for n in range(len(whole) + 1):
        path.write_bytes(whole[:n])
        right.append(refused_or_right(path))
    assert right[-1]
    assert not any(right[: len(whole) // 2])


@given(st.sampled_from(["png", "jpeg", "gif", "tiff", "webp", "bmp", "ppm"]), st.data())
def test_damaged_bytes_are_refused_or_an_image(folder: Path, kind: str, data: st.DataObject) -> None:
    file = io.BytesIO()
    Image.fromarray(pixels(9, 9)).save(file, kind)
    damaged = bytearray(file.getvalue())
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=5)):
        damaged[place] = data.draw(st.integers(0, 255))
    (folder / "damaged").write_bytes(damaged)
    refused_or_right(folder / "damaged")


def test_a_size_below_one_is_refused(folder: Path) -> None:
    (folder / "a.png").write_bytes(png(pixels(2, 2)))
    with pytest.raises(ValueError, match="1 or more pixels a side, got 0"):
        read_image(folder / "a.png", 0)


# ---- features


class Net(nn.Module):
    """Counts how many images it was given."""

    def __init__(self, weight: float = 1.0, power: int = 1) -> None:
        self.weight, self.power, self.calls = nn.Parameter([weight]), power, 0

    def extra_repr(self) -> str:
        return f"power={self.power}"

    def forward(self, x: Any) -> Any:
        assert not self.training
        self.calls += 1
        return (x * self.weight) ** self.power


def test_features_are_computed_once(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(pixels(5, 5)))
    net = Net(2.0)
    cache = FeatureCache(tmp_path / "features", net, size=3)
    net.train()  # as a part of a model that is trained
    made, found = cache(tmp_path / "a.png"), cache(tmp_path / "a.png")
    again = FeatureCache(tmp_path / "features", other := Net(2.0), size=3)(tmp_path / "a.png")
    assert (net.calls, other.calls) == (1, 0)
    for features in (made, found, again):
        np.testing.assert_array_equal(features, read_image(tmp_path / "a.png", 3) * 2, strict=True)


@pytest.mark.parametrize(
    "change",
    [dict(net=Net(2.0)), dict(net=Net(power=2)), dict(size=2), dict(mean=(0, 0, 0)), dict(std=(1, 1, 2))],
    ids=["weights", "architecture", "size", "mean", "std"],
)
def test_another_net_or_preprocessing_has_other_features(tmp_path: Path, change: dict[str, Any]) -> None:
    (tmp_path / "a.png").write_bytes(png(pixels(5, 5)))
    FeatureCache(tmp_path / "features", Net(), size=3)(tmp_path / "a.png")
    settings = dict(net=Net(), size=3) | change
    features = FeatureCache(tmp_path / "features", **settings)(tmp_path / "a.png")
    np.testing.assert_array_equal(features, FeatureCache(tmp_path / "new", **settings)(tmp_path / "a.png"))
    assert len(list((tmp_path / "features").iterdir())) == 2


def test_a_changed_image_has_other_features_even_of_the_same_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    cache = FeatureCache(tmp_path / "features", Net(), size=3)
    Image.fromarray(pixels(5, 5, seed=1)).save(path)
    before, was = cache(path), path.stat()
    Image.fromarray(pixels(5, 5, seed=2)).save(path)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert path.stat().st_size == was.st_size
    after = cache(path)
    assert (before != after).any()
    np.testing.assert_array_equal(after, read_image(path, 3))


def test_a_damaged_file_of_the_cache_is_made_again(tmp_path: Path) -> None:
    for name, seed in (("a.png", 1), ("b.png", 2)):
        (tmp_path / name).write_bytes(png(pixels(5, 5, seed)))
    cache = FeatureCache(tmp_path / "features", Net(), size=2)
    right = cache(tmp_path / "a.png")
    (file,) = cache.folder.iterdir()
    cache(tmp_path / "b.png")
    (others,) = set(cache.folder.iterdir()) - {file}
    whole = file.read_bytes()
    another = FeatureCache(tmp_path / "features", Net(2.0), size=2)
    another(tmp_path / "a.png")
    (of_another_net,) = another.folder.iterdir()
    nn.save(tmp_path / "foreign", {"features": np.zeros(3)})
    cut = [whole[:n] for n in (0, 7, 8, len(whole) // 2, len(whole) - 1)]
    for data in (*cut, *[other.read_bytes() for other in (others, of_another_net, tmp_path / "foreign")]):
        file.write_bytes(data)
        np.testing.assert_array_equal(cache(tmp_path / "a.png"), right)
        assert file.read_bytes() == whole


def test_a_bad_image_has_no_features(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    cache = FeatureCache(tmp_path / "features", Net(), size=2)
    for name in ("a.png", "missing.png"):
        with pytest.raises(ImageError, match=re.escape(f"{tmp_path / name}: ")):
            cache(tmp_path / name)
    assert not (tmp_path / "features").exists()
