import os
import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from flannel.data.file_checks import RadiographError
from flannel.data.inspection import inspect_file
from flannel.data.mask import read_mask
from flannel.data.radiograph import read_levels, read_radiograph

REAL = Path(os.environ.get("FLANNEL_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))
RAW = REAL / "radiographs" / "raw_formats"
needs_real = pytest.mark.skipif(not RAW.is_dir(), reason=f"no real radiographs in {RAW}")

GREY = np.arange(40 * 50, dtype=np.uint32).reshape(40, 50).__mod__(256).astype(np.uint8)


def saved(path, image, **options):
    Image.fromarray(image).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "PNG", "gif", "bmp", "tif", "jpg"])
def test_lossless_files_come_back_whatever_their_suffix(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    form = {"jpg": "png", "tif": "tiff"}.get(suffix, suffix)  # PNG bytes under .jpg are real
    saved(path, GREY, format=form)
    stored = read_levels(path)
    np.testing.assert_array_equal(stored.levels, GREY)
    assert (stored.bits, stored.polarity) == (8, "display")
    grey = read_radiograph(path)
    assert grey.dtype == np.float32
    np.testing.assert_allclose(grey[0] * 255, GREY, atol=1e-4)


def test_jpeg_is_close(tmp_path):
    smooth = np.linspace(0, 255, 64).astype(np.uint8)[None].repeat(64, 0)
    levels = read_levels(saved(tmp_path / "a.JPG", smooth, format="jpeg", quality=95)).levels
    assert np.abs(levels.astype(int) - smooth).max() < 8


def test_sixteen_bits_keep_their_levels(tmp_path):
    deep = np.arange(1600, dtype=np.uint16).reshape(40, 40) * 40
    path = saved(tmp_path / "a.png", deep)
    stored = read_levels(path)
    assert (stored.levels.dtype, stored.bits) == (np.uint16, 16)
    np.testing.assert_array_equal(stored.levels, deep)
    np.testing.assert_allclose(read_radiograph(path)[0], deep / 65535, atol=1e-7)


def tiff(path, levels, bits, photometric, order="<"):
    """Writes an uncompressed TIFF of one channel, with pixels of 1 to 16 bits packed into rows."""
    height, width = levels.shape
    if bits == 16:
        data = levels.astype(f"{order}u2").tobytes()
    else:
        places = np.arange(bits)[::-1]
        ones = (levels[..., None].astype(int) >> places) & 1
        data = np.packbits(ones.reshape(height, -1).astype(np.uint8), axis=1).tobytes()
    tags = ((256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric),
            (273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(data)))  # fmt: skip
    entries = b"".join(
        struct.pack(f"{order}HHIHH", tag, kind, 1, value, 0)
        if kind == 3
        else struct.pack(f"{order}HHII", tag, kind, 1, value)
        for tag, kind, value in tags
    )
    start = b"II*\0" if order == "<" else b"MM\0*"
    path.write_bytes(
        start + struct.pack(f"{order}I", 8 + len(data)) + data
        + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    )  # fmt: skip
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
def test_a_tiff_of_either_polarity_depth_and_order(tmp_path, bits, order):
    """TIFF 6.0, tag 262: 0 is white by the value 0, and black by the value 1."""
    levels = (np.arange(64 * 48).reshape(64, 48) * 21 % 2**bits).astype(np.uint16)
    top = 2**bits - 1
    for photometric, stored in ((1, levels), (0, top - levels)):
        path = tiff(tmp_path / "a.tif", stored, bits, photometric, order)
        if (bits, order) == (12, ">"):  # packed, which Pillow does not read
            with pytest.raises(RadiographError, match="not an image that can be read"):
                read_levels(path)
            continue
        shown = read_levels(path)
        assert shown.bits == (8 if bits <= 8 else 16)
        assert np.abs(shown.levels / (2.0**shown.bits - 1) - levels / top).max() < 0.6 / 255


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_compressed_tiff_of_white_is_zero(tmp_path, dtype, compression):
    levels = (np.arange(64 * 48).reshape(64, 48) * 21).astype(dtype)
    # Pillow inverts 8 bits as it writes them by this tag, and leaves 16 bits as they are.
    given = levels if dtype == np.uint8 else 65535 - levels
    options = {"compression": compression, "tiffinfo": {262: 0}}
    np.testing.assert_array_equal(
        read_levels(saved(tmp_path / "a.tif", given, **options)).levels, levels
    )
    with Image.open(tmp_path / "a.tif") as picture:
        assert picture.tag_v2[262] == 0


@pytest.mark.parametrize("bits", [10, 12, 13])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "white.tif", "big.tif"])
def test_few_bits_of_sixteen_are_spread_in_every_format(tmp_path, name, bits):
    """As in DICOM: of the whole range 8 bits would keep 4, 16 or 32 levels."""
    levels = np.linspace(0, 2**bits - 1, 1600).astype(np.uint16).reshape(40, 40)
    path = tmp_path / name
    match name:
        case "white.tif":
            tiff(path, 65535 - levels, 16, 0)
        case "big.tif":
            tiff(path, levels, 16, 1, ">")
        case _:
            saved(path, levels)
    np.testing.assert_allclose(read_radiograph(path)[0], levels / (2**bits - 1), atol=1e-4)


