"""Made-up chest radiographs: anatomy, and opacities typical of each diagnosis.

They are drawn, not simulated: shadows add up as attenuation, which an exposure curve turns into
grey values. Nobody should learn medicine from them; a small network can learn the classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFilter

from flannel.data.diagnosis import FLANNEL, index_of
from flannel.errors import OptionError
from flannel.files import whole_file

Size = tuple[int, int]
Points = Float[np.ndarray, "_ 2"]

# Outlines in parts of the picture (x to the right, y down). The patient's right is on the left.
RIGHT_LUNG = (
    (0.355, 0.125), (0.415, 0.17), (0.435, 0.28), (0.425, 0.41), (0.43, 0.54), (0.415, 0.67),
    (0.36, 0.665), (0.27, 0.675), (0.19, 0.72), (0.135, 0.785), (0.12, 0.70), (0.125, 0.56),
    (0.15, 0.40), (0.20, 0.25), (0.275, 0.155),
)  # fmt: skip
LEFT_LUNG = (
    (0.645, 0.125), (0.585, 0.17), (0.565, 0.28), (0.58, 0.39), (0.62, 0.50), (0.67, 0.60),
    (0.69, 0.69), (0.755, 0.695), (0.82, 0.74), (0.87, 0.80), (0.885, 0.70), (0.875, 0.56),
    (0.85, 0.40), (0.80, 0.25), (0.725, 0.155),
)  # fmt: skip
HEART = (
    (0.46, 0.43), (0.53, 0.40), (0.60, 0.47), (0.66, 0.58), (0.685, 0.68), (0.61, 0.73),
    (0.50, 0.73), (0.42, 0.70), (0.395, 0.61), (0.415, 0.51),
)  # fmt: skip
TORSO = (
    (0.41, -0.05), (0.41, 0.03), (0.30, 0.075), (0.14, 0.12), (0.02, 0.22), (0.03, 0.40),
    (0.055, 0.60), (0.05, 0.85), (0.06, 1.10), (0.94, 1.10), (0.95, 0.85), (0.945, 0.60),
    (0.97, 0.40), (0.98, 0.22), (0.86, 0.12), (0.70, 0.075), (0.59, 0.03), (0.59, -0.05),
)  # fmt: skip
CLAVICLE = ((0.535, 0.195), (0.62, 0.165), (0.72, 0.155), (0.82, 0.115))
HILA = ((0.42, 0.42), (0.585, 0.40))
SPINE_X = 0.5
RIBS = 9
DIAPHRAGM_Y = 0.62
"""Outline points below this height move with the breath."""


@dataclass(frozen=True)
class Phantom:
    """A made-up radiograph with what is where.

    Attributes:
        image: Grey values (height, width), lungs dark.
        left_lung: The patient's left lung, on the right side of the picture, without the heart.
        right_lung: The patient's right lung.
        heart: The heart's shadow outside the lungs.
        clavicles: Both clavicles.
    """

    image: UInt8[np.ndarray, "height width"]
    left_lung: Bool[np.ndarray, "height width"]
    right_lung: Bool[np.ndarray, "height width"]
    heart: Bool[np.ndarray, "height width"]
    clavicles: Bool[np.ndarray, "height width"]


def draw_phantom(
    diagnosis: str, generator: np.random.Generator, size: Size = (512, 512)
) -> Phantom:
    """Draws a radiograph of a made-up patient.

    COVID-19 shows hazy patches at the outer and lower parts of both lungs; viral pneumonia a net
    of fine lines spreading from both hila; bacterial pneumonia one dense lobe with air
    bronchograms; a normal lung only its vessels. Body, pose, breath, exposure and film noise are
    drawn independently of the diagnosis.

    Args:
        diagnosis: One of FLANNEL's four.
        generator: The only source of randomness.
        size: Height and width in pixels.

    Raises:
        OptionError: If the diagnosis is not one of the four.
    """
    index_of(diagnosis, FLANNEL)  # refuses others
    anatomy = _Anatomy(generator, size)
    depth = _attenuation(anatomy, generator)
    depth += _opacity(diagnosis, anatomy, generator)
    return Phantom(
        image=_exposed(depth, generator),
        left_lung=anatomy.left_lung,
        right_lung=anatomy.right_lung,
        heart=anatomy.heart & ~anatomy.left_lung & ~anatomy.right_lung,
        clavicles=anatomy.clavicles,
    )


def write_phantom(
    path: Path, diagnosis: str, generator: np.random.Generator, size: Size, quality: int = 75
) -> Phantom:
    """Draws a made-up radiograph into a file, and returns what it shows.

    Args:
        path: The file; its suffix says the format.
        diagnosis: As of `draw_phantom`.
        generator: As of `draw_phantom`.
        size: As of `draw_phantom`.
        quality: Of a JPEG.
    """
    phantom = draw_phantom(diagnosis, generator, size)
    with whole_file(path) as beside:
        Image.fromarray(phantom.image).save(beside, quality=quality)
    return phantom


def varied_size(generator: np.random.Generator, size_px: int) -> Size:
    """Draws a height and a width, each within 12 % of a nominal size."""
    height, width = generator.uniform(0.88, 1.12, 2) * size_px
    return round(height), round(width)


class _Anatomy:
    """The outlines of one patient in one pose, as masks and soft shadows in [0, 1]."""

    def __init__(self, generator: np.random.Generator, size: Size) -> None:
        self.size = size
        self._pose = _pose(generator)
        breath = generator.uniform(-0.045, 0.045)

        def outline(points: Sequence[tuple[float, float]]) -> Points:
            moved = np.array(points) + generator.normal(0, 0.006, (len(points), 2))
            moved[:, 1] += np.where(moved[:, 1] > DIAPHRAGM_Y, breath, 0)
            return self.posed(_closed_curve(moved))

        self.heart = _filled([outline(HEART)], size)
        self.right_lung = _filled([outline(RIGHT_LUNG)], size) & ~self.heart
        self.left_lung = _filled([outline(LEFT_LUNG)], size) & ~self.heart
        self.torso = _filled([outline(TORSO)], size)
        bones = [_clavicle(side, generator) for side in (1, -1)]
        self.clavicles = _filled([self.posed(bone) for bone in bones], size)
        self.lungs = _soft(self.left_lung | self.right_lung, 0.006)

    def posed(self, points: Points) -> Points:
        """Returns points in pixels (x, y) for points in parts of the picture."""
        height, width = self.size
        turned = (points - 0.5) @ self._pose[:, :2].T + self._pose[:, 2] + 0.5
        return turned * (width, height)

    def strokes(self, paths: Sequence[Points], widths: Sequence[float], soft: float) -> np.ndarray:
        """Draws lines, with widths in parts of the picture's width, as a soft shadow in [0, 1]."""
        canvas = Image.new("L", self.size[::-1])
        pencil = ImageDraw.Draw(canvas)
        for path, width in zip(paths, widths, strict=True):
            pixels = [(float(x), float(y)) for x, y in self.posed(path)]
            pencil.line(pixels, fill=255, width=max(1, round(width * self.size[1])), joint="curve")
        return _blurred(canvas, soft)


