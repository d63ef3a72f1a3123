"""ECUP's speed and memory beside a plain eager implementation of the same network (``plain_ecup.py``), in one run.

``python benchmarks/bench_ecup.py`` measures training and scoring of all arms on the CPU at two sizes, alternating the two
implementations, then on a GPU where there is one. ``--device cuda`` measures only the latter: a simulated campaign of
MT-LIFT's size (5,541,842 x 99, 5 arms), one epoch of training and the scoring of all arms. ``--rows`` makes both smaller.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.plain_ecup import PlainEcup, score_all_arms, train_epoch
from uplift.models.ecup.network import EcupNetwork
from uplift.models.neural.engine import TrainingSettings, score, start, train
from uplift.models.neural.rows import Rows
from uplift.models.neural.sources import ResidentRows

DIM, HIDDEN, GATE_HIDDEN, HEADS, STAGES, BATCH = 16, (128, 64), 64, 2, 2, 2048
CASES = {(99, 5): (3.0, 4.0), (12, 2): (2.0, 4.0)}
"""(fields, arms): the ratios to the plain implementation that are wanted, training and scoring."""
MT_LIFT = (5_541_842, 99, 5)


# ---------------------------------------------------------------- what is measured


def build(fields: int, arms: int) -> EcupNetwork:
    """Our network with the paper's options."""
    return EcupNetwork(
        numeric_fields=fields,
        cardinalities=(),
        arms=arms,
        stages=STAGES,
        value=None,
        embedding_dim=DIM,
        attention_dim=DIM,
        bit_level="d",
        hidden=HIDDEN,
        gate_hidden=GATE_HIDDEN,
        heads=HEADS,
        gamma=2.0,
        tenet=True,
        taenet=True,
        tau_units=2,
        stop_gradient=True,
        share_tower=True,
        share_gates=False,
        generator=torch.Generator().manual_seed(0),
    )


def simulate(rows: int, fields: int, arms: int, device: torch.device) -> Rows:
    """Random features and outcomes, made on the device."""
    source = torch.Generator(device).manual_seed(0)
    click = torch.rand(rows, generator=source, device=device) < 0.3
    bought = click & (torch.rand(rows, generator=source, device=device) < 0.2)
    return Rows(
        numeric=torch.randn(rows, fields, generator=source, device=device),
        categorical=torch.zeros(rows, 0, dtype=torch.int32, device=device),
        treatment=torch.randint(arms, (rows,), generator=source, device=device),
        outcomes=torch.stack((click, bought), dim=1).float(),
        value=None,
        weights=None,
    )


def our_epoch(network: EcupNetwork, rows: Rows, batch_size: int = BATCH, *, compiled: bool = False) -> float:
    """Seconds of one epoch of the package's engine; its validation is not counted."""
    settings = TrainingSettings(
        learning_rate=1e-3,
        schedule="constant",
        warmup_steps=0,
        weight_decay=0.0,
        gradient_clip=None,
        averaging=0.98,
        batch_size=batch_size,
        max_epochs=1,
        patience=1,
        criterion="loss",
        stage_weights=(1.0, 1.0),
        value_weight=1.0,
        loss_space="entire",
        precision="auto",
        compile=compiled,
    )
    device = rows.treatment.device
    held = rows.take(torch.arange(1024, device=device))
    history = train(
        network, ResidentRows(rows), held, settings=settings, generator=torch.Generator(device).manual_seed(0)
    )
    return history[0]["seconds"]


def our_scores(network: EcupNetwork, numeric: Tensor, categorical: Tensor) -> Tensor:
    """Rates [row, arm, stage] as the package scores them."""
    return score(network, numeric, categorical, numeric.device).rates()


# ---------------------------------------------------------------- the floor