@pytest.mark.parametrize(("odd", "shown_as"), [(0, 0), (65535, 1), (40000, 1)])
def test_a_level_far_from_all_others_does_not_count(tmp_path, odd, shown_as):
    """Padding, a marker or a dead pixel: the others are black to white."""
    levels = np.linspace(20_000, 24_095, 1600).astype(np.uint16).reshape(40, 40)
    levels[:4, :9] = odd
    low, high = levels[0, 9], levels[-1, -1]
    right = np.clip((levels - float(low)) / (high - float(low)), 0, 1)
    np.testing.assert_allclose(
        read_radiograph(saved(tmp_path / "a.png", levels))[0], right, atol=1e-4
    )
    assert right[0, 0] == shown_as


@st.composite
def cases(draw):
    """Draws a grey picture of some bits, how it is stored, and what is seen of it."""
    kind = draw(st.sampled_from(("png", "tif", "MM", "lzw", "turned", "palette", "rgb", "la")))
    bits = draw(st.sampled_from((1, 2, 4, 8, 12, 16)))
    if kind == "MM" and bits == 12:
        bits = 16
    if kind in ("palette", "rgb", "la"):
        bits = 8
    elif kind in ("png", "lzw", "turned"):
        bits = draw(st.sampled_from((8, 16)))
    white_is_zero = kind in ("tif", "MM") and draw(st.booleans())
    used = draw(st.integers(2, 2**bits))
    lowest = draw(st.integers(0, 2**bits - used))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(32, 60)), draw(st.integers(32, 60))
    levels = (lowest + generator.integers(0, used, shape)).astype(np.uint16)
    if draw(st.booleans()):
        levels[:3] = draw(st.sampled_from((0, 2**bits - 1)))  # a border
    return kind, bits, white_is_zero, levels


def store(kind, bits, white_is_zero, levels, path):
    top = 2**bits - 1
    eight = levels.astype(np.uint8)
    match kind:
        case "tif" | "MM":
            stored = top - levels if white_is_zero else levels
            tiff(path, stored, bits, 1 - white_is_zero, ">" if kind == "MM" else "<")
        case "palette":
            picture = Image.fromarray(255 - eight)
            picture = picture.convert("P")
            picture.putpalette([255 - v for v in range(256) for _ in range(3)])
            picture.save(path, format="png")
        case "rgb":
            saved(path, np.dstack([eight] * 3), format="bmp")
        case "la":
            saved(path, np.dstack([eight, 255 - eight]), format="png")
        case "lzw":
            saved(path, levels if bits == 16 else eight, format="tiff", compression="tiff_lzw")
        case "turned":
            Image.fromarray(levels if bits == 16 else eight).rotate(90, expand=True).save(
                path, format="png", exif=turned(6)
            )
        case _:
            saved(path, levels if bits == 16 else eight, format="png")


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def whole_bits(low, high, top):
    """Takes the first whole number of bits, from either end, that a range fills by half."""
    for bits in range(1, 17):
        part = (2**bits - 1) / top
        if (high - low) * 2 >= part and high <= part + 1e-9 * part:
            return 0.0, part
        if (high - low) * 2 >= part and 1 - low <= part + 1e-9 * part:
            return 1 - part, 1.0
    return low, high