def _pose(generator: np.random.Generator) -> np.ndarray:
    """Draws scale, slight rotation, mirrored tilt and shift as a 2 x 3 matrix."""
    angle = generator.normal(0, math.radians(1.5))
    wide, high = generator.uniform(0.93, 1.08, 2)
    cosine, sine = math.cos(angle), math.sin(angle)
    shift = generator.uniform(-0.025, 0.025, 2)
    return np.array([[wide * cosine, -sine, shift[0]], [sine, high * cosine, shift[1] + 0.02]])


def _clavicle(side: int, generator: np.random.Generator) -> Points:
    """Returns a closed band around a clavicle; side 1 is the patient's left, -1 the right."""
    axis = np.array(CLAVICLE) + generator.normal(0, 0.004, (len(CLAVICLE), 2))
    axis[:, 0] = SPINE_X + side * (axis[:, 0] - SPINE_X)
    half = np.array([0.017, 0.011, 0.010, 0.013])
    upper, lower = axis.copy(), axis.copy()
    upper[:, 1] -= half
    lower[:, 1] += half
    return _closed_curve(np.concatenate([upper, lower[::-1]]))


def _attenuation(anatomy: _Anatomy, generator: np.random.Generator) -> np.ndarray:
    """Adds up the shadows of a healthy chest."""
    height, width = anatomy.size
    y, x = np.ogrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    depth = 0.95 * _soft(anatomy.torso, 0.012)
    depth += 0.30 * np.exp(-(((x - SPINE_X) / 0.10) ** 2)) * depth
    depth += 0.22 / (1 + np.exp(-(y - 0.80) / 0.04)) * depth
    depth -= (0.66 + 0.10 * (1 - y)) * anatomy.lungs
    depth += 0.24 * _soft(anatomy.heart, 0.012)
    depth += _spine(anatomy)
    behind, before = _ribs(anatomy, generator)
    depth += 0.115 * behind + 0.06 * before
    depth += 0.16 * _soft(anatomy.clavicles, 0.003)
    depth += 0.30 * _vessels(anatomy, generator) * anatomy.lungs
    return depth + 0.05 * _clouds(anatomy.size, 5, generator) * anatomy.lungs


