"""pairs: sound and picture as somebody else has paired them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from avtrain.sampling.base import ClipTable, Strategy, Stream, generator, whole_batches
from avtrain.sampling.random import permuted_batches


@dataclass(frozen=True, eq=False)
class Pairs(Strategy):
    """P given pairs: dataset rows `audio` and `video` int64 [P], and their weights float64 [P] or None.

    Without weights each pair comes at most once an epoch. With weights, pairs are drawn independently, with
    replacement, in proportion to their weight; or, where `in_loss`, they come as without and count as much as their
    weight in the loss. Where `by_sound`, each sound comes at most once an epoch, as the clips of `random` do, with one
    of its pictures: drawn anew each epoch in proportion to the weights, without weights each as likely.
    A clip may be in many pairs, and so more than once in a batch. Labels play no part.
    Batches: all of batch_size, 1 to P; P // batch_size of them make an epoch (`by_sound`: sounds in place of pairs).

    Cost: O(P) once where there are weights, O(log P) a pair then.
    """

    audio: np.ndarray
    video: np.ndarray
    pair_weights: np.ndarray | None = None
    in_loss: bool = False
    by_sound: bool = False

    def __post_init__(self) -> None:
        shapes = {array.shape for array in (self.audio, self.video, self.pair_weights) if array is not None}
        if len(shapes) != 1 or self.audio.ndim != 1:
            raise ValueError(f"audio, video and weights of pairs must be equal, flat shapes, not {sorted(shapes)}.")
        if self.pair_weights is not None:
            with np.errstate(over="ignore"):
                fit = 0 < self.pair_weights.sum() < np.inf and (self.pair_weights >= 0).all()
            if not fit:
                raise ValueError("Weights of pairs must be finite, their sum too, 0 or more, and not all 0.")
        if self.in_loss and self.by_sound:
            raise ValueError("Weights of pairs draw partners or count in the loss, not both.")
        if self.in_loss:
            if self.pair_weights is None:
                raise ValueError("Pairs have no weights to count by in the loss.")
            keys, weights = self._by_pair
            if ((np.diff(keys) == 0) & (np.diff(weights) != 0)).any():
                raise ValueError("One pair is there twice with two weights; which one counts in the loss is not known.")

    def steps(self, table: ClipTable, batch_size: int) -> int:
        """Batches in an epoch: P // batch_size. Errors: ValueError if batch_size > P."""
        if self.by_sound:
            return whole_batches(len(self._sounds[1]), batch_size, "sounds")
        return whole_batches(len(self.audio), batch_size, "pairs")

    def plan(
        self, table: ClipTable, *, batch_size: int, seed: int, epoch: int, first_step: int = 0
    ) -> Iterator[np.ndarray]:
        """Plans int64 [batch_size, 2] of one epoch from `first_step` on. Errors: ValueError if batch_size > P."""
        for chosen in self._chosen(batch_size, seed, epoch, first_step):
            yield np.stack([self.audio[chosen], self.video[chosen]], axis=1)

    def _chosen(self, batch_size: int, seed: int, epoch: int, first_step: int) -> Iterator[np.ndarray]:
        """Numbers int64 [batch_size] of the pairs of each batch."""
        if self.by_sound:
            yield from self._partners(batch_size, seed, epoch, first_step)
            return
        if self.pair_weights is None or self.in_loss:
            yield from permuted_batches(len(self.audio), batch_size, seed, epoch, first_step, "pairs")
            return
        for step in range(first_step, whole_batches(len(self.audio), batch_size, "pairs")):
            draws = generator(seed, epoch, Stream.ANCHORS, step).random(batch_size)
            yield np.searchsorted(self._ends, draws, side="right")

    def _partners(self, batch_size: int, seed: int, epoch: int, first_step: int) -> Iterator[np.ndarray]:
        """Numbers int64 [batch_size] of a drawn pair of each sound of each batch."""
        order, begins, ends, shares = self._sounds
        batches = permuted_batches(len(begins), batch_size, seed, epoch, first_step, "sounds")
        for step, sounds in enumerate(batches, start=first_step):
            draws = sounds + generator(seed, epoch, Stream.PARTNERS, step).random(batch_size)
            chosen = np.searchsorted(shares, draws, side="right")
            yield order[np.clip(chosen, begins[sounds], ends[sounds] - 1)]

    @cached_property
    def _sounds(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(numbers of the pairs sound by sound, where each sound's begin and end, where each pair's share ends).

        The pairs of sound s share [s, s + 1), each in proportion to its weight; those of weight 0 are left out.
        """
        order = np.argsort(self.audio, kind="stable")
        if self.pair_weights is not None:
            order = order[self.pair_weights[order] > 0]
        begins = np.flatnonzero(np.diff(self.audio[order], prepend=-1))
        ends = np.append(begins[1:], len(order))
        sound = np.repeat(np.arange(len(begins)), ends - begins)
        weights = np.ones(len(order)) if self.pair_weights is None else self.pair_weights[order]
        weights = weights / np.maximum.reduceat(weights, begins)[sound]
        sums = np.cumsum(weights / np.add.reduceat(weights, begins)[sound])
        return order, begins, ends, sound + np.minimum(sums - np.append(0, sums)[begins][sound], 1)

    @cached_property
    def _ends(self) -> np.ndarray:
        """Where each pair's share of [0, 1) ends, float64 [P]; a share is as wide as the pair's weight."""
        assert self.pair_weights is not None
        ends = np.cumsum(self.pair_weights)
        return ends / ends[-1]

    def weights(self, table: ClipTable, plan: np.ndarray, *, seed: int, epoch: int, step: int) -> np.ndarray | None:
        """float32 [batch]: the weights of the pairs of `plan` where they count in the loss, else None."""
        if not self.in_loss:
            return None
        keys, weights = self._by_pair
        return weights[np.searchsorted(keys, self._keys(plan[:, 0], plan[:, 1]))].astype(np.float32)

    @cached_property
    def _by_pair(self) -> tuple[np.ndarray, np.ndarray]:
        """(keys of all pairs in rising order, the weight of each)."""
        assert self.pair_weights is not None
        keys = self._keys(self.audio, self.video)
        order = np.argsort(keys, kind="stable")
        return keys[order], self.pair_weights[order]

    def _keys(self, audio: np.ndarray, video: np.ndarray) -> np.ndarray:
        """int64: one number for each pair of rows (below 2**31, as those of an index are)."""
        return audio << 32 | video