def flops_per_row(fields: int, *, arms: int = 1) -> float:
    """Floating-point operations of the matrix products of one row under `arms` arms, forward.

    With the small products folded (``W_Q W_K'`` and ``W_V W_P`` once per batch) and everything that does not depend on the
    arm done once. A training step costs three times this for one arm: each product has two gradients.
    """
    f, d, tasks = fields, DIM, STAGES
    embedding = 2 * f * d
    unit = 2 * (2 * f * d * d + 2 * f * f * d)  # E^x W twice, Q E' and A E
    attention = 2 * 2 * (f + 1) * d * tasks * HEADS + 2 * 2 * tasks * d * d
    gates = 2 * tasks * sum(d * GATE_HIDDEN + GATE_HIDDEN * width for width in HIDDEN)
    tower = 2 * ((f + 1) * d * HIDDEN[0] + tasks * (HIDDEN[0] * HIDDEN[1] + HIDDEN[1]))
    return embedding + 2 * unit + arms * (attention + gates + tower)


@dataclass(frozen=True)
class Machine:
    """What the device does at best: square float32 products and copies of large arrays."""

    flops: float
    bytes: float

    @classmethod
    def measure(cls, device: torch.device) -> Machine:
        size = 1536 if device.type == "cpu" else 8192
        left, right = torch.rand(size, size, device=device), torch.rand(size, size, device=device)
        much = torch.rand(2**26 if device.type == "cpu" else 2**30, device=device)
        product = min(seconds(lambda: left @ right, device) for _ in range(7))
        target = torch.empty_like(much)
        copy = min(seconds(lambda: target.copy_(much), device) for _ in range(5))
        return cls(flops=2 * size**3 / product, bytes=2 * much.numel() * 4 / copy)


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Wall time of `run`, the device's queue emptied before and after."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    begun = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - begun


# ---------------------------------------------------------------- side by side on the CPU


def compare(
    fields: int, arms: int, *, rows: int, repetitions: int, machine: Machine, weights: bool, compiled: bool
) -> None:
    """Print training and scoring rows per second of both, alternating, and the share of the floor."""
    device = torch.device("cpu")
    data = simulate(rows, fields, arms, device)
    network = build(fields, arms)
    plain = PlainEcup(fields=fields, arms=arms, weights=weights).copy_weights(network)
    gap = (score_all_arms(plain, data.numeric[:2048], BATCH) - our_scores(
        network, data.numeric[:2048], data.categorical[:2048])).abs().max()  # fmt: skip
    assert gap < 1e-5, f"not the same function: {gap}"
    start(network, ResidentRows(data))
    optimiser = torch.optim.Adam(plain.parameters())
    table = torch.utils.data.TensorDataset(
        data.numeric, data.treatment, data.outcomes[:, 0].contiguous(), data.outcomes[:, 1].contiguous()
    )
    small = data.take(torch.arange(4 * BATCH))
    our_epoch(network, small, compiled=compiled)  # warm-up of both
    train_epoch(plain, optimiser, torch.utils.data.TensorDataset(*table[: 4 * BATCH]), BATCH)
    times: dict[str, list[float]] = {"train": [], "train plain": [], "score": [], "score plain": []}
    for _ in range(repetitions):
        times["train"].append(our_epoch(network, data, compiled=compiled))
        times["train plain"].append(seconds(lambda: train_epoch(plain, optimiser, table, BATCH), device))
        times["score"].append(seconds(lambda: our_scores(network, data.numeric, data.categorical), device))
        times["score plain"].append(seconds(lambda: score_all_arms(plain, data.numeric, BATCH), device))
    middle = {name: statistics.median(found) for name, found in times.items()}
    floors = {
        "train": 3 * flops_per_row(fields) / machine.flops,
        "score": flops_per_row(fields, arms=arms) / machine.flops,
    }
    print(f"\n{fields} fields, {arms} arms, {rows:,} rows, batch {BATCH}, median of {repetitions}")
    for job, wanted in zip(("train", "score"), CASES[fields, arms], strict=True):
        ours, theirs = rows / middle[job], rows / middle[f"{job} plain"]
        print(
            f"  {job:5s}  ours {ours:10,.0f} rows/s   plain {theirs:10,.0f} rows/s   ratio {ours / theirs:5.2f} "
            f"(wanted {wanted:g}; {min(times[f'{job} plain']) / min(times[job]):.2f} between the best of each)   "
            f"floor {1 / floors[job]:12,.0f} rows/s, share of it {ours * floors[job]:.0%}"
        )


# ---------------------------------------------------------------- MT-LIFT's size on a GPU