def _spine(anatomy: _Anatomy) -> np.ndarray:
    heights = np.arange(0.0, 1.0, 0.047)
    bodies = [np.array([[0.468, y], [0.532, y]]) for y in heights]
    return 0.07 * anatomy.strokes(bodies, [0.034] * len(bodies), 0.004)


def _ribs(anatomy: _Anatomy, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draws the posterior ribs, which fall outwards, and the fainter anterior ones."""
    behind, before, t = [], [], np.linspace(0, 1, 14)
    spacing = generator.uniform(0.070, 0.078)
    for rib in range(RIBS):
        top = 0.13 + spacing * rib
        reach = 0.395 * (1 - 0.62 * math.exp(-0.75 * (rib + 0.35)))
        for side in (-1, 1):
            x = SPINE_X + side * (0.03 + (reach - 0.03) * np.sin(t * math.pi / 2))
            wobble = generator.normal(0, 0.003)
            rise = top - 0.035 * np.sin(t * math.pi) + (0.05 + 0.012 * rib) * t**2.2 + wobble
            behind.append(np.column_stack([x, rise]))
            if 0 < rib < RIBS - 1:
                inward = SPINE_X + side * (reach - (reach - 0.13) * t**1.3)
                fall = top + 0.05 + 0.012 * rib + 0.13 * t**0.8
                before.append(np.column_stack([inward, fall]))
    cage = _blurred(Image.fromarray(anatomy.torso), 0.01)
    dorsal = anatomy.strokes(behind, [0.021] * len(behind), 0.0022)
    core = anatomy.strokes(behind, [0.009] * len(behind), 0.003)
    return (dorsal - 0.35 * core) * cage, anatomy.strokes(before, [0.024] * len(before), 0.004)


def _vessels(anatomy: _Anatomy, generator: np.random.Generator) -> np.ndarray:
    """Draws vessels that leave both hila and grow thinner."""
    shadow = np.zeros(anatomy.size, np.float32)
    thick: list[Points] = []
    thin: list[Points] = []
    for side, hilum in zip((-1, 1), HILA, strict=True):
        for angle in np.linspace(-1.25, 1.25, 9) + generator.normal(0, 0.12, 9):
            trunk = _branch(np.array(hilum), angle, side, 0.13, generator)
            thick.append(trunk[:6])
            thin.append(trunk[4:])
            for start in trunk[3::3]:
                turn = angle + generator.normal(0, 0.5)
                thin.append(_branch(start, turn, side, 0.09, generator))
    shadow += 0.55 * anatomy.strokes(thick, [0.008] * len(thick), 0.003)
    shadow += 0.35 * anatomy.strokes(thin, [0.0035] * len(thin), 0.0018)
    knots = [np.array([[x, y - 0.045], [x, y + 0.05]]) for x, y in HILA]
    return shadow + 0.7 * anatomy.strokes(knots, [0.04, 0.04], 0.014)


def _branch(
    start: np.ndarray, angle: float, side: int, length: float, generator: np.random.Generator
) -> Points:
    angles = angle + np.cumsum(generator.normal(0, 0.12, 9))
    step = length * generator.uniform(0.7, 1.4) / 9
    steps = step * np.column_stack([side * np.cos(angles), np.sin(angles)])
    return start + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])


def _opacity(
    diagnosis: str, anatomy: _Anatomy, generator: np.random.Generator
) -> Float[np.ndarray, "height width"]:
    """Draws what the disease adds inside the lungs."""
    match diagnosis:
        case "COVID-19":
            shadow = _ground_glass(anatomy, generator)
        case "Viral pneumonia":
            shadow = _reticulation(anatomy, generator)
        case "Bacterial pneumonia":
            shadow = _consolidation(anatomy, generator)
        case "Normal":
            return np.zeros(anatomy.size, np.float32)
        case _:
            raise OptionError(f"No phantom of {diagnosis!r} is known.")
    return shadow * anatomy.lungs


def _ground_glass(anatomy: _Anatomy, generator: np.random.Generator) -> np.ndarray:
    shadow = np.zeros(anatomy.size, np.float32)
    patches = np.clip(0.5 + 0.9 * _clouds(anatomy.size, 7, generator), 0, 1)
    for lung in (anatomy.left_lung, anatomy.right_lung):
        outward, downward = _places(lung)
        edge = _ramp(outward, 0.0, 0.6) * _ramp(downward, 0.0, 0.45)
        shadow += _side_of(lung) * edge * generator.uniform(0.36, 0.54)
    return shadow * (0.3 + 0.8 * patches)


def _reticulation(anatomy: _Anatomy, generator: np.random.Generator) -> np.ndarray:
    net = np.zeros(anatomy.size, np.float32)
    for cells in (24, 40):
        # The zero crossings of smooth noise are a net of fine lines.
        lines = np.exp(-((_clouds(anatomy.size, cells, generator) / 0.2) ** 2))
        net += lines * np.clip(0.8 + 0.5 * _clouds(anatomy.size, 9, generator), 0.2, 1.3)
    near = np.zeros(anatomy.size, np.float32)
    for lung in (anatomy.left_lung, anatomy.right_lung):
        outward, _ = _places(lung)
        near += _side_of(lung) * (1 - 0.5 * _ramp(outward, 0.3, 1.0))
    streaks = _vessels(anatomy, generator) + _vessels(anatomy, generator)
    return generator.uniform(0.8, 1.2) * near * (0.17 * net + 0.24 * streaks + 0.05)


def _consolidation(anatomy: _Anatomy, generator: np.random.Generator) -> np.ndarray:
    lung = anatomy.left_lung if generator.random() < 0.5 else anatomy.right_lung
    outward, downward = _places(lung)
    share = generator.uniform(0.55, 0.85)
    fissure = downward + generator.uniform(-0.25, 0.25) * (outward - 0.5)
    fissure = fissure + 0.03 * _clouds(anatomy.size, 6, generator)
    if generator.random() < 0.55:
        lobe = _ramp(fissure, 1 - share - 0.06, 1 - share + 0.06)
    else:
        lobe = 1 - _ramp(fissure, share - 0.06, share + 0.06)
    texture = 0.85 + 0.2 * _clouds(anatomy.size, 6, generator)
    bronchi = np.clip(_vessels(anatomy, generator), 0, 1)
    strength = generator.uniform(0.44, 0.62)
    return strength * _side_of(lung) * lobe * texture * (1 - 0.3 * bronchi)


def _exposed(
    depth: Float[np.ndarray, "height width"], generator: np.random.Generator
) -> UInt8[np.ndarray, "height width"]:
    """Turns attenuation into film: exposure, scatter, grain."""
    contrast = generator.uniform(0.9, 1.12)
    level = generator.uniform(-0.05, 0.05)
    grey = 1 - np.exp(-1.05 * np.clip(contrast * depth + level, 0, None))
    grain = generator.standard_normal(depth.shape, np.float32)
    film = 10 + 275 * grey + generator.uniform(2.0, 4.5) * grain
    return np.clip(film, 0, 255).astype(np.uint8)


def _places(lung: Bool[np.ndarray, "height width"]) -> tuple[np.ndarray, np.ndarray]:
    """Returns where pixels lie in a lung's box: 0 at the spine to 1 outside, 0 top to 1 bottom."""
    height, width = lung.shape
    columns, rows = np.flatnonzero(lung.any(axis=0)), np.flatnonzero(lung.any(axis=1))
    x = ((np.arange(width) - columns[0]) / (columns[-1] - columns[0])).astype(np.float32)
    y = ((np.arange(height) - rows[0]) / (rows[-1] - rows[0])).astype(np.float32)
    if columns.mean() < width / 2:
        x = 1 - x
    return np.broadcast_to(x, lung.shape), np.broadcast_to(y[:, None], lung.shape)


def _side_of(lung: Bool[np.ndarray, "height width"]) -> np.ndarray:
    """Returns the half of the picture where a lung lies: its own outline comes softly later."""
    middle = lung.shape[1] / 2
    columns = np.arange(lung.shape[1]) < middle
    return columns if np.flatnonzero(lung.any(axis=0)).mean() < middle else ~columns


def _ramp(values: np.ndarray, start: float, end: float) -> np.ndarray:
    """Rises smoothly from 0 at `start` to 1 at `end`."""
    part = np.clip((values - start) / (end - start), 0, 1)
    return part * part * (3 - 2 * part)


def _clouds(size: Size, cells: int, generator: np.random.Generator) -> np.ndarray:
    """Draws smooth noise of mean 0 and deviation about 0.7, with so many cells across."""
    coarse = Image.fromarray(generator.standard_normal((cells, cells), np.float32))
    return np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC))


