"""Split protocols: who is tested on in which fold, who validates, and who is learnt from."""

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd

from flannel.data.choices import Protocol
from flannel.data.manifest import ManifestError
from flannel.errors import OptionError

TEST_PARTS = 5
"""One of five parts is the test set: 20 %, as in the paper (Section 2)."""

ATTEMPTS = 50
LEAKS_SHOWN = 20
"""How many patients in several folds are named."""


def assign_folds(
    table: pd.DataFrame,
    protocol: Protocol = "patient",
    seed: int = 407,
    folds: int = 5,
    allow_absent: bool = False,
) -> pd.DataFrame:
    """Fills the columns `split` and `fold` of a manifest, as `splits_of_fold` reads them.

    The result depends on the images and the seed, not on the order of the rows. `patient` and
    `paper` test on one fixed fifth, and each fold validates on an equal slice of the rest: with
    five folds 64 / 16 / 20 %, as the paper.

    Args:
        table: A manifest.
        protocol: `patient` draws whole groups, stratified by diagnosis. Unlike the paper, because
            there about 40 % of the test images share a patient with the training images. `paper`
            shuffles single images once and cuts (paper 004, Section 2). `nested` draws whole
            groups into as many parts as there are folds; fold k tests on part k and validates on
            part k + 1. `given` takes the source's own test set as it is, whatever the groups,
            where the source has one, and its own validation set, which leaves one fold; the rest
            is drawn by whole groups. Folds that a table gives are taken as they are: each
            validates, or tests in turn where no row has the split test. `leave-source-out` has a
            fold for each source, in alphabetical order, which tests on it; a fifth of the other
            images validates. `external` tests on every image and has no fold: a cohort for what
            others trained.
        seed: Seed of the draw.
        folds: How many folds; `leave-source-out` and a given validation set settle it themselves.
        allow_absent: With `leave-source-out`, test also on diagnoses that no other source has.

    Returns:
        A copy with `split` and `fold` filled.

    Raises:
        ManifestError: If there is one diagnosis alone, or none has as many radiographs as there
            are parts, a diagnosis has too few groups, no draw gives every diagnosis to every
            part, `given` finds no test set of a source, a table whose splits were assigned before,
            or a group in several folds of a table, `leave-source-out` finds one source alone or a
            diagnosis that only the left out source has, or the protocol is unknown.
        OptionError: If there are fewer than two folds, or three for `nested`.
    """
    needed = 3 if protocol == "nested" else 2
    if folds < needed:
        raise OptionError(f"folds is {folds}; expected at least {needed}, the papers use 5.")
    if protocol != "external" and table["diagnosis"].nunique() < 2:
        raise ManifestError(
            f"All {len(table)} radiographs are {', '.join(table['diagnosis'].unique())}; expected "
            "two diagnoses or more to learn from. Add radiographs of another one, choose another "
            "mapping, or use the protocol 'external' for a cohort that is only tested on."
        )
    ordered = table.sort_values("image_id")
    match protocol:
        case "paper":
            split, fold = _with_fixed_test(_paper_parts(len(ordered), seed, folds))
        case "patient":
            split, fold = _with_fixed_test(_patient_parts(ordered, seed, folds))
        case "nested":
            fold = _nested_parts(ordered, seed, folds)
            split = np.full(len(ordered), "rotating", dtype=object)
        case "given":
            split, fold = _given(ordered, seed, folds)
        case "leave-source-out":
            split, fold = _left_out_sources(ordered, seed, allow_absent)
        case "external":
            split, fold = _with_fixed_test(np.full(len(ordered), -1))
        case _:
            raise ManifestError(
                f"Split protocol {protocol!r} is unknown; choose patient, paper, nested, given, "
                "leave-source-out or external."
            )
    assigned = table.copy()
    assigned["split"] = pd.Series(split, index=ordered.index).reindex(table.index)
    numbers = pd.Series(fold, index=ordered.index).reindex(table.index)
    assigned["fold"] = numbers.where(numbers >= 0).astype("Int64")
    return assigned


