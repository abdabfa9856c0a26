"""A strategy that the user wrote: imported by name, kept to the rules of a strategy, and blamed for what it does wrong.

What is checked before a run: that it is pure, on the first batches of an epoch. On every batch: dtype, shape, rows.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from avprep.shared.errors import UserError
from avprep.shared.own_code import OwnCode, code_of, import_own
from avtrain.config.rules import own_strategy_parts
from avtrain.sampling import ClipTable, LabelLists, Strategy
from avtrain.sampling.settings import settings_of

LOOKED_AT = 20
"""batches of an epoch that are planned twice to see whether a strategy is pure"""
SEED = 0
END = object()


@dataclass(frozen=True, eq=False)
class OwnStrategy(Strategy):
    """The user's strategy `inner`, all of whose answers are checked. Errors: UserError that names its class."""

    inner: Strategy
    code: OwnCode

    def steps(self, table: ClipTable, batch_size: int) -> int:
        with self.code.blamed("in steps"):
            steps = self._refusing(lambda: self.inner.steps(table, batch_size))
        self._must(
            isinstance(steps, int | np.integer) and bool(steps >= 1),
            f"steps gave {steps!r}, not a whole number of 1 or more",
        )
        return int(steps)

    def smallest_batch(self, table: ClipTable, batch_size: int) -> int:
        with self.code.blamed("in smallest_batch"):
            smallest = self._refusing(lambda: self.inner.smallest_batch(table, batch_size))
        fits = isinstance(smallest, int | np.integer) and bool(1 <= smallest <= batch_size)
        self._must(fits, f"smallest_batch gave {smallest!r}, not a whole number of 1 to {batch_size}")
        return int(smallest)

    def plan(
        self, table: ClipTable, *, batch_size: int, seed: int, epoch: int, first_step: int = 0
    ) -> Iterator[np.ndarray]:
        steps, smallest = self.steps(table, batch_size), self.smallest_batch(table, batch_size)
        known = np.zeros(int(table.rows.max(initial=-1)) + 1, bool)
        known[table.rows] = True
        with self.code.blamed("in plan"):
            plans = iter(self.inner.plan(table, batch_size=batch_size, seed=seed, epoch=epoch, first_step=first_step))
        for step in range(first_step, steps + 1):
            with self.code.blamed(f"in plan, at batch {step} of epoch {epoch}"):
                plan = self._refusing(lambda: next(plans, END))
            if plan is END:
                self._must(step >= steps, f"plan ends after {step} batches of an epoch, steps announced {steps}")
                return
            self._must(step < steps, f"plan goes on after the {steps} batches of an epoch that steps announced")
            self._check_plan(plan, known, smallest, batch_size)
            yield plan

    def known_labels(self, table: ClipTable, seed: int) -> np.ndarray:
        with self.code.blamed("in known_labels"):
            labels = self.inner.known_labels(table, seed)
        fits = isinstance(labels, np.ndarray) and labels.dtype.kind == "i" and labels.shape == table.labels.shape
        self._must(fits, f"known_labels gave {_described(labels)}, not int [{len(table)}]")
        self._must(bool(((labels == table.labels) | (labels == -1)).all()), "known_labels gave labels of its own")
        return labels

    def known_lists(self, table: ClipTable, seed: int) -> LabelLists | None:
        with self.code.blamed("in known_lists"):
            lists = self.inner.known_lists(table, seed)
        if table.lists is None:
            return None
        fits = isinstance(lists, LabelLists) and len(lists) == len(table)
        self._must(fits, f"known_lists gave {type(lists).__name__}, not LabelLists of {len(table)} clips")
        return lists

    def fallbacks(self, table: ClipTable, plan: np.ndarray, *, seed: int, epoch: int, step: int) -> np.ndarray:
        with self.code.blamed("in fallbacks"):
            kept = self.inner.fallbacks(table, plan, seed=seed, epoch=epoch, step=step)
        fits = isinstance(kept, np.ndarray) and kept.dtype == bool and kept.shape == (len(plan),)
        self._must(fits, f"fallbacks gave {_described(kept)}, not bool [{len(plan)}]")
        return kept

    def weights(self, table: ClipTable, plan: np.ndarray, *, seed: int, epoch: int, step: int) -> np.ndarray | None:
        with self.code.blamed("in weights"):
            weights = self.inner.weights(table, plan, seed=seed, epoch=epoch, step=step)
        if weights is None:
            return None
        fits = isinstance(weights, np.ndarray) and weights.dtype.kind in "fiu" and weights.shape == (len(plan),)
        self._must(fits, f"weights gave {_described(weights)}, not float [{len(plan)}]")
        self._must(bool((np.isfinite(weights) & (weights >= 0)).all()), "weights gave some below 0 or not finite")
        return weights.astype(np.float32)

    def arrays(self) -> list[np.ndarray]:
        return self.inner.arrays()

    def check(self, table: ClipTable, batch_size: int) -> None:
        """Raise UserError unless the strategy is pure, as far as the first batches of two epochs show it."""
        before = table.rows.copy(), table.labels.copy()
        with self.code.blamed("when made a second time"):
            fresh = dataclasses.replace(self, inner=dataclasses.replace(self.inner))  # type: ignore[type-var]
        steps = self.steps(table, batch_size)
        self._must(fresh.steps(table, batch_size) == steps, "steps gave two numbers for the same arguments")
        first = self._begin(table, batch_size)
        self._begin(table, batch_size, epoch=1)  # one epoch must leave nothing behind that another depends on
        for again in (fresh._begin(table, batch_size), self._begin(table, batch_size)):
            for step, (plan, other) in enumerate(zip(first, again, strict=True)):
                self._must(
                    np.array_equal(plan, other),
                    f"it is not pure: asked twice for batch {step} of epoch 0 with the same arguments, it gave two "
                    "plans; draw with avtrain.sampling.generator(seed, epoch, stream, step) alone",
                )
        for step in sorted({1, 2, len(first) - 1} & set(range(len(first)))):
            tail = next(self.plan(table, batch_size=batch_size, seed=SEED, epoch=0, first_step=step))
            self._must(
                np.array_equal(tail, first[step]),
                f"its plan with first_step={step} does not begin with batch {step} of the whole epoch, so that a "
                "run could not resume",
            )
        self._check_beside(fresh, table, first[0])
        unchanged = np.array_equal(table.rows, before[0]) and np.array_equal(table.labels, before[1])
        self._must(unchanged, "it changes the table that it is given; copy what it sorts or shuffles")

    def plans_digest(self, table: ClipTable, batch_size: int, seed: int) -> str:
        """Hex sha256 of the first batches: it differs from process to process where a strategy is not pure.

        Such is one that goes by the order of a set of texts, by a file, or by the clock.
        """
        return hashlib.sha256(b"".join(plan.tobytes() for plan in self._begin(table, batch_size, seed))).hexdigest()

    def _begin(self, table: ClipTable, batch_size: int, seed: int = SEED, epoch: int = 0) -> list[np.ndarray]:
        plans = self.plan(table, batch_size=batch_size, seed=seed, epoch=epoch)
        return [plan.copy() for plan in islice(plans, LOOKED_AT)]

    def _check_beside(self, fresh: OwnStrategy, table: ClipTable, plan: np.ndarray) -> None:
        """What else a plan brings along is pure as well."""
        one, other = (each.known_labels(table, SEED).copy() for each in (self, fresh))
        self._must(np.array_equal(one, other), "known_labels gave two answers for the same arguments")
        weights = [each.weights(table, plan, seed=SEED, epoch=0, step=0) for each in (self, fresh)]
        alike = (weights[0] is None) == (weights[1] is None)
        alike = alike and (weights[0] is None or np.array_equal(weights[0], weights[1]))  # type: ignore[arg-type]
        self._must(alike, "weights gave two answers for the same arguments")

    def _check_plan(self, plan: Any, known: np.ndarray, smallest: int, largest: int) -> None:
        fits = isinstance(plan, np.ndarray) and plan.dtype == np.int64 and plan.ndim == 2 and plan.shape[1] == 2
        self._must(fits, f"plan gave {_described(plan)}, not int64 [batch, 2]")
        size = f"{smallest} to {largest}" if smallest < largest else f"{largest}"
        self._must(smallest <= len(plan) <= largest, f"plan gave a batch of {len(plan)} pairs, not {size}")
        inside = (plan >= 0) & (plan < len(known))
        strangers = plan[~(inside & known[np.where(inside, plan, 0)])]
        self._must(
            not len(strangers),
            f"plan gave row {strangers[0] if len(strangers) else ''}, which is not in the table; a plan holds "
            "table.rows[...], not positions",
        )

    def _refusing(self, ask: Any) -> Any:
        """`ask()`; a ValueError of a helper of ours, such as whole_batches, is the strategy's own sentence."""
        try:
            return ask()
        except ValueError as error:
            last = error.__traceback__
            while last is not None and last.tb_next is not None:
                last = last.tb_next
            if last is not None and last.tb_frame.f_globals.get("__name__", "").startswith("avtrain.sampling"):
                raise UserError(f"Strategy {self.code.name}: {error}") from error
            raise

    def _must(self, fits: bool, wrong: str) -> None:
        if not fits:
            raise UserError(f"Strategy {self.code.name} breaks the rules of a strategy: {wrong}.")


