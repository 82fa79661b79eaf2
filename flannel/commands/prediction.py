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
        description="Predicts radiographs with a trained study. Research software, not a medical "
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
    dicom: bool = False,
) -> int:
    """Predicts radiographs with all learners and ensembles of a fold.

    Args:
        images: Radiographs of any known format, and folders of them.
        study: The study's folder, or a bundle.
        out: Folder of the tables, masks and pictures; a new one, or that of a killed prediction.
        fold: Whose learners and ensembles predict; by default the first that the study has
            trained. A bundle holds one.
        arm: "all", or arms with commas; "fused" includes the learners that it combines.
        learner: "all", or base learners with commas; ensembles that lack one do not predict.
        form: What combines the learners, by the names of its recipes (flannel_softmax, mean,
            majority, logistic, best_learner), several with commas, or "all" that the fold has.
        segmenter: A best.ckpt of a segmenter; by default the one that made the study's masks.
        patches: Patches per radiograph; by default those of each learner's recipe.
        until_sure: Evaluate no more patches of a radiograph once the majority of all of them is
            known up to this risk; 0: for certain. Confidences are then shares of fewer votes.
        precision: Arithmetic: "auto" is that of the training where this machine computes it
            natively, otherwise the fastest; "as_trained" gives the study's own digits.
        redraws: Redraws of the patches for the intervals; 0 makes none.
        pictures: Draw a picture of each radiograph.
        saliency: Show saliency maps of two learners in the pictures.
        doubtful: Predict radiographs with a grave doubt too.
        redo: Replace an earlier prediction in that folder.
        dicom: Of each DICOM radiograph, write DICOM objects of its picture and of its lungs.

    Returns:
        The exit status: 0, or 1 where no radiograph could be predicted.
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
    forms = None if named is None else tuple(form_name(name) for name in named)
    trained = open_trained(study, fold, chosen(arm), chosen(learner), segmenter, forms)
    panel = Panel(trained, patches=patches, until_sure=until_sure, precision=precision)
    options = PredictOptions(redraws, pictures, saliency, doubtful, redo, dicom)
    try:
        report = predict_files(panel, images, out, options)
    except RunFinishedError as finished:
        print(finished)
        return 0
    print(report)
    return 0 if report.answered else 1
