"""Processes that train one policy together: each steps its own environments, all learn the same.

torchrun starts W of them and tells each its rank in environment variables. A process that it did
not start is alone, rank 0 of 1: every function here then returns at once what it was given.

W ranks of N environments learn what one process with W·N would learn, but for rounding: its
(T, W·N) arrays are theirs side by side; all draw the same random numbers, each uses its own
columns'. They talk through gloo, since what is learned lies in the processors' memory.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ..models.errors import SurefootError, UsageError, first_line
from .steps import Adam

LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets
TIMEOUT = timedelta(minutes=2)  # a rank that is silent for longer is given up
LARGEST_GAP = 1e-3  # between ranks, in parts of a tensor's largest number

T = TypeVar("T")


class RankLost(SurefootError, ConnectionError):
    """Another process of the group ended, or says nothing any more."""


class RanksApart(SurefootError, RuntimeError):
    """The ranks have not learned the same."""


class Stopped(KeyboardInterrupt):
    """One of the ranks was interrupted: raised on all of them, at the same place."""


@contextmanager
def group() -> Iterator[None]:
    """Be one of the ranks that torchrun started; do nothing if alone, or inside another `group`.

    Raises:
        RankLost: the others cannot be reached.
        UsageError: they are on other machines, and this one tells them no address of its own.
    """
    started = all(name in os.environ for name in LAUNCHED) and os.environ["WORLD_SIZE"] != "1"
    if not started or world_size() > 1:
        yield
        return
    _require_address()
    try:
        dist.init_process_group("gloo", timeout=TIMEOUT)
    except RuntimeError as error:
        raise RankLost(
            f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}: cannot join the others at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} ({_reason(error)})"
        ) from None
    try:
        yield
    finally:
        dist.destroy_process_group()


def _require_address() -> None:
    """gloo listens where the host's own name points to, on many machines their inside: 127.…"""
    here = os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"])
    if here == os.environ["WORLD_SIZE"] or os.environ.get("GLOO_SOCKET_IFNAME"):
        return
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        address = "nothing"
    if address == "nothing" or address.startswith("127."):
        raise UsageError(
            f"GLOO_SOCKET_IFNAME: found none, and this host's name means {address}; allowed is the "
            "network interface towards the other machines, such as eth0"
        )


def world_size() -> int:
    """How many processes train together: W."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0. Rank 0 writes the files and talks to the user."""
    return dist.get_rank() if world_size() > 1 else 0


def threads() -> int:
    """This rank's share of the machine's processors; 0 means all of them."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if world_size() > 1 else 1
    return 0 if here == 1 else max(1, (os.cpu_count() or 1) // here)


# --- numbers ----------------------------------------------------------------------------------


def all_gather(x: Tensor) -> Tensor:
    """The columns of all ranks side by side. Shape (T, N, ...) → (T, W·N, ...)."""
    if world_size() == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(world_size())]
    with _or_lost():
        dist.all_gather(parts, x.contiguous())
    return torch.cat(parts, dim=1)


def randn(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """This rank's rows of standard normal numbers, drawn for all ranks. Shape (N, ...)."""
    rows = shape[0]
    noise = torch.randn((world_size() * rows, *shape[1:]), generator=generator)
    return noise[rank() * rows : (rank() + 1) * rows]


def local_rows(batch: Tensor, num_envs: int) -> tuple[Tensor, float]:
    """This rank's rows of a minibatch, and which part of the minibatch they are.

    Args:
        batch: rows of all ranks, numbered through flattened (T, W·N) arrays. Shape (B,).
        num_envs: N.

    Returns:
        Numbers of rows in this rank's flattened (T, N) arrays, at least one: a rank that has none
        gets some row as part 0, since a mean over nothing is no number.
    """
    if world_size() == 1:
        return batch, 1.0
    step, column = batch // (world_size() * num_envs), batch % (world_size() * num_envs)
    mine = column // num_envs == rank()
    rows = (step * num_envs + column % num_envs)[mine]
    return (rows, len(rows) / len(batch)) if len(rows) else (step.new_zeros(1), 0.0)


def sum_gradients(optimiser: Adam) -> None:
    """Add all ranks' gradients, in place."""
    if world_size() == 1:
        return
    with _or_lost():
        dist.all_reduce(optimiser.gradient)


