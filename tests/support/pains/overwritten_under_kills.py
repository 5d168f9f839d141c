"""A script: children overwrite one checkpoint until they are killed; after each kill it must be whole.

`overwritten_under_kills.py DIRECTORY` prints how many different checkpoints the kills have left.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import time

import numpy as np
import torch

import holdfast
from tests.support.small_runs import experiment, graph

KILLS = 12


def main(directory: str) -> None:
    torch.set_num_threads(1)  # threads do not survive a fork
    run = experiment(directory, graph=graph(width=10_000))
    run.save_checkpoint("best")
    began_s = time.perf_counter()
    run.save_checkpoint("best")
    one_save_s = time.perf_counter() - began_s
    draw, seen = random.Random(5), set()
    for kill in range(KILLS):
        started, begun = os.pipe()
        child = os.fork()
        if not child:
            overwrite_forever(run, begun, first=1000 * kill)
        os.close(begun)
        assert os.read(started, 1), "the child died by itself"
        time.sleep(draw.uniform(0, 2 * one_save_s))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen.add(the_one_value(f"{directory}/best.ckpt.mml"))
    print(len(seen))


def overwrite_forever(run: holdfast.Experiment, begun: int, first: int) -> None:
    for n in itertools.count(first):
        with torch.no_grad():
            for parameter in run.graph.parameters():
                parameter.fill_(n)
        run.save_checkpoint("best")
        os.write(begun, b".")


def the_one_value(bundle: str) -> float:
    """What all weights of this checkpoint are, which was checked to the last byte."""
    with holdfast.open(bundle) as checkpoint:
        assert not checkpoint.verify(deep=True)
        nodes = checkpoint.load()["model_graph"]
        arrays = [array for node in ("body", "head") for array in nodes[node].values()]
    (value,) = {float(value) for array in arrays for value in np.unique(array)}
    return value


if __name__ == "__main__":
    main(sys.argv[1])
