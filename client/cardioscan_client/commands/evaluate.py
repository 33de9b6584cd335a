"""``cardioscan evaluate``: results against ground truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from cardioscan.errors import MissingDependencyError
from cardioscan_client.commands._shared import require


@click.command()
@click.argument("pred", type=click.Path(exists=True, path_type=Path))
@click.argument("truth", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--printed",
    type=click.Choice(["auto", "all", "standard"]),
    default="auto",
    show_default=True,
    help="Which samples of the truth are on the page; auto: the standard layout's where the truth has no gap.",
)
@click.option(
    "--clinical/--no-clinical",
    default=None,
    help="Compare heart rate, PR, QRS, QT and ST level too.  [default: where neurokit2 is installed]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.html",
    help="Also write a report with pictures, the worst page first: one HTML file. Needs the extra 'plot'.",
)
@click.option(
    "--report-pictures",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    help="How many pages the report shows in pictures, the worst ones; 0.5 MB each.",
)
def evaluate(
    pred: Path,
    truth: Path,
    printed: Any,
    clinical: bool | None,
    as_json: bool,
    report: Path | None,
    report_pictures: int,
) -> None:
    """Score digitized pages against ground truth.

    PRED is a folder that 'cardioscan digitize' wrote, or one of its files; TRUTH a WFDB header (.hea), an .npz, or a
    folder of them. A page belongs to the truth whose name begins its own: out/00012-p2.csv to truth/00012.hea.

    \b
    Examples:
      cardioscan evaluate out/ truth/
      cardioscan evaluate out/00012.csv truth/00012.hea --json
      cardioscan evaluate out/ truth/ --report report.html
    """
    from cardioscan.evaluate.evaluation import evaluate_paths
    from cardioscan_client.naming import printable
    from cardioscan_client.report import print_evaluation, progress_bar

    if clinical is not False:
        try:
            require("neurokit2", "clinical", "Measuring heart rate and intervals")
        except MissingDependencyError as missing:
            if clinical:
                raise
            click.echo(f"no clinical measures: {missing}", err=True)
            clinical = False
    pages = None
    if report is not None:
        for module in ("jinja2", "matplotlib"):  # before an hour of scoring, not after it
            require(module, "plot", "Writing a report of an evaluation")
        from cardioscan_client.evaluation_report import EvaluationReport

        pages = EvaluationReport(pred if pred.is_dir() else pred.parent, report_pictures)
    each_page = None if pages is None else pages.add
    evaluation = evaluate_paths(pred, truth, printed, clinical is not False, each_page)
    if as_json:
        click.echo(json.dumps(evaluation.to_json_dict(), indent=2))
    else:
        print_evaluation(evaluation)
    if report is None or pages is None:
        return
    with progress_bar() as progress:
        task = progress.add_task("drawing", total=min(report_pictures, len(evaluation.rows)))
        html = pages.html(evaluation, lambda done: progress.update(task, completed=done))
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(html, encoding="utf-8")
    click.echo(f"report: {printable(report)}", err=True)
