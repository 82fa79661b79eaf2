"""Doubts about a prediction: the picture is unlike those that the learners were trained on.

A network answers whatever it is shown. What its training radiographs look like is therefore kept
with it (`Norms`), and a radiograph that is unlike them gets a doubt instead of a confident answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int
from PIL import Image

from flannel.data.greyscale import Box
from flannel.data.store import Store
from flannel.files import digest_of

SIDE_PX = 16
DIRECTIONS = 8
"""Principal directions in which radiographs may differ. Of 1,564 real radiographs of two cohorts
that overlap, each judged by the other half of its cohort's patients, the negative is nearer to the
norm than the radiograph itself for 1, upside down it is for 3, on its side for 10 (the negative's
thumbnail was then the thumbnail's negative, and mirrored ones were not tried); two photographs in
grey lie at 1.15 to 2.08 times the limit of either cohort. Of 4, 8, 12 and 16 directions, with
cells of 16 or 32 a side, these parted as well as any."""
WITHIN = 0.99
"""Share of the training radiographs that are held to be like each other."""
USUAL = 0.95
"""Share of them that are so without question: beyond it, lungs that do not lie side by side count.
A photograph of a flower in grey, whose distance is the limit's, is doubted by that."""
FEWEST = 24
"""Of fewer training radiographs no norm is made."""
_NEGATIVE = np.rint(255 * np.sqrt(1 - (np.arange(256) / 255) ** 2)).astype(np.uint8)


@dataclass(frozen=True)
class Doubt:
    """A reason not to believe an answer.

    Attributes:
        name: In few words, for tables.
        grave: Whether the picture seems to be none that the learners can judge, so that no answer
            is given unless it is asked for.
    """

    name: str
    grave: bool = True


NO_LUNGS = Doubt("no lungs found")
ONE_REGION = Doubt("lungs not side by side: a lateral view, or one lung not found", grave=False)
INVERTED = Doubt("inverted grey values")
UPSIDE_DOWN = Doubt("upside down")
ON_ITS_SIDE = Doubt("turned on its side")
UNLIKE = Doubt("unlike the radiographs of the training")
COPY = Doubt("copy of a training or validation radiograph", grave=False)


@dataclass(frozen=True)
class Norms:
    """What the training radiographs of a fold look like.

    Attributes:
        mean: Their mean thumbnail, each brought to mean 0 and deviation 1.
        directions: Orthonormal directions in which they differ most.
        limit: Mean square of what is left of a thumbnail beside `directions`, up to which it is
            like them; 99 % of them keep it, each judged by the other half of the patients.
        usual: The same for 95 % of them.
        side_by_side: Share of a mask's rows that both lungs cross, of which 99 % of the training
            masks have as much; None where the study has no masks.
        radiographs: How many were looked at.
    """

    mean: Float32[np.ndarray, " cells"]
    directions: Float32[np.ndarray, "directions cells"]
    limit: float
    usual: float
    side_by_side: float | None
    radiographs: int

    @property
    def identity(self) -> str:
        """Hash of the numbers."""
        return digest_of(self.to_json())

    def to_json(self) -> dict[str, object]:
        """Returns plain types, rounded to what float32 holds."""
        return {
            "mean": [float(f"{value:.6g}") for value in self.mean],
            "directions": [[float(f"{value:.6g}") for value in row] for row in self.directions],
            "limit": self.limit,
            "usual": self.usual,
            "side_by_side": self.side_by_side,
            "radiographs": self.radiographs,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, object]) -> "Norms":
        """Reads what `to_json` gave.

        Raises:
            KeyError: If a part is missing.
            TypeError: If a part is of another kind.
            ValueError: If a part does not fit.
        """
        mean = np.array(content["mean"], np.float32)
        directions = np.array(content["directions"], np.float32).reshape(-1, len(mean))
        apart = content["side_by_side"]
        return cls(
            mean,
            directions,
            float(content["limit"]),  # type: ignore[arg-type]
            float(content["usual"]),  # type: ignore[arg-type]
            None if apart is None else float(apart),  # type: ignore[arg-type]
            int(content["radiographs"]),  # type: ignore[call-overload]
        )

    def distances(
        self, thumbnails: Float32[np.ndarray, "images cells"]
    ) -> Float32[np.ndarray, " images"]:
        """Returns the mean square of what the directions leave of each thumbnail's difference."""
        return _distances(thumbnails, self.mean, self.directions)


def measure_norms(store: Store, groups: Mapping[str, str]) -> Norms | None:
    """Looks at training radiographs, and at their masks as far as the store has them.

    Args:
        store: Holds them.
        groups: Their patients' groups, by image.

    Returns:
        None where there are fewer than `FEWEST`, or all belong to one group.
    """
    _, of_group = np.unique(list(groups.values()), return_inverse=True)
    if len(groups) < FEWEST or not of_group.any():
        return None
    thumbnails = np.stack([thumbnail(store, image_id) for image_id in groups])
    masks = [store.lung_mask(image_id) for image_id in groups if store.has_mask(image_id)]
    apart = [side_by_side(mask) for mask in masks]
    return norms_of(thumbnails, of_group % 2 == 0, apart)