def own_strategy(text: str) -> OwnStrategy:
    """The strategy that `package:Class[:key=value,...]` names. Errors: UserError."""
    name, settings = own_strategy_parts(text)
    kind = import_own(name, "a strategy, a frozen dataclass below avtrain.sampling.Strategy", "class")
    code = _code_of(name, kind)
    try:
        values = settings_of(kind, name, settings)
    except ValueError as error:
        raise UserError(str(error)) from None
    with code.blamed(f"when made with {values or 'no settings'}"):
        return OwnStrategy(kind(**values), code)


def guarded(strategy: Strategy) -> Strategy:
    """The strategy, in an OwnStrategy where it is the user's. Errors: UserError where its class is no strategy."""
    kind = type(strategy)
    if isinstance(strategy, OwnStrategy) or kind.__module__.partition(".")[0] == "avtrain":
        return strategy
    return OwnStrategy(strategy, _code_of(f"{kind.__module__}:{kind.__qualname__}", kind, needed=False))


def _code_of(name: str, kind: Any, needed: bool = True) -> OwnCode:
    fits = inspect.isclass(kind) and issubclass(kind, Strategy) and dataclasses.is_dataclass(kind)
    if not (fits and kind.__dataclass_params__.frozen):
        raise UserError(f"{name} is no strategy; write a frozen dataclass below avtrain.sampling.Strategy.")
    return code_of(name, kind, needed)


def _described(value: Any) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
