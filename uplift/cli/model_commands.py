"""``uplift fit``, ``uplift predict``, ``uplift export-model`` and ``uplift evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from uplift.cli.console import leads, say, steps, table
from uplift.cli.options import (
    CampaignPath,
    CheckpointFolder,
    Overwrite,
    ParamsFile,
    Seed,
    Stream,
    parse_params,
    refuse_existing,
)


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("fit")(fit)
    app.command("predict")(predict)
    app.command("export-model")(export_model)
    app.command("evaluate")(evaluate)


def fit(
    campaign: CampaignPath,
    model: Annotated[str, typer.Option("--model", "-m", help="Name from 'uplift models'.")] = "ecup",
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Model folder to write.", show_default=False)
    ] = ...,  # type: ignore[assignment]
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", help="NAME=VALUE; overrides the campaign file.", show_default=False),
    ] = None,
    params: ParamsFile = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Fit on all rows; default: without the test part of \\[split].")
    ] = False,
    checkpoint: CheckpointFolder = None,
    stream: Stream = False,
    seed: Seed = None,
    overwrite: Overwrite = False,
) -> None:
    """Fit one model on the training part of a campaign and save it.

    Example: [bold]uplift fit campaign.toml --model lightgbm_t --param n_estimators=300 --out models/t[/bold]

    More rows than memory: [bold]uplift fit campaign.toml --model ecup --stream --out models/ecup[/bold]

    On several GPUs: [bold]torchrun --nproc-per-node 4 -m uplift fit campaign.toml --model ecup --out models/ecup[/bold]
    """
    from uplift.campaign_file import CampaignFile
    from uplift.io.atomic import check_output_folder
    from uplift.models.checkpoints import fit_resumably, forget
    from uplift.models.registry import make_model

    check_output_folder(out, overwrite=overwrite)
    config = CampaignFile.read(campaign)
    if params is not None:
        config = config.with_params(params)
    seed = config.split.seed if seed is None else seed
    chosen_params = {**config.models.get(model, {}), **parse_params(param)}
    chosen = make_model(model, **chosen_params)
    if "random_state" in chosen.parameter_names() and "random_state" not in chosen_params:
        chosen.set_params(random_state=seed)
    with steps() as progress:
        progress.start("read the campaign")
        rows = config.stream() if stream else config.load()
        if not everything:
            rows, _ = rows.split(test=config.split.test, by=config.split.by, seed=seed)
        step = f"fit {model} on {rows.n_rows:,} rows"
        progress.start(step)
        chosen.on_progress = lambda text: progress.start(f"{step}: {text}")
        fit_resumably(chosen, rows, checkpoint)
        if leads():
            chosen.save(out, overwrite=overwrite)
            forget(checkpoint)
    say(f"model: {out}")


def predict(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", help="Model folder, or a run folder (its chosen model).", show_default=False
        ),
    ],
    campaign: CampaignPath,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Effects file to write (Parquet).", show_default=False)
    ],
    part: Annotated[str, typer.Option("--part", help="Rows to score: test, train or all.")] = "test",
    data: Annotated[
        str | None,
        typer.Option("--data", help="Score this file, folder or glob instead.", show_default=False),
    ] = None,
    stream: Stream = False,
    seed: Seed = None,
    overwrite: Overwrite = False,
) -> None:
    """Predict the effects of every arm at every stage with a saved model.

    Example: [bold]uplift predict models/t campaign.toml --out effects.parquet[/bold]
    """
    from uplift.campaign_file import CampaignFile
    from uplift.errors import UpliftError, did_you_mean
    from uplift.models.registry import load_model

    refuse_existing(out, overwrite=overwrite)
    if part not in ("test", "train", "all"):
        raise UpliftError(f"unknown part {part!r}; {did_you_mean(part, ('test', 'train', 'all'))}")
    config = CampaignFile.read(campaign)
    loaded = load_model(_model_folder(model))
    with steps() as progress:
        progress.start("read the data")
        rows = config.stream() if stream else config.load()
        if data is not None:
            rows = rows.audience(data)
        elif part != "all":
            train, test = rows.split(
                test=config.split.test, by=config.split.by, seed=config.split.seed if seed is None else seed
            )
            rows = test if part == "test" else train
        progress.start(f"score {rows.n_rows:,} rows")
        loaded.predict_to(rows, out)
    say(f"effects of {rows.n_rows:,} rows: {out}")


def export_model(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", help="Model folder, or a run folder (its chosen model).", show_default=False
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Graph to write: .pt2 or .onnx.", show_default=False)
    ],
    format: Annotated[
        str | None,
        typer.Option("--format", "-f", help="torch or onnx; default: by the ending.", show_default=False),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Export a neural model's scoring graph for a service, with a description of its inputs (JSON) beside it.

    Example: [bold]uplift export-model models/ecup --out ecup.pt2[/bold]
    """
    from uplift.errors import UpliftError
    from uplift.models.registry import load_model

    loaded = load_model(_model_folder(model))
    write = getattr(loaded, "export", None)  # trees would have to import torch to be told apart by class
    if write is None:
        raise UpliftError(
            f"model {loaded.name!r} is no neural model and has no graph to export; score with 'uplift predict', or export "
            f"a model such as 'ecup'."
        )
    with steps() as progress:
        progress.start(f"export {loaded.name} and compare it with the model")
        written = write(out, format=format, overwrite=overwrite)
    say(f"scoring graph: {written}, inputs described in {written.name}.json")


