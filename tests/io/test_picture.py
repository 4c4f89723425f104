"""Pictures: depth, palette, transparency, orientation, damage."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile, ImageOps

from medimg.errors import InputError, MissingDependency
from medimg.io.image import Picture
from medimg.io.picture_decode import turn
from medimg.io.read import read
from medimg.io.write import write_picture

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def _codes(picture: Picture) -> list[str]:
    return [finding.code for finding in picture.findings]


def _png16(array: np.ndarray, colour_type: int) -> bytes:
    """A 16-bit PNG whose rows use filter 1 (Sub), since Pillow writes none of these."""
    samples = array.astype(">u2").reshape(array.shape[0], -1).view(np.uint8).reshape(array.shape[0], -1)
    step = 2 * (array.shape[2] if array.ndim == 3 else 1)
    before = np.pad(samples, ((0, 0), (step, 0)))[:, : samples.shape[1]]
    rows = b"".join(b"\x01" + row.tobytes() for row in (samples - before).astype(np.uint8))

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_eight_bit_colour(tmp_path: Path, name: str) -> None:
    Image.fromarray(RGB).save(tmp_path / name)
    picture = read(tmp_path / name)
    np.testing.assert_array_equal(picture.array, RGB)
    assert _codes(picture) == []
    assert picture.colour_space == "sRGB"


def test_grey_is_replicated_and_transparency_dropped(tmp_path: Path) -> None:
    Image.fromarray(RGB[..., 0]).save(tmp_path / "grey.png")
    picture = read(tmp_path / "grey.png")
    np.testing.assert_array_equal(picture.array, np.repeat(RGB[..., :1], 3, axis=2))
    assert _codes(picture) == ["GREY_REPLICATED"]
    Image.fromarray(np.dstack([RGB, RGB[..., :1]])).save(tmp_path / "alpha.png")
    picture = read(tmp_path / "alpha.png")
    np.testing.assert_array_equal(picture.array, RGB)
    assert _codes(picture) == ["ALPHA_DROPPED"]
    Image.fromarray(RGB[..., 0]).convert("LA").save(tmp_path / "la.png")
    assert _codes(read(tmp_path / "la.png")) == ["ALPHA_DROPPED", "GREY_REPLICATED"]


@pytest.mark.parametrize("name", ["p.png", "p.gif"])
def test_palette(tmp_path: Path, name: str) -> None:
    image = Image.fromarray(RGB).quantize(16)
    image.save(tmp_path / name)
    picture = read(tmp_path / name)
    np.testing.assert_array_equal(picture.array, np.asarray(image.convert("RGB")))
    assert "PALETTE_EXPANDED" in _codes(picture)


def test_sixteen_bit_colour_keeps_all_its_bits(tmp_path: Path) -> None:
    array = RNG.integers(0, 65536, (5, 7, 4), dtype=np.uint16)
    (tmp_path / "rgb.png").write_bytes(_png16(array[..., :3], 2))
    (tmp_path / "rgba.png").write_bytes(_png16(array, 6))
    (tmp_path / "grey.png").write_bytes(_png16(array[..., 0], 0))
    np.testing.assert_array_equal(read(tmp_path / "rgb.png").array, array[..., :3])
    np.testing.assert_array_equal(read(tmp_path / "rgba.png").array, array[..., :3])
    np.testing.assert_array_equal(read(tmp_path / "grey.png").array[..., 2], array[..., 0])
    (tmp_path / "la.png").write_bytes(_png16(array[..., :2], 4))
    with pytest.raises(InputError, match="16-bit grey with alpha"):
        read(tmp_path / "la.png")
    for compression in (None, "zlib"):
        tifffile.imwrite(tmp_path / "t.tif", array[..., :3], photometric="rgb", compression=compression)
        np.testing.assert_array_equal(read(tmp_path / "t.tif").array, array[..., :3])
    tifffile.imwrite(tmp_path / "g.tif", array[..., 0], photometric="minisblack")
    np.testing.assert_array_equal(read(tmp_path / "g.tif").array[..., 1], array[..., 0])


def test_missing_codec_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "t.tif", RGB.astype(np.uint16), photometric="rgb")

    def fail(*_: object, **__: object) -> None:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile, "imread", fail)
    with pytest.raises(MissingDependency, match="imagecodecs"):
        read(tmp_path / "t.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["o.png", "o.jpg", "o.tif"])
def test_exif_orientation_is_applied_once(tmp_path: Path, orientation: int, name: str) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(RGB).save(tmp_path / name, exif=exif)
    with Image.open(tmp_path / name) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    picture = read(tmp_path / name)
    np.testing.assert_array_equal(picture.array, upright)
    assert ("ORIENTATION_APPLIED" in _codes(picture)) == (orientation != 1)
    if name == "o.png":
        np.testing.assert_array_equal(turn(RGB, orientation), upright)


def test_cmyk_is_converted_with_a_finding(tmp_path: Path) -> None:
    image = Image.fromarray(RGB).convert("CMYK")
    image.save(tmp_path / "c.tif")
    picture = read(tmp_path / "c.tif")
    assert _codes(picture) == ["COLOUR_CONVERTED"]
    np.testing.assert_array_equal(picture.array, np.asarray(image.convert("RGB")))


def test_several_pages_are_refused(tmp_path: Path) -> None:
    page = Image.fromarray(RGB)
    page.save(tmp_path / "m.tif", save_all=True, append_images=[page, page])
    with pytest.raises(InputError, match="3 pages"):
        read(tmp_path / "m.tif")


def test_float_pictures_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "f.tif", RGB[..., 0].astype(np.float32))
    with pytest.raises(InputError, match="mode F"):
        read(tmp_path / "f.tif")


def test_extension_that_lies(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.jpg", format="PNG")
    picture = read(tmp_path / "a.jpg")
    np.testing.assert_array_equal(picture.array, RGB)
    assert _codes(picture) == ["WRONG_EXTENSION"]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_cut_short(tmp_path: Path, name: str) -> None:
    Image.fromarray(RNG.integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(tmp_path / name)
    raw = (tmp_path / name).read_bytes()
    for part in (0.8, 0.3, 0.01):
        (tmp_path / name).write_bytes(raw[: max(16, int(len(raw) * part))])
        with pytest.raises(InputError) as caught:
            read(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_cut_short_is_refused_whatever_another_library_told_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-40])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(InputError, match="cut short"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["w.png", "w.tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_write_then_read(tmp_path: Path, name: str, dtype: type, shape: tuple[int, ...]) -> None:
    array = RNG.integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    if name == "w.png" and dtype == np.uint16 and len(shape) == 3:
        with pytest.raises(InputError, match="16-bit colour"):
            write_picture(array, tmp_path / name)
        assert not list(tmp_path.iterdir())
        return
    write_picture(array, tmp_path / name)
    expected = array if len(shape) == 3 else np.repeat(array[..., None], 3, axis=2)
    np.testing.assert_array_equal(read(tmp_path / name).array, expected)


def test_write_refuses_what_would_lose_something(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lossless"):
        write_picture(RGB, tmp_path / "a.jpg")
    with pytest.raises(InputError, match="Not a picture"):
        write_picture(RGB.astype(float), tmp_path / "a.png")


@pytest.mark.real
def test_real_pictures_equal_pillow(real_data: Path) -> None:
    for pattern in ("endoscopy-kvasir/images/*.jpg", "fundus-drive/images/*.tif", "mri-lgg/images/*.tif"):
        paths = sorted(real_data.glob(pattern))
        assert paths
        for path in paths[:: max(1, len(paths) // 5)]:
            with Image.open(path) as image:
                np.testing.assert_array_equal(read(path).array, np.asarray(image))
    assert read(next(real_data.glob("fundus-idrid-lesions/images/*.jpg"))).array.shape == (2848, 4288, 3)
