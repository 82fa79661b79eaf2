"""A trained study handed on: in a folder of its own, and to other programs."""

from pathlib import Path

from flannel.commands.recipes import chosen
from flannel.errors import check_range


def bundle(
    out: Path,
    study: Path = Path("runs/study"),
    fold: int = 0,
    arm: str = "all",
    learner: str = "all",
    licence: str = "",
    segmenter: Path | None = None,
    redo: bool = False,
) -> None:
    """Writes the networks of a fold into one folder, which `flannel predict` takes like a study.

    Weights as safetensors, every option, temperatures, what the training radiographs look like, a
    model card, and the hash of each file. No radiograph is in it.

    Args:
        out: The bundle, such as model.flannel.
        study: The study folder.
        fold: The fold.
        arm: "all", or arms with commas; an ensemble includes its learners.
        learner: "all", or base learners with commas.
        licence: Licence of the weights, for the model card.
        segmenter: Its best.ckpt; by default the one that made the study's masks.
        redo: Replace a bundle that is there.
    """
    check_range(0, fold=fold)
    from flannel.bundle.write import write_bundle
    from flannel.prediction.trained_study import trained_of_study

    trained = trained_of_study(study, fold, chosen(arm), chosen(learner), segmenter)
    write_bundle(trained, study, out, licence, redo)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(
        f"learners: {len(trained.learners)}, ensembles: {len(trained.ensembles)}, "
        f"{size / 2**20:,.0f} MiB"
    )
    for note in trained.notes:
        print(note)
    print(f"bundle: {out}, described in {out / 'MODEL_CARD.md'}")


def export_onnx(
    out: Path,
    study: Path = Path("runs/study"),
    fold: int | None = None,
    arm: str = "all",
    learner: str = "all",
) -> None:
    """Writes segmenter, learners and ensembles as ONNX, each compared with the network itself.

    Needs the extra: pip install -e '.[onnx]'.

    Args:
        out: A folder; files of the same name in it are replaced.
        study: A study folder, or a bundle.
        fold: Of a study; by default the first that it has trained. A bundle holds one.
        arm: "all", or arms with commas; an ensemble includes its learners.
        learner: "all", or base learners with commas.
    """
    check_range(0, fold=fold)
    from flannel.bundle.onnx import export_trained
    from flannel.bundle.read import open_trained

    trained = open_trained(study, fold, chosen(arm), chosen(learner))
    for exported in export_trained(trained, out):
        size = exported.path.stat().st_size / 2**20
        print(f"{exported.path}: {size:,.1f} MiB, at most {exported.difference:.1g} from torch")
    print(f"ONNX files: {out}")