def splits_of_fold(table: pd.DataFrame, fold: int) -> pd.Series:
    """Returns what each radiograph is for in one fold: "train", "val", "test", or "" for nothing.

    A row of the manifest says it with `split` and `fold`:

    - `test` without a fold: tests in every fold.
    - `development` of fold k: validates in fold k, trains in the others.
    - `rotating` of fold k: tests in fold k, validates in the fold before, trains in the others.
    - `train` or `val` of fold k: tests in fold k and is what it says in the others, but is left
      out where its group has another image among the test images. Without a fold: always.

    Args:
        table: A manifest with folds.
        fold: The fold, from 0.

    Returns:
        A text column aligned with the table's index.

    Raises:
        ManifestError: If the fold does not exist, or a row has no split.
    """
    known = sorted(table["fold"].dropna().unique())
    if fold not in known:
        names = ", ".join(str(number) for number in known) or "none: assign folds first"
        raise ManifestError(f"Fold {fold} does not exist in the manifest; it has {names}.")
    needing = ~table["split"].isin(("test", "train", "val"))
    lost = table["image_id"][needing & table["fold"].isna()]
    if len(lost):
        raise ManifestError(
            f"{len(lost)} images have neither test split nor fold, first {lost.iloc[0]}."
        )
    split = table["split"].to_numpy(dtype=object)
    numbers = table["fold"].fillna(-1).to_numpy(dtype=int)
    here, rotates = numbers == fold, split == "rotating"
    fixed = np.isin(split, ("train", "val"))
    used = np.where(np.isin(split, ("development", "rotating")), "train", split)
    used[here] = np.where(split[here] == "development", "val", "test")
    used[rotates & (numbers == known[(known.index(fold) + 1) % len(known)])] = "val"
    if (fixed & here).any():
        tested = set(table["group"][here])
        used[fixed & ~here & table["group"].isin(tested).to_numpy()] = ""
    return pd.Series(used, index=table.index, name="split", dtype=str)


