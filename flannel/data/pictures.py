"""Pictures for people: outlines of masks, boxes of patches, contact sheets; uint8 RGB arrays."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Integer, UInt8
from PIL import Image, ImageColor, ImageDraw, ImageFilter, ImageFont

Colour = tuple[int, int, int]

# The palette of Okabe and Ito 2008, which colour-blind people can tell apart.
VERMILION: Colour = (213, 94, 0)
ORANGE: Colour = (230, 159, 0)
BLUE: Colour = (0, 114, 178)
GREEN: Colour = (0, 158, 115)
SKY: Colour = (86, 180, 233)

FILL = 0.18
CAPTION_PX = 20
GAP_PX = 6


def colour_of(text: str) -> Colour:
    """Returns red, green and blue of a colour such as "#D55E00"."""
    red, green, blue = ImageColor.getrgb(text)[:3]
    return red, green, blue


def as_colour(image: UInt8[np.ndarray, "height width *rgb"]) -> UInt8[np.ndarray, "height width 3"]:
    """Returns a copy in colour of a grey or colour picture.

    Raises:
        ValueError: If the array is not uint8 of shape (height, width) or (height, width, 3).
    """
    if image.dtype != np.uint8 or image.shape[2:] not in ((), (3,)):
        raise ValueError(
            f"A picture is uint8 (height, width) or (height, width, 3); got {image.dtype} "
            f"{image.shape}."
        )
    return image.copy() if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def overlay_mask(
    image: UInt8[np.ndarray, "height width *rgb"],
    mask: Bool[np.ndarray, "height width"],
    colour: Colour = SKY,
) -> UInt8[np.ndarray, "height width 3"]:
    """Shows a mask on a picture: a light fill and a full outline inside the mask's border.

    Raises:
        ValueError: If mask and picture differ in size.
    """
    if mask.shape != image.shape[:2]:
        raise ValueError(f"The mask is {mask.shape}, the picture {image.shape[:2]}: expected one.")
    picture = as_colour(image)
    width = 1 + max(mask.shape) // 400
    eroded = Image.fromarray(np.pad(mask, width).astype(np.uint8))
    eroded = eroded.filter(ImageFilter.MinFilter(2 * width + 1))
    inner = np.asarray(eroded)[width:-width, width:-width] > 0
    paint = np.array(colour, np.float32)
    picture[mask] = np.rint((1 - FILL) * picture[mask] + FILL * paint).astype(np.uint8)
    picture[mask & ~inner] = colour
    return picture


def draw_patch_boxes(
    image: UInt8[np.ndarray, "height width *rgb"],
    centres: Integer[np.ndarray, "patches 2"],
    size: int,
    colours: Sequence[Colour],
) -> UInt8[np.ndarray, "height width 3"]:
    """Draws the window of each patch, moved inside the picture where it would stick out.

    Args:
        image: The picture that the centres belong to.
        centres: Row and column of each centre in pixels.
        size: Side of the windows in pixels.
        colours: One colour for each patch.

    Raises:
        ValueError: If there are not as many colours as patches.
    """
    picture = Image.fromarray(as_colour(image))
    pencil = ImageDraw.Draw(picture)
    width = 1 + max(picture.size) // 400
    for (row, column), colour in zip(centres.tolist(), colours, strict=True):
        top = min(max(row - size // 2, 0), max(picture.height - size, 0))
        left = min(max(column - size // 2, 0), max(picture.width - size, 0))
        box = (left, top, left + size - 1, top + size - 1)
        pencil.rectangle(box, outline=colour, width=width)
    return np.array(picture)


def contact_sheet(
    pictures: Sequence[UInt8[np.ndarray, "..."]],
    captions: Sequence[str],
    columns: int,
) -> UInt8[np.ndarray, "sheet_height sheet_width 3"]:
    """Lays pictures out in rows on white, each with its caption below.

    Args:
        pictures: Of any sizes; every cell is as large as the largest, smaller ones are centred.
        captions: One for each picture; letters beyond Latin ones, which the font lacks, are
            escaped, and what is wider than the cell is cut with "...".
        columns: Pictures in a row.

    Raises:
        ValueError: If there is no picture or column, or not one caption for each picture.
    """
    if not pictures or columns < 1:
        raise ValueError(f"{len(pictures)} pictures in {columns} columns: expected one at least.")
    high = max(picture.shape[0] for picture in pictures)
    wide = max(picture.shape[1] for picture in pictures)
    rows = -(-len(pictures) // columns)
    across = min(columns, len(pictures))
    size = (across * (wide + GAP_PX) + GAP_PX, rows * (high + CAPTION_PX + GAP_PX) + GAP_PX)
    sheet = Image.new("RGB", size, "white")
    pencil = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for place, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left = GAP_PX + place % columns * (wide + GAP_PX)
        top = GAP_PX + place // columns * (high + CAPTION_PX + GAP_PX)
        inset = ((wide - picture.shape[1]) // 2, (high - picture.shape[0]) // 2)
        sheet.paste(Image.fromarray(as_colour(picture)), (left + inset[0], top + inset[1]))
        pencil.text((left, top + high + 3), _fitted(_latin(caption), wide, font), "black", font)
    return np.array(sheet)


def _latin(caption: str) -> str:
    return caption.encode("latin-1", "backslashreplace").decode("latin-1")


def _fitted(caption: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if font.getlength(caption) <= width:
        return caption
    while caption and font.getlength(caption + "...") > width:
        caption = caption[:-1]
    return caption + "..."
