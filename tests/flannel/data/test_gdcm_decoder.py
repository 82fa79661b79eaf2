"""GDCM decodes in a process of its own, whose end is a sentence."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLosslessSV1

from flannel.data import gdcm_decoder
from flannel.data.gdcm_decoder import decoded_apart

pytestmark = pytest.mark.slow


@pytest.fixture
def damaged():
    """A data set whose pixels are called lossless JPEG and are none."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "MONOCHROME2", 1
    dataset.Rows, dataset.Columns = 8, 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = encapsulate([bytes(np.arange(64, dtype=np.uint8))])
    return dataset


def test_pixels_that_cannot_be_decoded_are_one_line(damaged):
    with pytest.raises(ValueError, match=r"^.+$") as fault:
        decoded_apart(damaged, 12)
    assert "Traceback" not in str(fault.value)


@pytest.mark.parametrize(
    ("script", "sentence"),
    [("kill -SEGV $$", "ended by signal 11"), ("exec sleep 20", "takes more than 0.2 s")],
)
def test_a_crash_and_an_endless_decoding_end_in_a_sentence(
    damaged, tmp_path, monkeypatch, script, sentence
):
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(gdcm_decoder.sys, "executable", str(program))
    if "sleep" in script:
        monkeypatch.setattr(gdcm_decoder, "LONGEST_SECONDS", 0.2)
    with pytest.raises(ValueError, match=sentence):
        decoded_apart(damaged, 12)
