"""Intervals of one row of the comparison: processor time of 2,000 resamples."""

import argparse
import resource
import time

import numpy as np
import pandas as pd
from measuring import machine

from flannel.data.diagnosis import FLANNEL
from flannel.metrics.intervals import measured
from flannel.study.predictions import probability_columns
from flannel.uncertainty import draw_groups

SHARES = (0.078, 0.264, 0.414, 0.244)
"""Of the diagnoses in paper 004's test set of 1,283 images."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1283)
    parser.add_argument("--groups", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    draw = np.random.default_rng(1)
    table = pd.DataFrame(
        draw.dirichlet(np.ones(len(FLANNEL)), options.images), columns=probability_columns(FLANNEL)
    ).assign(
        image_id=[f"image-{i}" for i in range(options.images)],
        group=[f"group-{i % options.groups}" for i in range(options.images)],
        diagnosis=draw.choice(FLANNEL, options.images, p=SHARES),
    )
    print(machine())
    started = time.process_time()
    draws = draw_groups(table["group"])
    print(f"drawing groups: {time.process_time() - started:.1f} s of processor time, once")
    for name, ranks in (("from counts alone", False), ("with ROC-AUC and precision", True)):
        took = []
        for _ in range(options.rounds):
            started = time.process_time()
            measured({0: table}, draws, FLANNEL, ranks=ranks)
            took.append(time.process_time() - started)
        print(f"{name}: {1000 * np.median(took):.0f} ms of processor time a fold")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"highest resident memory: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
