"""How long does one scoring call take, beside ONNX Runtime and NumPy? `python -m tests.benchmarks.kernel [--calls N]`

The same model with the same weights, scores asked for in all cases. No Kafka. The contenders take turns, on inputs that
change, so that noise meets them alike. The first model is that of `end_to_end`, at four sizes; the others are those of
recipes, with their scaling, as a daemon serves them.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import jax
import msgspec
import numpy as np
import onnxruntime

from monitor.detector.architectures import ConvolutionalSpec, DenseSpec, ModelSpec, RecurrentSpec
from monitor.detector.arrays import Float32Array
from monitor.detector.artifact import Artifact
from monitor.detector.spec import ScalingSpec, ScoreSpec
from monitor.serving.assembly import score_in_one_thread
from tests.benchmarks import report
from tests.benchmarks.contenders import LENGTH
from tests.benchmarks.graphs import graph
from tests.benchmarks.workload import WIDTHS
from tests.helpers import make_artifact

INPUTS = 8
# Contenders take turns in blocks: the threads of ONNX Runtime and of NumPy's BLAS go on spinning for some milliseconds
# after a call, which would be charged to whoever comes next.
BLOCK, WARM_UP, REST_S = 25, 5, 0.05
LONGEST_BLOCK_S = 1.0
PACKAGES = ("jax", "jaxlib", "numpy", "onnx", "onnxruntime")
Score = Callable[[Float32Array], Float32Array]  # windows (n, length, channels) -> scores (n,)


@dataclass(frozen=True, kw_only=True)
class Served:
    """A model as it is served, and the batches that it is asked to score."""

    name: str
    model: ModelSpec
    length: int = LENGTH
    channels: int = 1
    scaled: bool = True
    score: str = "mse"
    rows: tuple[int, ...] = field(default=(1, 64, 1024))

    def artifact(self, rows: int) -> Artifact:
        names = [f"channel-{number}" for number in range(self.channels)]
        made = make_artifact(
            kind="record", length=self.length, hop=self.length, channels=names, model=self.model, batch_rows=rows
        )
        offset, scale = (0.1,) * self.channels, (1.5,) * self.channels
        scaling = ScalingSpec(kind="standard", offset=offset, scale=scale) if self.scaled else made.manifest.scaling
        return replace(
            made, manifest=msgspec.structs.replace(made.manifest, scaling=scaling, score=ScoreSpec(kind=self.score))
        )


PLAIN = DenseSpec(widths=WIDTHS, hidden="tanh", output="linear")
WIDE = DenseSpec(widths=(64, 16), output="linear", code="linear")
SERVED = (
    Served(name="dense", model=PLAIN, scaled=False, score="mae", rows=(1, 64, 1024, 4096)),
    Served(name="rhythm", model=WIDE, length=256),
    Served(name="servers, 38 channels", model=WIDE, length=10, channels=38, score="mae"),
    Served(name="beats-convolutional", model=ConvolutionalSpec(filters=(16, 8), latent=8)),
    Served(name="beats-lstm", model=RecurrentSpec(), rows=(1, 64)),
)


def in_numpy(artifact: Artifact, dtype: type[np.floating] = np.float32) -> Score:
    """The first model, which is neither scaled nor relu."""
    tensors = [artifact.parameters[f"layers.{i}.{part}"].astype(dtype) for i in range(6) for part in ("kernel", "bias")]
    layers = list(zip(tensors[::2], tensors[1::2], strict=True))

    def score(windows: Float32Array) -> Float32Array:
        flat = windows.reshape(len(windows), -1).astype(dtype, copy=False)
        values = flat
        for kernel, bias in layers[:-1]:
            values = np.tanh(values @ kernel + bias)
        found: Float32Array = np.abs(flat - (values @ layers[-1][0] + layers[-1][1])).mean(axis=1)
        return found

    return score


def in_onnx_runtime(artifact: Artifact, threads: int) -> Score:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph(artifact), options, providers=["CPUExecutionProvider"])

    def score(windows: Float32Array) -> Float32Array:
        found: Float32Array = session.run(None, {"windows": windows})[0]
        return found

    return score


def ours(artifact: Artifact) -> tuple[Score, Score]:
    """The scorer as the daemon calls it, and the compiled function alone, with its results left where they are."""
    scorer = artifact.scorer()

    def compiled(windows: Float32Array) -> Float32Array:
        found: Float32Array = jax.block_until_ready(scorer.dispatch(windows))
        return found

    return scorer, compiled


def all_contenders(served: Served, rows: int) -> dict[str, Score]:
    artifact = served.artifact(rows)
    score, compiled = ours(artifact)
    found: dict[str, Score] = {"Telltale's scorer": score, "its compiled function": compiled}
    threads = {1, os.cpu_count() or 1}
    found |= {f"ONNX Runtime, {n} thread{'s' * (n > 1)}": in_onnx_runtime(artifact, n) for n in threads}
    if served.model is PLAIN:
        found["NumPy"] = in_numpy(artifact)
    return found


def check(served: Served, contenders: Mapping[str, Score], windows: Float32Array) -> float:
    """The largest relative difference of any score from NumPy's in float64, or else from another contender's.

    Raises:
        AssertionError: more than rounding.
    """
    found = {name: np.asarray(score(windows)) for name, score in contenders.items()}
    if served.model is PLAIN:
        found["NumPy in float64"] = in_numpy(served.artifact(len(windows)), np.float64)(windows)
    worst = 0.0
    for (name, one), (beside, other) in pairwise(found.items()):
        difference = float(np.abs(one / other - 1).max())
        assert difference < 1e-5, f"{served.name}: {name} differs from {beside} by {difference:.1e}"
        worst = max(worst, difference)
    return worst


def measure(served: Served, contenders: Mapping[str, Score], rows: int, calls: int) -> dict[str, list[float]]:
    """Microseconds of each call."""
    rng = np.random.default_rng(rows)
    shape = (rows, served.length, served.channels)
    inputs = [rng.normal(size=shape).astype(np.float32) for _ in range(INPUTS)]
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(max(1, calls // BLOCK)):
        for name, score in contenders.items():
            time.sleep(REST_S)
            ends = time.perf_counter() + LONGEST_BLOCK_S
            for number in range(-WARM_UP, BLOCK):
                windows = inputs[number % INPUTS]
                started = time.perf_counter()
                score(windows)
                if number >= 0:
                    times[name].append((time.perf_counter() - started) * 1e6)
                    if started > ends:
                        break
    return times


def lines_of(served: Served, rows: int, times: Mapping[str, list[float]]) -> list[list[str]]:
    rival = min(float(np.median(found)) for name, found in times.items() if name.startswith("ONNX"))
    lines = []
    for name, found in times.items():
        middle = float(np.median(found))
        label = f"{served.name}, {rows} row{'s' * (rows > 1)}  {name}"
        lines.append([label, *report.spread(found), f"{middle / rival:.2f}", f"{middle / rows:.2f}", f"{len(found)}"])
    return [*lines, [""] * 7]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=300, help="of each contender at each size, slow models fewer")
    parser.add_argument("--quick", action="store_true", help="25 calls")
    asked = parser.parse_args()
    calls = 25 if asked.quick else asked.calls
    score_in_one_thread()
    print(report.header("Scoring alone, microseconds a call", PACKAGES))
    flags = os.environ.get("XLA_FLAGS", "none")
    threads = os.environ["PJRT_NPROC"]
    print(f"threads: XLA's pool {threads} (XLA_FLAGS: {flags}); ONNX Runtime intra_op as named, inter_op 1\n")
    lines: list[list[str]] = []
    worst = 0.0
    for served in SERVED:
        for rows in served.rows:
            contenders = all_contenders(served, rows)
            shape = (rows, served.length, served.channels)
            probe = np.random.default_rng(1).normal(size=shape).astype(np.float32)
            worst = max(worst, check(served, contenders, probe))
            lines += lines_of(served, rows, measure(served, contenders, rows, calls))
    heads = ["", "min", "median", "max", "of ONNX Runtime's median", "us a window", "calls"]
    print(report.table(heads, lines))
    print(f"all scores agree within a relative {worst:.0e}, of the first model with NumPy in float64")


if __name__ == "__main__":
    main()
