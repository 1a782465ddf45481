"""Data-parallel training: one process per core, which sum their gradients once per step.

The tensors are too small for several threads per operation: that costs more than it saves, and
stalls all threads when another program uses one of the cores.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from demo.training.run import Clock


@dataclass(frozen=True)
class Team:
    """This process and the others that train together."""

    rank: int
    size: int

    @property
    def leads(self) -> bool:
        """Whether this process prints, saves checkpoints and measures the time."""
        return self.rank == 0

    def average(self, model: nn.Module, loss: torch.Tensor, clock: Clock) -> tuple[float, float]:
        """Count a step, average the gradients over the team and clip them to norm 1.

        Returns the mean loss and the norm before clipping. All processes take over the leader's
        clock, so that they stop at the same step.
        """
        clock.tick()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        worked = torch.tensor([clock.worked * self.size if self.leads else 0.0])
        flat = torch.cat([*(g.reshape(-1) for g in gradients), loss.detach().view(1), worked])
        dist.all_reduce(flat)
        flat /= self.size
        mean_loss, clock.worked = float(flat[-2]), float(flat[-1])
        norm = float(flat[:-2].norm())
        flat *= min(1.0, 1.0 / (norm + 1e-6))
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, part in zip(gradients, flat[:-2].split(sizes), strict=True):
            gradient.copy_(part.view(gradient.shape))
        return mean_loss, norm


def train_together(work: Callable[..., None], *arguments: Any) -> None:
    """Run `work(team, *arguments)` in one single-threaded process per core until all return."""
    size = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_member, (size, f"file://{folder}/meet", work, arguments), nprocs=size)


def _member(
    rank: int, size: int, meet: str, work: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=size)
    work(Team(rank, size), *arguments)
    dist.barrier()
    dist.destroy_process_group()
