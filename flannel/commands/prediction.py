"""Radiographs in, diagnoses with their pictures out: what `flannel predict` runs."""

from pathlib import Path

from flannel.commands.recipes import chosen
from flannel.errors import check_range
from flannel.runs.run import Answering


def main(arguments: list[str]) -> int:
    """Runs `flannel predict`, whose radiographs are named without an option."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog="flannel predict",
        description="Says what a trained study sees in radiographs: research software, no medical "
        "device.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "images", nargs="+", type=Path, help="Radiographs, and folders with their sub-folders."
    )
    parser.add_function_arguments(predict, skip={"images"})
    return predict(**parser.parse_args(arguments).as_dict())


def predict(
    images: list[Path],
    study: Path = Path("runs/study"),
    out: Path = Path("predictions"),
    fold: int | None = None,
    arm: str = "all",
    learner: str = "all",
    form: str = "flannel",
    segmenter: Path | None = None,
    patches: int | None = None,
    until_sure: float | None = None,
    precision: Answering = "auto",
    redraws: int = 200,
    pictures: bool = True,
    saliency: bool = True,
    doubtful: bool = False,
    redo: bool = False,
) -> int:
    """Answers for radiographs by all that a fold of a study has trained.

    Args:
        images: Radiographs of any known format, and folders of them.
        study: The study's folder, or a bundle.
        out: Folder of the tables, masks and pictures; a new one, or that of a killed prediction.
        fold: Whose learners and ensembles answer: of a study the first that was trained by
            default; a bundle holds one.
        arm: "all", or arms with commas; "fused" brings the learners that it combines.
        learner: "all", or base learners with commas; ensembles that lack one do not answer.
        form: What combines the learners, by the names of its recipes (flannel_softmax, mean,
            majority, logistic, best_learner), several with commas, or "all" that the fold has.
        segmenter: A best.ckpt of a segmenter; by default the one that made the study's masks.
        patches: Patches a radiograph; by default as many as each learner's recipe says.
        until_sure: Stop asking patches of a radiograph when the majority of all of them is known
            but for this risk, or with 0 for certain. Confidences are then shares of fewer votes.
        precision: Arithmetic: "auto" is that of the training where this machine computes it
            natively, and else the quickest; "as_trained" gives the study's own digits.
        redraws: Redraws of the patches for the intervals; 0 makes none.
        pictures: Draw a picture of each radiograph.
        saliency: Show in the pictures where two of the learners found what they say.
        doubtful: Answer also for pictures that seem to be none that the learners can judge.
        redo: Replace an earlier prediction in that folder.

    Returns:
        The exit status: 0, or 1 where no radiograph could be answered.
    """
    check_range(0, fold=fold, redraws=redraws)
    check_range(1, patches=patches)
    check_range(0, 1, until_sure=until_sure)
    from flannel.bundle.read import open_trained
    from flannel.prediction.predict import PredictOptions, predict_files
    from flannel.prediction.predictors import Panel
    from flannel.runs.run import RunFinishedError
    from flannel.study.contents import form_name

    named = chosen(form)
    forms = None if named is None else tuple(form_name(one) for one in named)
    trained = open_trained(study, fold, chosen(arm), chosen(learner), segmenter, forms)
    panel = Panel(trained, patches=patches, until_sure=until_sure, precision=precision)
    options = PredictOptions(redraws, pictures, saliency, doubtful, redo)
    try:
        report = predict_files(panel, images, out, options)
    except RunFinishedError as finished:
        print(finished)
        return 0
    print(report)
    return 0 if report.answered else 1
