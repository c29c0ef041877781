"""``kaleidoscope cluster ...``: a cluster of a file, on Kubernetes: shown, made, looked at, and removed."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from kaleidoscope.cluster.spec import ClusterSpec, load_spec
from kaleidoscope.errors import RecipeError

_file = click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default="cluster.yaml")
#: Seconds between two lines of ``up --follow``.
_EVERY = 5.0


@click.group(short_help="Make, look at and remove a cluster on Kubernetes.")
def cluster() -> None:
    """Make, look at and remove the cluster that FILE describes (by default cluster.yaml), on Kubernetes.

    Kubernetes is the one of the kubeconfig's current context. Clusters of the kinds local and ssh live as long as the
    script that starts them, with ks.cluster.from_yaml.
    """


@cluster.command(short_help="Print exactly what would be applied.")
@_file
def render(file: Path) -> None:
    """Print exactly what `up` would apply, as YAML documents; nothing is asked of Kubernetes."""
    from kaleidoscope.cluster.manifests import as_yaml, manifests

    click.echo(as_yaml(manifests(_spec(file))), nl=False)


@cluster.command(short_help="Make the cluster, and leave it there.")
@_file
@click.option("--timeout", default="5 minutes", show_default=True, help="How long the scheduler may take to run.")
@click.option("--follow", is_flag=True, help="Stay, and have the groups follow the load, until Ctrl-C.")
def up(file: Path, *, timeout: str, follow: bool) -> None:
    """Make the cluster, and leave it there with the least workers of each group; `down` removes it.

    Where a script connects to it (ks.cluster.from_yaml), the groups follow the load as long as that script runs.
    """
    from kaleidoscope.cluster.kubernetes import kubernetes_from

    spec = _spec(file)
    with kubernetes_from(spec, keep=True, follow=follow, timeout=timeout) as running:
        try:
            click.echo(running.group_status())
            shown = ""
            while follow:
                time.sleep(_EVERY)
                found = str(running.group_status())
                if found != shown:
                    click.echo(found)
                shown = found
        except KeyboardInterrupt:
            click.echo("\nThe cluster stays, and its workers; 'kaleidoscope cluster down' removes it.", err=True)


@cluster.command(short_help="Say what runs, what waits, and for what.")
@_file
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def status(file: Path, *, as_json: bool) -> None:
    """Say of each group how many workers are wanted, run, or wait, and for what. Exit code 1: some wait."""
    from kaleidoscope.cluster.kubernetes import kubernetes_status

    found = kubernetes_status(_spec(file))
    click.echo(json.dumps(_plain(found)) if as_json else found)
    waiting = found.scheduler.state != "running" or any(group.pending for group in found.groups)
    sys.exit(1 if waiting else 0)


@cluster.command(short_help="Print what the pods wrote.")
@_file
@click.option("--tail", type=click.IntRange(min=1), metavar="LINES", help="Of each pod, the last lines only.")
def logs(file: Path, *, tail: int | None) -> None:
    """Print what the scheduler and the workers wrote, pod by pod; of a pod that never ran, why not."""
    from kaleidoscope.cluster.kubernetes import kubernetes_logs

    for name, text in kubernetes_logs(_spec(file)).items():
        click.echo(f"== {name}")
        for line in text.splitlines()[-tail if tail else 0 :]:
            click.echo(f"  {line}")


@cluster.command(short_help="Remove the cluster.")
@_file
def down(file: Path) -> None:
    """Remove the cluster, with all its pods. What was written stays; a run that was stopped can be resumed."""
    from kaleidoscope.cluster.kubernetes import delete_kubernetes

    deleted = delete_kubernetes(_spec(file))
    click.echo("\n".join(f"deleted {one}" for one in deleted) or "there was nothing")


def _spec(file: Path) -> ClusterSpec:
    spec = load_spec(file)
    if spec.kind != "kubernetes":
        raise RecipeError(
            f"{file}: its kind is {spec.kind!r}, and only 'kubernetes' is left somewhere: start this one with "
            f"ks.cluster.from_yaml({str(file)!r}) in a script"
        )
    return spec


def _plain(found: Any) -> dict[str, Any]:
    groups = {
        group.name: {
            "wanted": group.wanted,
            "running": group.running,
            "pending": group.pending,
            "reasons": list(group.reasons),
        }
        for group in found.groups
    }
    return {"name": found.name, "namespace": found.namespace, "scheduler": found.scheduler.state, "groups": groups}
