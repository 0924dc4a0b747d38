"""Options that spread the work over a Ray cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lore_cli.commands.sections import Section, options_of
from lore_cli.errors import UsageError
from lore_cli.scale import Cluster

if TYPE_CHECKING:
    from lore_cli.models.spending import Spending

ray_options = options_of(
    Section.CLUSTER,
    click.option("--ray", metavar="ADDRESS", help="Spread the work over a Ray cluster (auto, HOST:6379, ray://HOST:10001, local); all rows are read first."),
    click.option("--ray-workers", type=click.IntRange(min=1), help="Workers on the Ray cluster; without it one a GPU, or one a core."),
)
_ON_GPU = ("hf", "vllm", "student", "tier")  # judges that compute on a GPU where there is one


def cluster_of(address: str | None, workers: int | None, judge: str, spending: Spending) -> Cluster | None:
    """The cluster that the options name. Raises `UsageError` with a limit or a cache that one process must keep: the workers do not share them."""
    if address is None:
        return None
    if spending.replies is not None or spending.meter.max_cost is not None:
        raise UsageError("--ray does not go with --max-cost or --reply-cache", hint="leave one of them out: the workers of a cluster share neither")
    return Cluster(address, workers, gpu=judge.partition(":")[0] in _ON_GPU)
