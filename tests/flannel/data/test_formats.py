"""Formats by their first bytes."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from flannel.data.formats import format_of, is_dicom, is_read

READ = ("PNG", "JPEG", "GIF", "BMP", "TIFF")
NOT_READ = {"WEBP": ("webp", "WebP"), "JPEG2000": ("jpg_2000", "JPEG 2000"), "PPM": ("", "PGM")}


def encoded(kind):
    stream = io.BytesIO()
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(stream, kind)
    return stream.getvalue()[:352]


@pytest.mark.parametrize("kind", READ)
def test_formats_that_are_read(kind):
    assert format_of(encoded(kind)) == kind
    assert is_read(kind)


@pytest.mark.parametrize("kind", NOT_READ)
def test_formats_that_are_named_and_not_read(kind):
    feature, name = NOT_READ[kind]
    if feature and not features.check(feature):
        pytest.skip(f"this Pillow writes no {kind}")
    assert format_of(encoded(kind)) == name
    assert not is_read(name)


@pytest.mark.parametrize(
    "start",
    [
        *(b"", b"P", b"BM", b"BMW, a car", b"P5 is a patient", b"%PDF-1.4", b"GIF", b"\0" * 352),
        *(b"image_id,origin\n" * 30, b"\x08\x00", b"ID3\x04 a sound", b"\x08\x00\x05\x00"),
    ],
)  # fmt: skip
def test_what_is_no_picture(start):
    assert format_of(start) == ""


@given(st.text(min_size=0, max_size=352))
def test_no_text_is_taken_for_dicom(text):
    """A text may begin as any other format's mark, but DICOM's group 0008 holds a zero byte."""
    if "\0" not in text and "DICM" not in text:
        assert not is_dicom(text.encode()[:352])
