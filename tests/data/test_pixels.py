import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.conftest import picture
from tl_core.data import pixels
from tl_core.data.pixels import decode, to_input
from tl_core.errors import UnreadableImage


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float)).mean())


SMOOTH = Image.radial_gradient("L").resize((80, 60)).convert("RGB")


@pytest.mark.parametrize(
    ("format", "tolerance"),
    [("JPEG", 3), ("PNG", 0), ("WEBP", 4), ("GIF", 4), ("BMP", 0), ("TIFF", 0), ("HEIF", 4), ("AVIF", 4)],
)
def test_every_format_gives_the_same_picture(format: str, tolerance: float) -> None:
    image = decode(encoded(SMOOTH, format))
    assert image.mode == "RGB"
    assert image.size == (80, 60)
    assert difference(image, SMOOTH) <= tolerance


def test_exif_rotation_is_applied() -> None:
    upright = picture(0, 0, (60, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(upright.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)
    assert difference(decode(turned), upright) == 0


def test_exif_rotation_is_applied_to_a_large_photo_that_is_scaled_while_decoding() -> None:
    image = Image.new("RGB", (3000, 2000), "red")
    image.paste("blue", (0, 0, 3000, 1000))
    exif = Image.Exif()
    exif[0x0112] = 6
    result = decode(encoded(image, "JPEG", exif=exif))
    assert result.size == (683, 1024)
    assert result.getpixel((600, 500))[2] > 240
    assert result.getpixel((80, 500))[0] > 240


@pytest.mark.parametrize(
    ("image", "format", "options"),
    [
        (Image.new("RGBA", (10, 10), (0, 0, 0, 0)), "PNG", {}),
        (Image.new("P", (10, 10), 0), "GIF", {"transparency": 0}),
    ],
)
def test_what_is_transparent_lies_over_white(image: Image.Image, format: str, options: dict[str, int]) -> None:
    if image.mode == "P":
        image.putpalette([10, 20, 30, 200, 0, 0])
    image.putpixel((3, 3), 1 if image.mode == "P" else (200, 0, 0, 255))
    result = decode(encoded(image, format, **options))
    assert result.getpixel((0, 0)) == (255, 255, 255)
    assert result.getpixel((3, 3)) == (200, 0, 0)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(format: str) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    result = np.asarray(decode(encoded(Image.fromarray(ramp), format)))[..., 0].astype(float)
    assert np.abs(result - ramp / 257).max() <= 1


def test_32_bit_and_float_grey_are_scaled() -> None:
    whole = np.linspace(0, 4_000_000, 400).reshape(20, 20).astype(np.int32)
    part = np.linspace(0, 1, 400).reshape(20, 20).astype(np.float32)
    for values in (whole, part):
        result = np.asarray(decode(encoded(Image.fromarray(values), "TIFF")))
        assert result.min() == 0
        assert result.max() == 255
        assert 120 < result.mean() < 135


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "RGBA", "YCbCr"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    formats = {"CMYK": "JPEG", "YCbCr": "JPEG"}
    result = decode(encoded(SMOOTH.convert(mode), formats.get(mode, "PNG")))
    assert result.mode == "RGB"
    assert difference(result, SMOOTH) < {"1": 130, "P": 20}.get(mode, 8)


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    for format in ("GIF", "WEBP", "PNG", "TIFF"):
        result = decode(encoded(frames[0], format, save_all=True, append_images=frames[1:]))
        assert result.getpixel((5, 5))[0] > 240, format


def test_what_the_content_is_decides_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(SMOOTH, "PNG"))
    assert difference(decode(path), SMOOTH) == 0


def test_the_longest_side_is_bounded_and_thin_pictures_keep_a_row() -> None:
    assert decode(encoded(Image.new("RGB", (3000, 1500)), "PNG")).size == (1024, 512)
    assert decode(encoded(Image.new("RGB", (9000, 4)), "PNG")).size == (1024, 1)
    assert decode(encoded(SMOOTH, "PNG")).size == SMOOTH.size


def test_the_whole_picture_is_squashed() -> None:
    image = Image.new("RGB", (400, 100), "black")
    image.paste("white", (390, 0, 400, 100))
    result = to_input(image, 40, "bilinear")
    assert result.shape == (40, 40, 3)
    assert result.dtype == np.uint8
    assert (result[:, -1] > 200).all()
    assert (result[:, 0] == 0).all()


def png_header(width: int, height: int) -> bytes:
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + body
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 0)
        + b"IDAT"
        + struct.pack(">I", zlib.crc32(b"IDAT"))
    )