def evaluate(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|CAMPAIGN.toml", help="A run folder, or a campaign file.", show_default=False
        ),
    ],
    effects: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[EFFECTS]...",
            help="With a campaign file: effects files; rows outside the test part are left out.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the metrics as JSON.", show_default=False)
    ] = None,
    stream: Stream = False,
    seed: Seed = None,
    overwrite: Overwrite = False,
) -> None:
    """Score models on the test part: Qini, AUUC, uplift at the top, average effects, all with intervals.

    Example: [bold]uplift evaluate reports/spring[/bold] or [bold]uplift evaluate campaign.toml effects.parquet[/bold]

    More rows than memory: [bold]uplift evaluate campaign.toml effects.parquet --stream[/bold]
    """
    from uplift.errors import UpliftError
    from uplift.io.atomic import write_json
    from uplift.metrics import describe, evaluate_stream
    from uplift.metrics import evaluate as evaluate_effects
    from uplift.run_folder import RUN, RunFolder

    if out is not None:
        refuse_existing(out, overwrite=overwrite)
    with steps() as progress:
        progress.start("read the effects")
        if source.suffix == ".toml":
            test, found = _campaign_effects(source, effects or [], seed, stream=stream)
            draws_seed = seed or 0
        else:
            if effects:
                raise UpliftError(
                    f"{source} is a run folder, whose own effects are evaluated; leave out {effects[0]}, or give a campaign file first."
                )
            folder = RunFolder.open(source)
            test, found = folder.test_stream() if stream else folder.test_effects()
            draws_seed = folder.read_json(RUN)["seed"] if seed is None else seed
        progress.start(f"evaluate {len(found)} models on {test.n_rows:,} rows")
        judge: Any = evaluate_stream if stream else evaluate_effects
        evaluation = judge(test, found, random_state=draws_seed)
    columns = ["stage", "arm", "model", "value", "low", "high"]
    for metric in ("ate", *dict.fromkeys(evaluation.scores["metric"])):
        shown = evaluation.ate.assign(model="(observed)") if metric == "ate" else evaluation.scores
        if metric != "ate":
            shown = shown[shown["metric"] == metric]
        rows = [
            [stage, arm, row.model, *(_number(number) for number in (row.value, row.low, row.high))]
            for stage in evaluation.stages
            for arm in evaluation.arms
            for row in shown[(shown["stage"] == stage) & (shown["arm"] == arm)].itertuples(index=False)
        ]
        title = f"{metric}: {describe(metric).title}"
        say(table(title, columns, rows, right=("value", "low", "high")))
        say("")
    for note in evaluation.notes:
        say(f"note: {note}")
    if out is not None:
        write_json(out, evaluation.to_metrics())


def _number(value: Any) -> str:
    return "none" if value != value else f"{value:.5f}"


def _model_folder(path: Path) -> Path:
    """A model folder, or the chosen model of a run folder."""
    from uplift.run_folder import MODELS, RUN, RunFolder

    return path / MODELS / RunFolder(path).read_json(RUN)["chosen_model"] if (path / RUN).is_file() else path


def _campaign_effects(
    source: Path, files: list[Path], seed: int | None, *, stream: bool
) -> tuple[Any, dict[str, Any]]:
    from uplift.campaign_file import CampaignFile
    from uplift.effects import Effects
    from uplift.errors import UpliftError
    from uplift.metrics.effect_rows import EffectRows

    if not files:
        raise UpliftError(
            "give at least one effects file after the campaign file, as written by 'uplift predict'."
        )
    config = CampaignFile.read(source)
    seed = config.split.seed if seed is None else seed
    rows: Any = config.stream() if stream else config.load()
    _, test = rows.split(test=config.split.test, by=config.split.by, seed=seed)
    found: dict[str, Any] = {}
    for file in files:
        if stream:
            name = EffectRows(file, test).model
            found[name if name not in found else f"{name} ({file.stem})"] = file
            continue
        effects = Effects.read_parquet(file)
        name = effects.model if effects.model not in found else f"{effects.model} ({file.stem})"
        found[name] = effects.for_units(test.unit_ids, source=str(file))
    return test, found