def _soft(mask: Bool[np.ndarray, "height width"], radius: float) -> np.ndarray:
    return _blurred(Image.fromarray(mask.astype(np.uint8) * 255), radius)


def _blurred(picture: Image.Image, radius: float) -> np.ndarray:
    """Blurs by a radius in parts of the width; gives values in [0, 1]."""
    soft = picture.convert("L").filter(ImageFilter.GaussianBlur(radius * picture.width))
    return np.asarray(soft, np.float32) / np.float32(255)


def _filled(outlines: Sequence[Points], size: Size) -> Bool[np.ndarray, "height width"]:
    canvas = Image.new("L", size[::-1])
    for outline in outlines:
        ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in outline], fill=1)
    return np.asarray(canvas) > 0


def _closed_curve(points: Points) -> Points:
    """Draws a smooth closed curve (uniform Catmull-Rom spline) through the points."""
    t = np.linspace(0, 1, 8, endpoint=False)[:, None, None]
    before, here = np.roll(points, 1, axis=0), points
    after, beyond = np.roll(points, -1, axis=0), np.roll(points, -2, axis=0)
    curve = 0.5 * (
        2 * here
        + (after - before) * t
        + (2 * before - 5 * here + 4 * after - beyond) * t**2
        + (3 * here - before - 3 * after + beyond) * t**3
    )
    return curve.transpose(1, 0, 2).reshape(-1, 2)
