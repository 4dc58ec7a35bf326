"""How long does one scoring call take, beside ONNX Runtime and NumPy? `python -m tests.benchmarks.kernel [--calls N]`

The same dense autoencoder with the same weights, scores asked for in all cases. No Kafka. The contenders take turns, on
inputs that change, so that noise meets them alike.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping

import jax
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from monitor.arrays import Float32Array
from monitor.detector.artifact import Artifact
from tests.benchmarks import report
from tests.benchmarks.contenders import LENGTH
from tests.benchmarks.workload import WIDTHS
from tests.helpers import make_artifact

ROWS = (1, 64, 1024, 4096)
INPUTS = 8
# Contenders take turns in blocks: the threads of ONNX Runtime and of NumPy's BLAS go on spinning for some milliseconds
# after a call, which would be charged to whoever comes next.
BLOCK, WARM_UP, REST_S = 25, 5, 0.05
PACKAGES = ("jax", "jaxlib", "numpy", "onnx", "onnxruntime")
Score = Callable[[Float32Array], Float32Array]  # windows (n, LENGTH) -> scores (n,)


def weights(artifact: Artifact) -> list[tuple[Float32Array, Float32Array]]:
    """Kernel and bias of each layer."""
    found: Mapping[str, Float32Array] = artifact.parameters
    return [(found[f"layers.{i}.kernel"], found[f"layers.{i}.bias"]) for i in range(len(found) // 2)]


def in_numpy(artifact: Artifact) -> Score:
    layers = weights(artifact)

    def score(windows: Float32Array) -> Float32Array:
        values = windows
        for kernel, bias in layers[:-1]:
            values = np.tanh(values @ kernel + bias)
        found: Float32Array = np.abs(windows - (values @ layers[-1][0] + layers[-1][1])).mean(axis=1)
        return found

    return score


def graph(artifact: Artifact) -> bytes:
    """The model as an ONNX graph: windows (rows, LENGTH) -> scores (rows,)."""
    nodes, constants, at = [], [numpy_helper.from_array(np.array([1]), "axes")], "windows"
    layers = weights(artifact)
    for number, (kernel, bias) in enumerate(layers):
        last = number == len(layers) - 1
        constants += [
            numpy_helper.from_array(kernel, f"kernel{number}"),
            numpy_helper.from_array(bias, f"bias{number}"),
        ]
        out = "reconstructions" if last else f"linear{number}"
        nodes.append(helper.make_node("Gemm", [at, f"kernel{number}", f"bias{number}"], [out]))
        at = out if last else f"hidden{number}"
        if not last:
            nodes.append(helper.make_node("Tanh", [out], [at]))
    nodes.append(helper.make_node("Sub", ["windows", at], ["difference"]))
    nodes.append(helper.make_node("Abs", ["difference"], ["error"]))
    nodes.append(helper.make_node("ReduceMean", ["error", "axes"], ["scores"], keepdims=0))
    made = helper.make_graph(
        nodes,
        "autoencoder",
        [helper.make_tensor_value_info("windows", TensorProto.FLOAT, ["rows", LENGTH])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows"])],
        constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def in_onnx_runtime(artifact: Artifact, threads: int) -> Score:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph(artifact), options, providers=["CPUExecutionProvider"])

    def score(windows: Float32Array) -> Float32Array:
        found: Float32Array = session.run(["scores"], {"windows": windows})[0]
        return found

    return score


def ours(rows: int) -> tuple[Score, Score]:
    """The scorer as the daemon calls it, and the compiled function alone, with its results left where they are."""
    scorer = benchmark_artifact(rows).scorer()

    def score(windows: Float32Array) -> Float32Array:
        return scorer(windows[:, :, None])

    def compiled(windows: Float32Array) -> Float32Array:
        found: Float32Array = jax.block_until_ready(scorer.dispatch(windows[:, :, None]))
        return found

    return score, compiled


def benchmark_artifact(rows: int) -> Artifact:
    return make_artifact(kind="record", length=LENGTH, hop=LENGTH, widths=WIDTHS, batch_rows=rows)


def check(contenders: Mapping[str, Score], windows: Float32Array) -> float:
    """The largest relative difference of any score from NumPy's in float64.

    Raises:
        AssertionError: more than rounding.
    """
    artifact = benchmark_artifact(len(windows))
    layers = [(kernel.astype(np.float64), bias.astype(np.float64)) for kernel, bias in weights(artifact)]
    values = windows.astype(np.float64)
    for kernel, bias in layers[:-1]:
        values = np.tanh(values @ kernel + bias)
    expected = np.abs(windows - (values @ layers[-1][0] + layers[-1][1])).mean(axis=1)
    worst = 0.0
    for name, score in contenders.items():
        difference = float(np.abs(np.asarray(score(windows)) / expected - 1).max())
        assert difference < 1e-5, f"{name} differs by {difference:.1e}"
        worst = max(worst, difference)
    return worst


def measure(contenders: Mapping[str, Score], rows: int, calls: int) -> dict[str, list[float]]:
    """Microseconds of each call."""
    rng = np.random.default_rng(rows)
    inputs = [rng.normal(size=(rows, LENGTH)).astype(np.float32) for _ in range(INPUTS)]
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(max(1, calls // BLOCK)):
        for name, score in contenders.items():
            time.sleep(REST_S)
            for number in range(-WARM_UP, BLOCK):
                windows = inputs[number % INPUTS]
                started = time.perf_counter()
                score(windows)
                if number >= 0:
                    times[name].append((time.perf_counter() - started) * 1e6)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=500, help="of each contender at each size")
    parser.add_argument("--quick", action="store_true", help="50 calls")
    asked = parser.parse_args()
    calls = 50 if asked.quick else asked.calls
    cores = os.cpu_count() or 1
    print(report.header(f"Scoring alone, dense {LENGTH}-{'-'.join(map(str, WIDTHS))}, microseconds a call", PACKAGES))
    flags = os.environ.get("XLA_FLAGS", "none")
    print(f"threads: XLA's pool {cores} (one a core; XLA_FLAGS: {flags}); ONNX Runtime intra_op as named, inter_op 1\n")
    lines = []
    worst = 0.0
    for rows in ROWS:
        artifact = benchmark_artifact(rows)
        score, compiled = ours(rows)
        contenders: dict[str, Score] = {"Telltale's scorer": score, "its compiled function": compiled}
        contenders |= {f"ONNX Runtime, {n} thread{'s' * (n > 1)}": in_onnx_runtime(artifact, n) for n in {1, cores}}
        contenders["NumPy"] = in_numpy(artifact)
        probe = np.random.default_rng(1).normal(size=(rows, LENGTH)).astype(np.float32)
        worst = max(worst, check(contenders, probe))
        times = measure(contenders, rows, calls)
        rival = min(float(np.median(found)) for name, found in times.items() if name.startswith("ONNX"))
        for name, found in times.items():
            ratio = float(np.median(found)) / rival
            each = float(np.median(found)) / rows
            lines.append([f"{rows:>5} rows  {name}", *report.spread(found), f"{ratio:.2f}", f"{each:.2f}"])
        lines.append([""] * 6)
    print(report.table(["", "min", "median", "max", "of ONNX Runtime's median", "us a window"], lines))
    print(f"all scores agree with NumPy in float64 within a relative {worst:.0e}")


if __name__ == "__main__":
    main()
