"""Offline runs of Weights & Biases, which `wandb sync` uploads.

The id of a run follows from which model it is, so that a run that is uploaded again is no second
one. Beside a run lies the digest of all that it was told, written last: a run that is there as it
should be stays, and another one is written anew.
"""

import shutil
from pathlib import Path
from typing import Any, Final

import wandb

from supreme_core.library.tracked import EXPERIMENT, TrackedModel

DIGEST_FILE: Final = "supreme-digest"
ID_LETTERS: Final = 16


class OfflineRuns:
    """Folder `wandb` with the offline runs of one experiment and others."""

    def __init__(self, folder: Path, title: str) -> None:
        self._folder = folder.absolute()
        self._title = title
        self._folder.mkdir(parents=True, exist_ok=True)
        self.where = str(folder / "wandb")
        self.then = f"wandb sync {folder / 'wandb'}/offline-run-*"

    def write(self, model: TrackedModel) -> bool:
        """Write the offline run of a model; False where it is there as it should be."""
        run_id = model.identity[:ID_LETTERS]
        there = [*(self._folder / "wandb").glob(f"offline-run-*-{run_id}")]
        marks = [each / DIGEST_FILE for each in there]
        if any(mark.is_file() and mark.read_text() == model.content for mark in marks):
            return False
        for each in there:
            shutil.rmtree(each)
        folder = self._log(model, run_id)
        (folder / DIGEST_FILE).write_text(model.content)
        return True

    def _log(self, model: TrackedModel, run_id: str) -> Path:
        run = wandb.init(
            id=run_id,
            name=model.name,
            project=model.tags[EXPERIMENT].replace("/", "-"),
            group=model.scenario,
            job_type=model.method,
            tags=[self._title.rpartition("/")[2][:64]],
            config={**model.params, **model.tags},
            dir=self._folder,
            mode="offline",
            reinit="create_new",
            settings=wandb.Settings(
                console="off",
                disable_code=True,
                disable_git=True,
                save_code=False,
                silent=True,
                x_disable_machine_info=True,
                x_disable_meta=True,
                x_disable_stats=True,
            ),
        )
        by_epoch: dict[tuple[str, int], dict[str, Any]] = {}
        for name, epoch, number in model.points():
            training = name.partition("/")[0]
            step = f"{training}/epoch"
            if (training, epoch) not in by_epoch:
                run.define_metric(f"{training}/*", step_metric=step)
            by_epoch.setdefault((training, epoch), {step: epoch})[name] = number
        for row in by_epoch.values():
            run.log(row)
        run.summary.update(model.metrics)
        folder = Path(run.dir).parent  # beside its files
        run.finish(exit_code=int(model.failed))
        return folder