def check(case, path):
    """Compares what is read of a picture with a plain computation, one pixel a time."""
    kind, bits, white_is_zero, levels = case
    store(kind, bits, white_is_zero, levels, path)
    top = 4095.9375 if bits == 12 else 2**bits - 1  # 12 bits are the upper 12 of 16
    grey = [level / top for level in levels.ravel().tolist()]
    used, (low, high) = sorted(set(grey)), (0.0, 1.0)
    if bits > 8:
        if used[-1] - used[0] < 0.25:
            low, high = whole_bits(used[0], used[-1], 2**16 - 1)
        else:
            for inner in (used[1:], used[:-1], used[1:-1]):
                if len(inner) > 16 and 0.5 / 65535 < inner[-1] - inner[0] < 0.125:
                    low, high = whole_bits(inner[0], inner[-1], 2**16 - 1)
                    break
    right = [min(max((value - low) / (high - low or 1), 0), 1) for value in grey]
    counts = Counter(round(255 * value) for value in right)
    if max(counts.values()) >= 0.999 * len(grey):
        with pytest.raises(RadiographError, match="shows one grey level only"):
            read_levels(path)
        return
    shown = read_radiograph(path)[0]
    assert shown.shape == levels.shape
    assert np.abs(shown.ravel() - right).max() < (1.1 / 255 if bits <= 8 else 3e-4)


@pytest.mark.slow
@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=HealthCheck)
@given(case=cases())
def test_random_pictures_keep_their_levels(case, tmp_path_factory):
    check(case, tmp_path_factory.getbasetemp() / "random")


def rgb_png(path, levels):
    """Writes a PNG with three channels of 16 bits."""
    height, width = levels.shape
    rows = np.repeat(levels[..., None], 3, axis=2).astype(">u2")
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(data)),
        (b"IEND", b""),
    )
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks
        )
    )  # fmt: skip
    return path


def test_three_channels_of_sixteen_bits(tmp_path):
    """Pillow keeps the upper 8 bits: enough of 16, not of 12 in 16, which are refused by name."""
    deep = np.linspace(0, 65535, 1600).astype(np.uint16).reshape(40, 40)
    shown = read_levels(rgb_png(tmp_path / "a.png", deep)).levels
    assert np.abs(shown - deep / 257).max() <= 1
    with pytest.raises(
        RadiographError, match=r"b\.png has several channels of 16 bits, of which 16"
    ):
        read_levels(rgb_png(tmp_path / "b.png", deep // 16))


def test_an_inverting_palette_is_applied(tmp_path):
    indexed = Image.fromarray(255 - GREY).convert("P")
    indexed.putpalette([255 - v for v in range(256) for _ in range(3)])
    # The conversion keeps grey v at index v, so the palette must give 255 - v back.
    indexed.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_levels(tmp_path / "a.png").levels, GREY)


def test_colours_become_luminance_and_alpha_is_dropped(tmp_path):
    red = np.zeros((40, 40, 3), np.uint8)
    red[..., 0] = 200
    red[0, :, 0] = 100
    levels = read_levels(saved(tmp_path / "red.png", red)).levels
    assert (levels[1:] == 60).all()  # 0.299 * 200
    clear = np.dstack([GREY, GREY, GREY, np.zeros_like(GREY)])
    np.testing.assert_array_equal(read_levels(saved(tmp_path / "b.png", clear)).levels, GREY)
    grey_alpha = np.dstack([GREY, np.full_like(GREY, 9)])
    np.testing.assert_array_equal(read_levels(saved(tmp_path / "c.png", grey_alpha)).levels, GREY)


def test_jsrt_is_big_endian_and_inverted(tmp_path):
    levels = np.zeros((2048, 2048), ">u2")
    levels[4:8] = 2000
    levels[0, :2] = (4095, 0x0102)
    levels.tofile(tmp_path / "JPCLN001.IMG")
    stored = read_levels(tmp_path / "JPCLN001.IMG")
    assert (stored.bits, stored.polarity) == (12, "jsrt")
    assert stored.levels[0, :3].tolist() == [4095, 0x0102, 0]
    grey = read_radiograph(tmp_path / "JPCLN001.IMG")
    np.testing.assert_allclose(grey[0, 0, :3], [0, 1 - 258 / 4095, 1], atol=1e-6)
    levels.astype("<u2").tofile(tmp_path / "swapped.img")
    with pytest.raises(RadiographError, match="bytes swapped"):
        read_levels(tmp_path / "swapped.img")
    (tmp_path / "short.IMG").write_bytes(b"\0" * 1000)
    with pytest.raises(RadiographError, match=r"short\.IMG has 1,000 bytes"):
        read_levels(tmp_path / "short.IMG")


def test_a_file_of_many_gigabytes_is_not_read(tmp_path):
    path = saved(tmp_path / "a.png", GREY)
    with path.open("r+b") as stream:
        stream.truncate(2**40)  # takes no disk
    with pytest.raises(RadiographError, match=r"a\.png has 1,099,511,627,776 bytes; at most"):
        read_levels(path)
    assert "at most 1,073,741,824 are read" in inspect_file(path).fault


def test_faults_are_sentences_with_the_path(tmp_path):
    with pytest.raises(RadiographError, match=r"none\.png does not exist"):
        read_levels(tmp_path / "none.png")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(RadiographError, match=r"empty\.jpg is empty"):
        read_levels(tmp_path / "empty.jpg")
    (tmp_path / "text.png").write_text("no picture " * 50)
    with pytest.raises(RadiographError, match=r"text\.png is not an image"):
        read_levels(tmp_path / "text.png")
    with pytest.raises(RadiographError, match="20 x 40 pixels"):
        read_levels(saved(tmp_path / "thin.png", GREY[:, :20]))


@pytest.mark.parametrize(("form", "share"), [("jpeg", 0.5), ("jpeg", 0.95), ("png", 0.5)])
def test_truncated_files_are_refused_not_half_grey(tmp_path, form, share):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8)
    path = saved(tmp_path / "a.jpg", noise, format=form)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(RadiographError, match="damaged or truncated"):
        read_levels(path)