def campaign_on_gpu(rows: int, batch_size: int, *, compiled: bool) -> None:
    """Print seconds, peak memory and floors of one epoch and of scoring all arms."""
    if not torch.cuda.is_available():
        print(
            "\nGPU: there is none here (torch.cuda.is_available() is False), so nothing was measured on one."
        )
        print("     Run on a machine with CUDA: python benchmarks/bench_ecup.py --device cuda")
        return
    device = torch.device("cuda")
    _, fields, arms = MT_LIFT
    machine = Machine.measure(device)
    print(
        f"\n{torch.cuda.get_device_name()}: {machine.flops / 1e12:.1f} TFLOP/s in float32 products, "
        f"{machine.bytes / 1e9:,.0f} GB/s copied; {rows:,} rows x {fields}, {arms} arms, batch {batch_size}"
    )
    network = build(fields, arms).to(device)
    data = simulate(rows, fields, arms, device)
    start(network, ResidentRows(data))
    warm = data.take(torch.arange(min(rows, 20 * batch_size), device=device))
    our_epoch(network, warm, batch_size, compiled=compiled)
    resident = data.numeric.numel() * 4 + data.outcomes.numel() * 4 + data.treatment.numel() * 8
    weights = sum(parameter.numel() for parameter in network.parameters()) * 4
    steps = -(-rows // batch_size)
    jobs: dict[str, tuple[Callable[[], object], float, float]] = {
        # Rows read once; weights, gradients, two moments and the average read and written in every step.
        "one epoch": (
            lambda: our_epoch(network, data, batch_size, compiled=compiled),
            3 * flops_per_row(fields) * rows,
            resident + steps * 10 * weights,
        ),
        "scoring all arms": (
            lambda: our_scores(network, data.numeric, data.categorical),
            flops_per_row(fields, arms=arms) * rows,
            data.numeric.numel() * 4 + rows * arms * STAGES * 4,
        ),
    }
    for name, (run, flops, moved) in jobs.items():
        torch.cuda.reset_peak_memory_stats()
        took = seconds(run, device)
        floor = max(flops / machine.flops, moved / machine.bytes)
        print(
            f"  {name:16s} {took:7.2f} s ({rows / took:12,.0f} rows/s), peak {torch.cuda.max_memory_allocated() / 1e9:.1f} GB; "
            f"floor {floor:.2f} s (flops {flops / machine.flops:.2f} s, bytes {moved / machine.bytes:.3f} s), share {floor / took:.0%}"
        )


def main() -> None:
    """Measure what the options ask for."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--device", choices=("all", "cpu", "cuda"), default="all")
    options.add_argument(
        "--rows", type=int, help="rows per case; default 40,960 (99 fields), 163,840 (12), or MT-LIFT's"
    )
    options.add_argument("--repetitions", type=int, default=5)
    options.add_argument("--batch-size", type=int, default=BATCH, help="on the GPU")
    options.add_argument("--threads", type=int, default=2, help="on the CPU")
    options.add_argument(
        "--compile", action="store_true", help="train with torch.compile (compiled in the warm-up)"
    )
    options.add_argument(
        "--plain-weights",
        action="store_true",
        help="the plain implementation calls nn.MultiheadAttention with its defaults (need_weights=True)",
    )
    given = options.parse_args()
    if given.device != "cuda":
        torch.set_num_threads(given.threads)
        machine = Machine.measure(torch.device("cpu"))
        print(
            f"CPU, {given.threads} threads: {machine.flops / 1e9:.0f} GFLOP/s in float32 products, "
            f"{machine.bytes / 1e9:.1f} GB/s copied"
        )
        for (fields, arms), rows in zip(CASES, (40_960, 163_840), strict=True):
            compare(
                fields,
                arms,
                rows=given.rows or rows,
                repetitions=given.repetitions,
                machine=machine,
                weights=given.plain_weights,
                compiled=given.compile,
            )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"\npeak memory of the process, both implementations: {peak:.2f} GB")
    if given.device != "cpu":
        campaign_on_gpu(given.rows or MT_LIFT[0], given.batch_size, compiled=given.compile)


if __name__ == "__main__":
    main()
