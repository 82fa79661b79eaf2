"""How long one radiograph takes through ten learners of real size, by learner.

python benchmarks/opinion.py

The five networks in both arms, with random weights: whole radiographs, and K = 100 patches of a
store of 1024 px; then 40 relaxed patches (what `make app` asks), and 50, as many as `--until_sure
0.05` asks of 100 of learners that agree (README.md). The time of a learner is that of its network
on views that are cut meanwhile, without building it. With `--whole` follow whole opinions, with
lungs, networks read anew, picture and saliency.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

from base_learners import NETWORKS, side_px
from measuring import machine, resolved
from predict import SIZE_PX, LungsWhateverItSees, write_radiographs

from flannel.data.diagnosis import FLANNEL
from flannel.data.store.layout import Settings
from flannel.prediction.incoming import Prepared, collect, prepare_radiographs
from flannel.prediction.predict import PredictOptions, predict_files
from flannel.prediction.predictors import Panel
from flannel.prediction.trained import NETWORKS as ALLOWED
from flannel.prediction.trained import Trained, TrainedLearner
from flannel.runs.checkpoints import build_module
from segmentation.checkpoint import Segmenter, channels_last
from segmentation.fc_densenet import FCDenseNet103
from segmentation.masks.pipeline import MaskOptions

STORE_PX = 1024


def learner_of(arm: str, architecture: str, precision: str) -> TrainedLearner:
    arguments = {"architecture": architecture, "weights": "random", "classes": len(FLANNEL)}
    network = {"class_path": "flannel.networks.ImageNetNetwork", "init_args": arguments}
    data: dict[str, object] = {"arm": arm, "batch_size": 10, "size_px": side_px(architecture)}
    if arm == "patched":
        data |= {"window_px": 224, "greyscale": "equalised", "predict_patches": 100}
    else:
        data |= {"resize_px": 336, "normalisation": "half"}
    return TrainedLearner(
        arm=arm,
        learner=architecture,
        network=network,
        data=data,
        vote="share" if arm == "patched" else "mean_softmax",
        views_at_once=64,
        precision=precision,
        weights=lambda: build_module(network, ALLOWED).state_dict(),
        temperature=None,
        identity=f"{arm} {architecture}",
    )


def seconds_of(panel: Panel, place: int, prepared: Prepared, image_id: str) -> float:
    ready = panel.ready(panel.trained.learners[place])
    ready.seconds_an_image()  # not counted: the first time is slower
    started = time.perf_counter()
    list(ready.predict(prepared.store, [image_id]))
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description="How long an opinion of ten learners takes.")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--precision", type=resolved, default="auto")
    parser.add_argument("--whole", action="store_true", help="whole opinions too")
    arguments = parser.parse_args()
    print(machine(arguments.precision), flush=True)
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "files"
        folder.mkdir()
        lungs = write_radiographs(folder, 1, 1500)
        network = channels_last(LungsWhateverItSees(FCDenseNet103(), lungs)).eval()
        trained = Trained(
            name="random weights",
            fold=0,
            diagnoses=FLANNEL,
            store=Settings(STORE_PX, "stretch"),
            segmenter=Segmenter(network, SIZE_PX, sha256="random"),
            masks=MaskOptions(precision=arguments.precision),
            learners=tuple(
                learner_of(arm, name, arguments.precision)
                for arm in ("global", "patched")
                for name in arguments.networks.split(",")
            ),
        )
        inbox = collect([folder], Path(room) / "out", lambda path, sha256: None)
        prepared = prepare_radiographs(
            trained, inbox.table, Path(room) / "store", Path(room) / "masks"
        )
        image_id = str(inbox.table["image_id"].iloc[0])
        panels = {
            "100 uniform": Panel(trained, precision="as_trained"),
            "40 relaxed": Panel(trained.with_few_patches(), precision="as_trained"),
            "50 uniform": Panel(trained, patches=50, precision="as_trained"),
        }
        print(f"\n| learner | {' | '.join(panels)} |\n|---|{'---|' * len(panels)}", flush=True)
        taken = []
        for place, learner in enumerate(trained.learners):
            ways = panels.values()
            taken.append([seconds_of(one, place, prepared, image_id) for one in ways])
            cells = " | ".join(f"{seconds:.1f} s" for seconds in taken[-1])
            print(f"| {learner.name} | {cells} |", flush=True)
        sums = (sum(column) for column in zip(*taken, strict=True))
        print(f"| all | {' | '.join(f'{seconds:.0f} s' for seconds in sums)} |", flush=True)
        for name in ("100 uniform", "40 relaxed") if arguments.whole else ():
            panel = panels[name]
            asked = partial(predict_files, panel, [folder], options=PredictOptions(doubtful=True))
            started = time.perf_counter()
            asked(Path(room) / name)
            print(f"a whole opinion, {name}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
