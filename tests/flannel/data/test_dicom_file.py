"""DICOM files as radiographs: their range, their window, and what is refused."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders import JPEGLSLosslessDecoder
from pydicom.uid import (
    HTJ2K,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from flannel.data.file_checks import RadiographError
from flannel.data.radiograph import read_levels, read_radiograph

GREY = np.arange(40 * 50, dtype=np.uint32).reshape(40, 50).__mod__(256).astype(np.uint8)


def dicom(path, levels, kind="MONOCHROME2", bits=12, **tags):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = levels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = kind
    dataset.BitsAllocated = levels.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelData = levels.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_dicom_range_inversion_and_window(tmp_path):
    levels = np.full((40, 40), 1024, np.uint16)
    levels[0, :2] = (0, 4095)
    plain = read_radiograph(dicom(tmp_path / "a.dcm", levels))
    np.testing.assert_allclose(plain[0, 0, :3], [0, 1, 1024 / 4095], atol=1e-4)
    inverted = read_radiograph(dicom(tmp_path / "b.dcm", levels, "MONOCHROME1"))
    np.testing.assert_allclose(inverted, 1 - plain, atol=1e-4)
    rescaled = {"RescaleSlope": "2", "RescaleIntercept": "-100"}
    shifted = read_radiograph(dicom(tmp_path / "c.dcm", levels, **rescaled))
    np.testing.assert_allclose(shifted, plain, atol=1e-4)
    # DICOM PS3.3 C.11.2.1.2: (x - (c - 0.5)) / (w - 1) + 0.5, x = 2 * 1024 - 100 = 1948.
    window = {"WindowCenter": "2000", "WindowWidth": "1001"}
    seen = read_radiograph(dicom(tmp_path / "d.dcm", levels, **rescaled, **window))
    expected = [0, 1, (1948 - 1999.5) / 1000 + 0.5]
    np.testing.assert_allclose(seen[0, 0, :3], expected, atol=1e-4)
    eight = dicom(tmp_path / "e.dcm", GREY, bits=8)
    np.testing.assert_array_equal(read_levels(eight).levels, GREY)


def test_a_sparse_dicom_range_is_spread(tmp_path):
    """12 bits in 16: of the whole range the eight bits of a store would keep 17 grey levels."""
    levels = np.linspace(100, 4195, 1600).astype(np.uint16).reshape(40, 40)
    spread = read_radiograph(dicom(tmp_path / "a.dcm", levels, bits=16))
    np.testing.assert_allclose(spread[0], (levels - 100.0) / 4095, atol=1e-4)
    window = {"WindowCenter": "32768", "WindowWidth": "65536"}
    shown = read_radiograph(dicom(tmp_path / "b.dcm", levels, bits=16, **window))
    np.testing.assert_allclose(shown[0], (levels - 100.0) / 4095, atol=1e-4)
    wide = read_radiograph(dicom(tmp_path / "c.dcm", levels, bits=13))
    np.testing.assert_allclose(wide[0], levels / 8191, atol=1e-4)
    flat = np.full((40, 40), 700, np.uint16)
    with pytest.raises(RadiographError, match=r"d\.dcm shows one grey level only \(3 of 255\)"):
        read_levels(dicom(tmp_path / "d.dcm", flat, bits=16))


def test_a_dicom_without_its_decoder_names_the_extra_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(JPEGLSLosslessDecoder, "_available", {})
    path = dicom(tmp_path / "a.dcm", np.zeros((40, 40), np.uint16), bits=16)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    dataset.save_as(path)
    with pytest.raises(RadiographError, match="compressed as JPEG-LS Lossless Image") as fault:
        read_levels(path)
    assert "patched-flannel[dicom]" in str(fault.value)
    assert "\n" not in str(fault.value)
    dataset.file_meta.TransferSyntaxUID = HTJ2K
    dataset.save_as(path)
    with pytest.raises(RadiographError, match="no decoder for it is known"):
        read_levels(path)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1, RLELossless])
def test_compressed_files_have_the_pixels_of_uncompressed_ones(tmp_path, syntax):
    gdcm = pytest.importorskip("gdcm")
    levels = np.random.default_rng(0).integers(0, 4096, (40, 50)).astype(np.uint16)
    path = dicom(tmp_path / "a.dcm", levels)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(tmp_path / "b.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert pydicom.dcmread(tmp_path / "b.dcm").file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(read_levels(tmp_path / "b.dcm").levels, read_levels(path).levels)


def test_dicom_faults(tmp_path):
    levels = np.zeros((40, 40), np.uint16)
    with pytest.raises(RadiographError, match="3 frames"):
        read_levels(dicom(tmp_path / "a.dcm", levels, NumberOfFrames="3"))
    with pytest.raises(RadiographError, match="PALETTE COLOR"):
        read_levels(dicom(tmp_path / "b.dcm", levels, "PALETTE COLOR"))
    whole = dicom(tmp_path / "c.dcm", levels).read_bytes()
    (tmp_path / "c.dcm").write_bytes(whole[:-500])
    with pytest.raises(RadiographError, match=r"c\.dcm is a DICOM file whose pixels"):
        read_levels(tmp_path / "c.dcm")
    rows = b"\x28\x00\x10\x00US"  # the tag of the height, with two bytes of length behind it
    (tmp_path / "c.dcm").write_bytes(whole.replace(rows + b"\2", rows + b"\3"))
    with pytest.raises(RadiographError, match=r"c\.dcm is a DICOM file without pixels"):
        read_levels(tmp_path / "c.dcm")


def test_dicom_of_several_samples_or_a_broken_deflation(tmp_path):
    colours = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PixelData": 3 * GREY.tobytes()}
    with pytest.raises(RadiographError, match=r"a\.dcm holds pixels of several samples"):
        read_levels(dicom(tmp_path / "a.dcm", GREY, bits=8, **colours))
    dataset = pydicom.dcmread(dicom(tmp_path / "b.dcm", GREY, bits=8))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    whole = bytearray((tmp_path / "b.dcm").read_bytes())
    whole[-60:-20] = bytes(range(200, 240))
    (tmp_path / "b.dcm").write_bytes(whole)
    with pytest.raises(RadiographError, match=r"b\.dcm is a DICOM file whose pixels"):
        read_levels(tmp_path / "b.dcm")


def test_a_dicom_header_that_ends_within_a_length(tmp_path):
    whole = dicom(tmp_path / "a.dcm", GREY, bits=8).read_bytes()
    end = whole.index(b"\x02\x00\x01\x00OB") + 9  # of the 4 bytes that say how long it is, 1
    (tmp_path / "a.dcm").write_bytes(whole[:end])
    with pytest.raises(RadiographError, match=r"a\.dcm is a DICOM file whose pixels"):
        read_levels(tmp_path / "a.dcm")