def _with_fixed_test(parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns split and fold of parts that validate in turn; -1 is the test set of all."""
    return np.where(parts < 0, "test", "development").astype(object), parts


def _paper_parts(count: int, seed: int, folds: int) -> np.ndarray:
    """Cuts one shuffle at int(q * count), q = 0, .16, .32 ... .8 for five folds; -1 is test."""
    shuffled = np.random.default_rng(seed).permutation(count)
    cuts = [4 * fold * count // (5 * folds) for fold in range(folds + 1)]
    parts = np.full(count, -1)
    for fold in range(folds):
        parts[shuffled[cuts[fold] : cuts[fold + 1]]] = fold
    return parts


def _patient_parts(table: pd.DataFrame, seed: int, folds: int) -> np.ndarray:
    _check_groups(table, folds + 1)

    def draw(attempt: int) -> np.ndarray:
        test = _drawn_parts(table, TEST_PARTS, (seed, attempt, 0)) == 0
        parts = np.full(len(table), -1)
        parts[~test] = _drawn_parts(table[~test], folds, (seed, attempt, 1))
        return parts

    return _first_complete(draw, table, folds + 1)


def _nested_parts(table: pd.DataFrame, seed: int, folds: int) -> np.ndarray:
    _check_groups(table, folds)
    return _first_complete(
        lambda attempt: _drawn_parts(table, folds, (seed, attempt, 4)), table, folds
    )


def _first_complete(
    draw: Callable[[int], np.ndarray], table: pd.DataFrame, parts: int
) -> np.ndarray:
    """Returns the first draw in which every part has every diagnosis."""
    for attempt in range(ATTEMPTS):
        drawn = draw(attempt)
        seen = set(zip(drawn.tolist(), table["diagnosis"], strict=True))
        if len(seen) == parts * table["diagnosis"].nunique():
            return drawn
    raise ManifestError(
        f"No draw of {ATTEMPTS} gives every diagnosis to all {parts} parts; groups of patients: "
        f"{_listed(table.groupby('diagnosis')['group'].nunique())}. Take fewer folds or add "
        "radiographs of the rarest diagnosis."
    )


def gives_folds(table: pd.DataFrame) -> bool:
    """Returns whether a manifest without folds of ours has those of a user's table."""
    return bool((table["fold"] > 0).any())


def _given_folds(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Takes the folds of a table: of the images that do not test, or in turn where none does."""
    tests = (table["split"] == "test").to_numpy()
    lost = table["image_id"][~tests & table["fold"].isna()]
    if len(lost):
        raise ManifestError(
            f"{len(lost)} radiographs have neither a fold nor the split test, first "
            f"{lost.iloc[0]}. Give every row one of both, or leave the column fold out."
        )
    fold = table["fold"].fillna(-1).to_numpy(int)
    number = len(set(fold[~tests]))
    if number < (2 if tests.any() else 3):
        raise ManifestError(
            f"The table gives {number} folds; expected 2 or more beside rows of the split test, or "
            "3 or more without, for each of which then tests in turn."
        )
    names = ["test" if test else f"fold {k}" for test, k in zip(tests, fold, strict=True)]
    parts = table.assign(part=names)
    spread = parts.groupby("group").filter(lambda rows: rows["part"].nunique() > 1)
    if len(spread):
        leaks = [
            ", ".join(f"{row.image_id} ({row.part})" for row in rows.itertuples())
            for _, rows in spread.groupby("group")
        ]
        more = f"\n  and {len(leaks) - LEAKS_SHOWN} more" if len(leaks) > LEAKS_SHOWN else ""
        listed = "\n  ".join(leaks[:LEAKS_SHOWN])
        raise ManifestError(
            f"{len(leaks)} patients, or copies of one radiograph, lie in several folds of the "
            f"table; put each into one:\n  {listed}{more}"
        )
    trains = "development" if tests.any() else "rotating"
    return np.where(tests, "test", trains).astype(object), fold


def _given(table: pd.DataFrame, seed: int, folds: int) -> tuple[np.ndarray, np.ndarray]:
    if gives_folds(table) and table["split"].isin(("", "test", "development")).all():
        return _given_folds(table)
    validates = (table["fold"] == 0).fillna(False).to_numpy(bool)
    if not table["split"].isin(("", "test", "development")).all():
        raise ManifestError(
            "The manifest already has folds, which hide the source's own splits; build it again "
            "from the sources to use the protocol 'given'."
        )
    if not (table["split"] == "test").any():
        raise ManifestError(
            "No source in the manifest has a test set of its own; use the protocol 'patient'."
        )
    own = table["split"].to_numpy(dtype=object)
    validating = table["source"].isin(set(table["source"][validates])).to_numpy()
    in_training = validating & (own == "development") & ~validates
    settled = (own == "test") | validates | in_training
    free = own == ""
    rest = ~settled
    if free.any():
        if table[free]["diagnosis"].value_counts().max() < TEST_PARTS:
            raise ManifestError(
                f"The sources without a test set of their own give only {free.sum()} radiographs, "
                "too few to draw one; leave them out or use the protocol 'patient'."
            )
        rest[free] = _drawn_parts(table[free], TEST_PARTS, (seed, 0, 2)) != 0
    parts = np.full(len(table), -1)
    if rest.any():
        _check_groups(table[rest], folds)
        parts[rest] = _drawn_parts(table[rest], folds, (seed, 0, 3))
    split, fold = _with_fixed_test(parts)
    if validates.any():
        # A validation set that is given is the same for all folds, so that there is one fold.
        in_training |= parts > 0
        split[in_training], fold[in_training] = "train", -1
        split[validates], fold[validates] = "development", 0
    return split, fold


def _left_out_sources(
    table: pd.DataFrame, seed: int, allow_absent: bool
) -> tuple[np.ndarray, np.ndarray]:
    sources = sorted(table["source"].unique())
    if len(sources) < 2:
        raise ManifestError(
            f"The manifest holds one source, {sources[0]}; leave-source-out needs two or more."
        )
    fold = table["source"].map(sources.index).to_numpy()
    if not allow_absent:
        _check_left_diagnoses(table, sources, fold)
    strata = table.assign(diagnosis=table["source"] + "\n" + table["diagnosis"])
    lacking: set[tuple[str, str]] = set()
    for attempt in range(ATTEMPTS):
        validates = _drawn_parts(strata, TEST_PARTS, (seed, attempt, 5)) == 0
        split = np.where(validates, "val", "train").astype(object)
        lacking = _unvalidated(table.assign(split=split, fold=fold), sources)
        if not lacking:
            return split, fold
    listed = "; ".join(f"{diagnosis} without {source}" for source, diagnosis in sorted(lacking))
    raise ManifestError(
        f"No draw of {ATTEMPTS} gives both training and validation every diagnosis: {listed}. "
        f"Radiographs: {_by_source(table)}. Add radiographs of it, or leave it out."
    )


def _check_left_diagnoses(table: pd.DataFrame, sources: list[str], fold: np.ndarray) -> None:
    """Refuses a source that alone has a diagnosis, apart from groups that it tests on itself."""
    plain = table.assign(split="train", fold=fold)
    for number, source in enumerate(sources):
        used = splits_of_fold(plain, number)
        learnt = set(table["diagnosis"][used == "train"])
        absent = sorted(set(table["diagnosis"][used == "test"]) - learnt)
        if absent:
            raise ManifestError(
                f"Without the source {source} nothing is left to learn {', '.join(absent)} from. "
                f"Radiographs: {_by_source(table)}. Add a source that has it, or test on it all "
                "the same with --allow_absent true."
            )


def _unvalidated(table: pd.DataFrame, sources: list[str]) -> set[tuple[str, str]]:
    """Names the left-out source and diagnosis where only training, or only validation, has it."""
    lacking = set()
    for number, source in enumerate(sources):
        used = splits_of_fold(table, number)
        train, val = (set(table["diagnosis"][used == split]) for split in ("train", "val"))
        lacking |= {(source, diagnosis) for diagnosis in train ^ val}
    return lacking


def _drawn_parts(table: pd.DataFrame, parts: int, seeds: tuple[int, ...]) -> np.ndarray:
    """Deals whole groups into parts of about equal size and mix of diagnoses, numbered by chance.

    The dealer gives the largest groups to the parts in order: unless these are numbered anew, the
    first part, such as the test set, has them with every seed, and so the fewest groups.
    """
    # scikit-learn takes long to import, and `--help` needs this module.
    from sklearn.model_selection import StratifiedGroupKFold

    most = table["diagnosis"].value_counts()
    if most.max() < parts:
        raise ManifestError(
            f"Too few radiographs to draw {parts} parts from: {_listed(most)}; expected at least "
            f"{parts} of one diagnosis. Add radiographs, or use the protocol 'external' for a "
            "cohort that is only tested on."
        )
    state = int(np.random.SeedSequence(seeds).generate_state(1)[0])
    dealer = StratifiedGroupKFold(parts, shuffle=True, random_state=state)
    drawn = np.empty(len(table), dtype=int)
    with warnings.catch_warnings():
        # The caller looks whether a rare diagnosis reached every part.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        dealt = dealer.split(table, table["diagnosis"], table["group"])
        numbers = np.random.default_rng(state).permutation(parts)
        for part, (_, positions) in zip(numbers, dealt, strict=True):
            drawn[positions] = part
    return drawn


def _check_groups(table: pd.DataFrame, needed: int) -> None:
    counts = table.groupby("diagnosis")["group"].nunique()
    few = counts[counts < needed]
    if len(few):
        raise ManifestError(
            f"Too few groups of patients: {_listed(few)}; each diagnosis needs {needed}, one for "
            f"each part of the protocol. There are: {_listed(counts)}. Take fewer folds or add "
            "radiographs."
        )


def _listed(counts: pd.Series) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _by_source(table: pd.DataFrame) -> str:
    counts = table.groupby("source")["diagnosis"].value_counts().sort_index()
    return "; ".join(
        f"{source}: {_listed(of_source.droplevel(0))}"
        for source, of_source in counts.groupby(level=0)
    )