def claiming(format: str, mark: bytes, size: bytes, **options: object) -> bytes:
    """A picture in whose header, behind `mark`, another `size` stands."""
    content = bytearray(encoded(SMOOTH, format, **options))
    at = content.index(mark) + len(mark)
    content[at : at + len(size)] = size
    return bytes(content)


HUGE = {
    "png": png_header(100_000, 100_000),
    "png over Pillow's warning only": png_header(12_000, 12_000),
    "bmp": claiming("BMP", b"\x36\0\0\0\x28\0\0\0", struct.pack("<ii", 50_000, 50_000)),
    "gif": claiming("GIF", b"GIF87a", struct.pack("<HH", 65_000, 65_000)),
    "jpeg": claiming("JPEG", b"\xff\xc0\0\x11\x08", struct.pack(">HH", 65_000, 65_000)),
    "tiff": claiming(
        "TIFF", b"\0\1\4\0\1\0\0\0", struct.pack("<I", 60_000) + b"\1\1\4\0\1\0\0\0" + struct.pack("<I", 60_000)
    ),
    "webp": claiming(
        "WEBP", b"VP8X\x0a\0\0\0\x08\0\0\0", (16_000).to_bytes(3, "little") * 2, exif=b"Exif\0\0II*\0\0\0\0\0"
    ),
}


@pytest.mark.parametrize("content", HUGE.values(), ids=HUGE)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_header_that_claims_gigapixels_is_refused_before_decoding(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "_upright_rgb", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(UnreadableImage, match=r"million pixels") as caught:
        decode(content)
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF"])
@pytest.mark.parametrize("part", [0.02, 0.5])
def test_a_truncated_picture_is_refused(format: str, part: float) -> None:
    content = encoded(picture(0, 0, (200, 150)), format)
    with pytest.raises(UnreadableImage, match="damaged") as caught:
        decode(content[: max(20, int(len(content) * part))])
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"hello, I am a text", "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format"),
        (b"8BPS\0\1" + b"\0" * 50, "unsupported_format"),
        (b"%PDF-1.7", "unsupported_format"),
        (encoded(Image.new("RGB", (1, 1)), "PNG"), "too_small"),
        (encoded(SMOOTH, "EPS"), "unsupported_format"),
    ],
)
def test_a_picture_that_cannot_be_read_is_refused_with_its_reason(content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage) as caught:
        decode(content)
    assert caught.value.reason == reason


def test_lab_becomes_rgb() -> None:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(SMOOTH, *profiles, outputMode="LAB")
    assert lab is not None
    assert difference(decode(encoded(lab, "TIFF")), SMOOTH) < 3


def test_a_photo_with_a_second_picture_in_it_gives_the_first() -> None:
    content = encoded(SMOOTH, "MPO", save_all=True, append_images=[Image.new("RGB", SMOOTH.size, "blue")])
    assert difference(decode(content), SMOOTH) < 3


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
def test_a_phone_picture_that_claims_gigapixels_is_refused(format: str) -> None:
    content = bytearray(encoded(SMOOTH, format))
    at = -1
    while (at := content.find(b"ispe", at + 1)) >= 0:
        struct.pack_into(">II", content, at + 8, 60_000, 60_000)
    with pytest.raises(UnreadableImage):
        decode(bytes(content))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_bytes_anywhere_never_raise_anything_else() -> None:
    generator = np.random.default_rng(0)
    for format in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF"):
        good = encoded(SMOOTH, format)
        for _ in range(40):
            content = bytearray(good)
            for at in generator.integers(0, len(content), 12):
                content[at] = generator.integers(0, 256)
            with suppress(UnreadableImage):
                assert decode(bytes(content)).mode == "RGB"
