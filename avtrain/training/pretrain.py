"""avtrain pretrain: a dataset and a config to a run folder. What is checked before the first update, then loop.Trainer.

On a CPU with one thread count, a run that was killed and started again ends with the same weights, bit for bit: every
draw is a function of (seed, epoch, step), and a checkpoint holds all that changes. (Not yet run on a GPU.) Under
torchrun each rank encodes its slice of the global batch, all compute the loss of the whole; rank 0 alone writes.

From torchrun to the first update: (1) every_run.py reads which rank this is (distributed.read_ranks) and which device
it has; (2) `pretrain` joins the process group; (3) setup.make_ready checks dataset, plan and config, builds model and
loader; (4) course.course_of decides between a first step and a checkpoint; (5) loop.Trainer.train makes the updates.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from avprep.shared import store
from avprep.shared.errors import UserError
from avtrain.config import READ_THREADS, PretrainConfig
from avtrain.data.cache import CacheConfig
from avtrain.data.several import Given
from avtrain.distributed import ALONE, Ranks, by_all, by_first, one_value, process_group
from avtrain.runs import folder as run_folder
from avtrain.runs import loggers
from avtrain.runs.changes import record
from avtrain.runs.exit_status import outcome_recorded
from avtrain.runs.trained_on import write_record
from avtrain.training.course import course_of, left_of, log_new
from avtrain.training.determinism import determinism
from avtrain.training.loop import PretrainResult, Trainer
from avtrain.training.profiling import check_profile
from avtrain.training.setup import make_ready
from avtrain.training.validation import Validation, description_of

__all__ = ["PretrainResult", "pretrain"]

logger = logging.getLogger(__name__)


def pretrain(
    given: Given,
    run: Path,
    config: PretrainConfig,
    *,
    device: str = "cpu",
    ranks: Ranks = ALONE,
    cache: CacheConfig | None = None,
    read_threads: int = READ_THREADS,
    stopping: Callable[[], bool] = lambda: False,
    opened: Callable[[], None] = lambda: None,
    saved: Callable[[], None] = lambda: None,
    log: Sequence[str] = (),
    quiet: bool = False,
    change: bool = False,
    deterministic: bool | None = None,
    profile: int = 0,
) -> PretrainResult:
    """Train both encoders on the train split of the dataset or datasets `given`; the run folder records everything.

    A run that exists is resumed: as it was, for more epochs or updates, or, with `change`, under other settings
    (course.course_of). `read_threads` read and decode clips. `log` names what else gets the metrics (loggers.LOGGERS).
    `opened` is called on the first rank before training, `saved` after each checkpoint. `deterministic` is that of
    `determinism`: it chooses the kernels of a CUDA device, and is off there unless wanted. `profile` updates
    are timed, and as many traced (profiling).

    Errors: UserError (no such dataset or model, a strategy or batch that it cannot serve, a run of other settings);
    Interrupted once `stopping()` on any rank, after a checkpoint; FloatingPointError where a loss or gradient is not
    finite.
    """
    with process_group(ranks, device) as device, ExitStack() as held:
        log = loggers.checked(log)
        ready = by_all(
            lambda: make_ready(given, run, config, device=device, ranks=ranks, cache=cache, read_threads=read_threads),
            ranks,
        )
        number = int(ready.identity.get(run_folder.PLANS, "0")[:15], 16)
        if not one_value(number, ranks):
            raise UserError(
                f"Strategy {config.strategy} is not pure: it gives the processes different plans. A plan may not "
                "depend on the order of a set, on a file or on the clock."
            )
        course = by_all(lambda: course_of(run, ready, config, change), ranks)
        by_all(lambda: check_profile(profile, left_of(run, ready, config, course)), ranks)

        def open_run() -> None:
            if not course.new:
                run_folder.open_run(run, ready.identity, {"read_threads": read_threads})
            held.enter_context(store.folder_lock(run, "training in"))
            if course.new:
                record(run, course.changes, ready.identity)
            write_record(run, ready.dataset, ready.loader.recipe.table.rows, config.init_from)
            run_folder.clear_exit(run)
            opened()

        by_first(open_run, ranks)
        held.enter_context(outcome_recorded(run, ranks))
        validation = None
        if config.val_every and len(ready.unseen):
            validation = Validation(
                dataset=ready.dataset,
                clips=ready.unseen,
                window=ready.loader.recipe.spec,
                config=config,
                device=device,
                ranks=ranks,
                cache=cache,
                read_threads=read_threads,
            )
        if ranks.rank == 0 and not quiet:
            logger.info("%s", description_of(validation, config))
            log_new(run, course, config)
        trainer = Trainer(
            run=run,
            config=config,
            ready=ready,
            course=course,
            validation=validation,
            device=device,
            ranks=ranks,
            stopping=stopping,
            saved=saved,
            log=log,
            quiet=quiet,
            profile=profile,
        )
        with determinism(deterministic, device):
            return trainer.train()