def test_a_second_frame_without_a_size_is_damage(tmp_path):
    path = saved(tmp_path / "a.tif", GREY)
    content = bytearray(path.read_bytes())
    first = int.from_bytes(content[4:8], "little")
    entries = int.from_bytes(content[first : first + 2], "little")
    following = first + 2 + 12 * entries
    content[following : following + 4] = len(content).to_bytes(4, "little")
    path.write_bytes(content + bytes(6))  # a frame of no entries, and no other behind it
    with pytest.raises(RadiographError, match="damaged or truncated"):
        read_levels(path)


def test_several_frames_are_refused(tmp_path):
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(RadiographError, match="several frames"):
        read_levels(tmp_path / "a.gif")


@pytest.mark.slow
@pytest.mark.parametrize("side", [11_000, 14_000])
def test_too_many_pixels_are_refused_before_decoding(tmp_path, side):
    Image.new("1", (side, side)).save(tmp_path / "a.png")
    with pytest.raises(RadiographError, match=r"a\.png (is .* megapixels|has more pixels)"):
        read_levels(tmp_path / "a.png")


@needs_real
def test_real_formats():
    for path in sorted((RAW / "ieee8023").iterdir()) + sorted((RAW / "kaggle").iterdir()):
        grey = read_radiograph(path)
        assert grey.min() >= 0
        assert 0.2 < grey.mean() < 0.8
    replicas = RAW / "replicas"
    inverted = read_radiograph(replicas / "palette_inverted_like_jsrt_copy.png")[0]
    lungs = np.zeros((1024, 1024), bool)
    for side in ("left", "right"):
        mask = read_mask(replicas / f"{side}_lung_1024_like_scr.gif")
        again = read_mask(replicas / f"{side}_lung_1024_palette_index01.gif")
        np.testing.assert_array_equal(mask, again)
        lungs |= mask
    lungs = lungs[::2, ::2]
    assert inverted[lungs].mean() < inverted[~lungs].mean()  # lungs are dark
    assert 0.1 < read_mask(RAW / "v7" / "1676469.png").mean() < 0.5