def norms_of(
    thumbnails: Float32[np.ndarray, "images cells"],
    half: Bool[np.ndarray, " images"],
    apart: Sequence[float],
) -> Norms:
    """Describes thumbnails, with a limit that is measured on the half that was not looked at.

    Args:
        thumbnails: Of training radiographs.
        half: Which of them are in the first half; no patient is in both.
        apart: Of their masks, `side_by_side`.
    """
    distances = np.zeros(len(thumbnails), np.float32)
    for judged in (half, ~half):
        distances[judged] = _distances(thumbnails[judged], *_described(thumbnails[~judged]))
    mean, directions = _described(thumbnails)
    return Norms(
        mean,
        directions,
        limit=float(np.quantile(distances, WITHIN)),
        usual=float(np.quantile(distances, USUAL)),
        side_by_side=float(np.quantile(apart, 1 - WITHIN)) if len(apart) else None,
        radiographs=len(thumbnails),
    )


def doubts_of(
    thumb: Float32[np.ndarray, " cells"],
    negative: Float32[np.ndarray, " cells"],
    mask: Bool[np.ndarray, "height width"] | None,
    norms: Norms | None,
) -> Iterator[Doubt]:
    """Compares one radiograph with what the learners were shown.

    Its negative and its turns are compared as well: where one of them is nearer to the norm than
    the radiograph itself, that is a doubt, without any limit.

    Args:
        thumb: Its thumbnail.
        negative: The thumbnail of its negative.
        mask: Its lung mask; None where no segmenter looked at it.
        norms: What is usual; None makes only the mask count.
    """
    if mask is not None and not mask.any():
        yield NO_LUNGS
    if norms is None:
        return
    square = thumb.reshape(SIDE_PX, SIDE_PX)
    candidates = (
        (None, square), (INVERTED, negative), (UPSIDE_DOWN, np.rot90(square, 2)),
        (UPSIDE_DOWN, square[::-1]), (ON_ITS_SIDE, np.rot90(square)),
        (ON_ITS_SIDE, np.rot90(square, 3)),
    )  # fmt: skip
    distances = norms.distances(np.stack([picture.ravel() for _, picture in candidates]))
    nearest, _ = candidates[int(distances.argmin())]
    one_region = (
        mask is not None
        and norms.side_by_side is not None
        and bool(mask.any())
        and side_by_side(mask) < norms.side_by_side
    )
    if distances.min() > (norms.usual if one_region else norms.limit):
        yield UNLIKE
    elif nearest is not None:
        yield nearest
    if one_region:
        yield ONE_REGION


def thumbnail(store: Store, image_id: str, negative: bool = False) -> Float32[np.ndarray, " cells"]:
    """Returns a radiograph's equalised levels in 16 x 16 cells, with mean 0 and deviation 1.

    Args:
        store: Holds it.
        image_id: Which.
        negative: Of its negative, as if that had been equalised: with gamma 0.5 an equalised level
            is 255 times the root of the share of pixels that are no brighter.
    """
    whole = store.part(image_id, Box(0, 0, store.size_px, store.size_px), equalised=True)
    if negative:
        whole = _NEGATIVE.take(whole)
    small = Image.fromarray(whole).resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    cells = np.asarray(small, np.float32).ravel()
    deviation = cells.std()
    return (cells - cells.mean()) / np.float32(deviation if deviation > 0 else 1)


def side_by_side(mask: Bool[np.ndarray, "height width"]) -> float:
    """Returns the share of a mask's rows that cross it twice or more, as two lungs do.

    Args:
        mask: True inside, at least somewhere.
    """
    rows: Int[np.ndarray, "rows width"] = mask[mask.any(axis=1)].astype(np.int8)
    begins = (np.diff(rows, axis=1, prepend=0) == 1).sum(axis=1)
    return float((begins > 1).mean())


def _described(
    thumbnails: Float32[np.ndarray, "images cells"],
) -> tuple[Float32[np.ndarray, " cells"], Float32[np.ndarray, "directions cells"]]:
    """Returns the mean and the principal directions: few of few, so that something is left."""
    mean = thumbnails.mean(axis=0)
    count = min(DIRECTIONS, len(thumbnails) // 4)
    _, _, directions = np.linalg.svd(thumbnails - mean, full_matrices=False)
    return mean, directions[:count]


def _distances(
    thumbnails: Float32[np.ndarray, "images cells"],
    mean: Float32[np.ndarray, " cells"],
    directions: Float32[np.ndarray, "directions cells"],
) -> Float32[np.ndarray, " images"]:
    apart = thumbnails - mean
    left = apart - apart @ directions.T @ directions
    return np.asarray((left**2).mean(axis=1), np.float32)