def average(table: Tensor, parts: Sequence[float]) -> Tensor:
    """Means over all ranks' rows, from those over the local rows of B minibatches. Shape (B, n)."""
    if world_size() == 1:
        return table
    table = table * torch.tensor(parts)[:, None]
    with _or_lost():
        dist.all_reduce(table)
    return table


def moments(x: Tensor) -> tuple[int, Tensor, Tensor]:
    """Number, mean and variance of all ranks' rows. Shape (B, n) → B of all, (n,), (n,).

    Source: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for computing
    sample variances".
    """
    mean = x.mean(0)
    variance = (x - mean).square_().mean(0)
    if world_size() == 1:
        return len(x), mean, variance
    count = x.new_full((1,), len(x))
    mine = torch.cat((count, mean, variance)).nan_to_num()  # of no rows, mean and variance are NaN
    counts, means, variances = all_gather(mine[:, None]).split((1, len(mean), len(mean)))
    weight = counts / counts.sum()
    mean = (weight * means).sum(1)
    variance = (weight * (variances + (means - mean[:, None]).square())).sum(1)
    return int(counts.sum()), mean, variance


@torch.no_grad()
def broadcast_state(state: Mapping[str, Any]) -> None:
    """Overwrite the tensors in nested dicts with rank 0's, which changes no bit as a rule.

    Processors of another kind may round otherwise: so that ranks don't drift apart.

    Raises:
        RanksApart: some number differs by more than rounding explains.
    """
    gap = 0.0
    for tensor in _tensors(state) if world_size() > 1 else ():
        before = tensor.clone()
        with _or_lost():
            dist.broadcast(tensor, 0)
        if not torch.equal(before, tensor):
            largest = tensor.double().abs().max()
            gap = max(gap, float((before.double() - tensor.double()).abs().max() / largest))
    if (gap := max(all_gather_objects(gap))) > LARGEST_GAP:
        raise RanksApart(f"ranks: found learned numbers {gap:.1e} apart, allowed is {LARGEST_GAP}")


def _tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, Mapping):
        for part in state.values():
            yield from _tensors(part)


# --- the session ------------------------------------------------------------------------------


def all_gather_objects(x: T) -> list[T]:
    """What each rank gave, in their order, on all of them."""
    if world_size() == 1:
        return [x]
    found: list[Any] = [None] * world_size()
    with _or_lost():
        dist.all_gather_object(found, x)
    return found


def from_first(call: Callable[[], T]) -> T:
    """What `call` returns on rank 0, on all ranks; or what it refuses. The others wait for it."""
    if world_size() == 1:
        return call()
    answer: list[Any] = [None]
    if rank() == 0:
        try:
            answer = [call()]
        except SurefootError as error:
            answer = [error]
    with _or_lost():
        dist.broadcast_object_list(answer, 0)
    if isinstance(answer[0], SurefootError):
        raise answer[0]
    return answer[0]


def together(call: Callable[[T], None], argument: T) -> None:
    """Make a call; if it raises KeyboardInterrupt on any rank, raise `Stopped` on all of them."""
    if world_size() == 1:
        return call(argument)
    pressed = False
    try:
        call(argument)
    except KeyboardInterrupt:
        pressed = True
    if any(all_gather_objects(pressed)):
        raise Stopped


def require_same(table: Mapping[str, Any]) -> None:
    """Raise UsageError where ranks were not started alike."""
    first, *others = all_gather_objects(dict(table))
    for number, theirs in enumerate(others, 1):
        for name, found in theirs.items():
            if found != first[name]:
                raise UsageError(
                    f"rank {number}: found {name} = {found}, allowed is rank 0's {first[name]}"
                )


@contextmanager
def _or_lost() -> Iterator[None]:
    """One line where torch has the internals of a connection to tell."""
    try:
        yield
    except RuntimeError as error:
        raise RankLost(
            f"rank {rank()} of {world_size()}: lost the other ranks ({_reason(error)}); "
            "the last checkpoint is whole: resume all of them together"
        ) from None


def _reason(error: RuntimeError) -> str:
    """The first line, without the place in torch's sources that gloo puts before it."""
    return first_line(error).split("] ", 1)[-1].rstrip(". ")
