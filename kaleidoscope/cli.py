"""The command line: arguments only. Exit code 0: done; 1: some images failed; 2: bad usage or no way to go on."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kaleidoscope.cluster_commands import cluster
from kaleidoscope.errors import KaleidoscopeError

if TYPE_CHECKING:
    from kaleidoscope.catalogue import Entry

_recipe = click.option(
    "--recipe", "-r", required=True, type=click.Path(dir_okay=False, path_type=Path), help="A recipe, YAML or JSON."
)
_functions = click.option(
    "--allow-functions", is_flag=True, help="Let the recipe name functions of your own (Apply), and import them."
)
_device = click.option("--device", default="cpu", show_default=True, help="cpu, gpu, or auto: a GPU if there is one.")
_seed = click.option("--seed", type=int, default=0, show_default=True, help="Another one gives other draws.")
_scheduler = click.option("--scheduler", metavar="ADDRESS", help="Use the Dask cluster there, such as tcp://host:8786.")
_masks = click.option(
    "--masks", metavar="FOLDER", help="Masks that move with the images: each called like its image, as .png or so."
)
_mask_suffix = click.option(
    "--mask-suffix", default="", help="What masks have after their image's name: _mask, for 001_mask.png."
)
_root = click.option("--root", metavar="FOLDER", help="What keys, and the paths in an index, are relative to.")
_key_column = click.option(
    "--key-column", metavar="NAME", help="SOURCE is an index, whose column NAME has the images: key, url or path else."
)
_layout = click.option(
    "--layout", default="files", show_default=True, help="files, webdataset (tar shards) or parquet (tables)."
)
_shard_bytes = click.option("--shard-bytes", metavar="SIZE", help="What a shard holds at most; 256 MiB by default.")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kaleidoscope")
def cli() -> None:
    """Make many images out of few."""


cli.add_command(cluster)


class _FolderOrUrl(click.Path):
    """A folder as a Path, or a URL as it was given."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value.rstrip("/") if "://" in str(value) else super().convert(value, param, ctx)


@cli.command(short_help="Try it on the bundled photographs.")
@click.argument("folder", type=_FolderOrUrl(file_okay=False, path_type=Path), default="kaleidoscope-demo")
@click.option("--source", metavar="URL", help="Other images: a folder or a bucket.")
def demo(folder: Path | str, source: str | None) -> None:
    """Make the 64 variants of each bundled photograph in FOLDER, on a Dask cluster of this machine.

    FOLDER may be a URL, such as s3://bucket/demo.
    """
    from kaleidoscope import demo as demonstration

    report = demonstration.run(folder, source)
    sys.exit(1 if report.failed else 0)


@cli.command(short_help="Make the variants of images and write them.")
@click.argument("source")
@click.argument("target")
@_recipe
@_functions
@_seed
@_device
@_root
@_key_column
@_masks
@_mask_suffix
@click.option("--format", default="jpg", show_default=True, help="jpg, png, webp, tiff or npy.")
@click.option("--quality", type=int, default=95, show_default=True, help="Of jpg and webp, 1 to 100.")
@_layout
@_shard_bytes
@click.option(
    "--on-error",
    type=click.Choice(["record", "raise"]),
    default="record",
    show_default=True,
    help="An image that fails costs its own outputs, or ends the run.",
)
@click.option("--overwrite", is_flag=True, help="Delete first what the manifest of TARGET lists.")
@click.option("--only-failed", is_flag=True, help="Try again what has failed in TARGET, and make nothing else.")
@_scheduler
@click.option("--progress/--no-progress", default=None, help="A bar on stderr; by default in a terminal.")
@_as_json
def augment(source: str, target: str, **options: Any) -> None:
    """Make the variants of the images in SOURCE and write them to TARGET.

    SOURCE is a folder, a glob or a file, an archive (photos.zip, shards/train-{000..009}.tar), or an index: a table
    (keys.csv, keys.parquet) that names the images.

    What is there already is not made again; a run that was stopped goes on when the same command is repeated.
    """
    import kaleidoscope as ks

    recipe = ks.load_recipe(options["recipe"], allow_functions=options["allow_functions"])
    images = _images(source, options)
    how = {name: options[name] for name in ("seed", "on_error", "device")}
    with _cluster(options["scheduler"]):
        written = ks.augment(images, recipe, **how).write(target, **_of_write(options, "overwrite", "only_failed"))
        try:
            report = written.compute(progress=options["progress"])
        except KeyboardInterrupt:
            click.echo("\nStopped. What is done stays; the same command goes on from there.", err=True)
            sys.exit(130)
    _show(report, as_json=options["as_json"])
    if report.failed and options["as_json"]:
        click.echo(f"Which images failed, and why: kaleidoscope report {target}", err=True)
    sys.exit(1 if report.failed else 0)


@cli.command(short_help="Say what augmenting would come to.")
@click.argument("source")
@click.argument("target")
@_recipe
@_functions
@_seed
@_device
@_root
@_key_column
@_masks
@_mask_suffix
@click.option("--format", default="jpg", show_default=True, help="jpg, png, webp, tiff or npy.")
@click.option("--quality", type=int, default=95, show_default=True, help="Of jpg and webp, 1 to 100.")
@_layout
@_shard_bytes
@click.option("--images", "-n", type=int, help="How many are made to find out.")
@click.option("--probe", is_flag=True, help="Ask the target how long it takes to answer, and reckon with it.")
@click.option("--prices", metavar="FILE", help="A table of prices like kaleidoscope/prices.toml, which is the default.")
@_scheduler
@_as_json
def estimate(source: str, target: str, **options: Any) -> None:
    """Say what augmenting the images in SOURCE to TARGET would come to; some are made, and nothing is written.

    SOURCE is a folder, a glob, a file, an archive or an index, as for `kaleidoscope augment`.
    """
    from dataclasses import asdict

    import kaleidoscope as ks

    recipe = ks.load_recipe(options["recipe"], allow_functions=options["allow_functions"])
    images = _images(source, options)
    with _cluster(options["scheduler"]):
        views = ks.augment(images, recipe, seed=options["seed"], device=options["device"])
        asked = {name: options[name] for name in ("images", "probe", "prices")}
        found = views.estimate(target, **asked, **_of_write(options))
    click.echo(json.dumps(asdict(found), default=str) if options["as_json"] else found)


@cli.command(short_help="Show the variants a recipe makes.")
@_recipe
@_functions
@_device
@_as_json
def explain(recipe: Path, *, allow_functions: bool, device: str, as_json: bool) -> None:
    """Show the variants a recipe makes, what each takes, and where it runs."""
    from kaleidoscope.plan import make_plan
    from kaleidoscope.preflight import device_for
    from kaleidoscope.recipe_files import load_recipe
    from kaleidoscope.tree import grow

    plan = make_plan(grow(load_recipe(recipe, allow_functions=allow_functions)), device_for(device))
    if as_json:
        click.echo(json.dumps({"variants": plan.tree.variants, "applications": dict(plan.applications)}))
    else:
        click.echo(plan.explain())


@cli.command(short_help="Draw some variants as a contact sheet.")
@click.argument("source")
@click.argument("sheet", type=click.Path(dir_okay=False, path_type=Path))
@_recipe
@_functions
@_seed
@_device
@_root
@_key_column
@_masks
@_mask_suffix
@_scheduler
@click.option("--images", "-n", type=int, default=4, show_default=True, help="How many, from the first.")
@click.option("--variants", type=int, default=8, show_default=True, help="Of each, spread over the tree.")
def preview(source: str, sheet: Path, **options: Any) -> None:
    """Draw some variants of the first images in SOURCE as a contact sheet: SHEET, a PNG.

    SOURCE is a folder, a glob, a file, an archive or an index, as for `kaleidoscope augment`.
    """
    import kaleidoscope as ks

    recipe = ks.load_recipe(options["recipe"], allow_functions=options["allow_functions"])
    images = _images(source, options)
    with _cluster(options["scheduler"]):
        views = ks.augment(images, recipe, seed=options["seed"], device=options["device"])
        made = views.preview(options["images"], variants=options["variants"])
    click.echo(made.save(sheet))
    sys.exit(1 if made.errors else 0)


@cli.command(short_help="List the ops, or describe one.")
@click.argument("name", required=False)
@_as_json
def ops(name: str | None, *, as_json: bool) -> None:
    """List the ops and combinators there are, or describe the one called NAME.

    Behind an op stand the images it takes, where not any, and whether masks and objects move with its pixels.
    """
    import inspect
    from dataclasses import asdict
    from itertools import groupby

    from kaleidoscope import registry
    from kaleidoscope.catalogue import entries

    if name is not None:
        kind = registry.find_op(name)
        click.echo(f"{name}{inspect.signature(kind)}\n\n{inspect.getdoc(kind)}")
        return
    found = entries()
    if as_json:
        click.echo(json.dumps({entry.name: {**asdict(entry), "parameters": dict(entry.parameters)} for entry in found}))
        return
    width = max(len(entry.name) for entry in found)
    for family, members in groupby(found, lambda entry: entry.family):
        click.echo(f"\n{family}")
        for entry in members:
            click.echo(f"  {entry.name:<{width}}  {entry.summary}{_about(entry)}")


def _about(entry: Entry) -> str:
    """Say what else is to be known of an op before it is chosen."""
    said = [entry.channels] * (entry.channels not in {"", "any number"}) + ["labels move"] * (
        entry.targets.startswith("move")
    )
    return f"  [{'; '.join(said)}]" if said else ""


@cli.command(short_help="Make one output again.")
@click.argument("target")
@click.argument("output")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--source", help="Where the input lies now: its URL, or the folder it is in.")
@click.option("--allow-functions", is_flag=True, help="Let the manifest name functions (Apply), and import them.")
def replay(target: str, output: str, file: Path, *, source: str | None, allow_functions: bool) -> None:
    """Make OUTPUT, a name in the manifest of TARGET, again; write it to FILE (its extension says the format)."""
    import kaleidoscope as ks
    from kaleidoscope.codecs import Encoder
    from kaleidoscope.errors import RecipeError

    rows = ks.read_manifest(target)
    found = rows[rows["output"] == output].compute()
    if found.empty:
        raise RecipeError(f"the manifest of {target} has no output {output!r}")
    pixels = ks.replay(found.iloc[0], source, allow_functions=allow_functions)
    file.write_bytes(Encoder(file.suffix.lstrip(".")).encode(pixels))
    click.echo(file)


@cli.command(short_help="Say what there is in a target, what failed, and what is missing.")
@click.argument("target")
@click.option("--verify", is_flag=True, help="List TARGET, and compare with what the manifest tells of.")
@click.option("--checksums", is_flag=True, help="Read every object, too, and compare its checksum. Implies --verify.")
@click.option("--repair", is_flag=True, help="Have the next run make again what is missing or wrong. Implies --verify.")
@click.option(
    "--csv",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write all that is missing, wrong or extra there, a line each.",
)
@_scheduler
@_as_json
def report(target: str, **options: Any) -> None:
    """Say from the manifest of TARGET what there is and what failed; compare it with what lies there.

    Exit code 0: all is right. 1: something failed, is not done, or is missing, wrong or extra. 2: there is no manifest,
    or it cannot be read.
    """
    import kaleidoscope as ks
    from kaleidoscope import report as reporting

    verifies = options["verify"] or options["checksums"] or options["repair"] or options["csv"]
    with _cluster(options["scheduler"]):
        found = ks.Report.read(target)
        verified = found.verify(checksums=options["checksums"]) if verifies else None
    if verified is not None and options["csv"]:
        verified.problems.to_csv(options["csv"], index=False)
    again = verified.repair() if verified is not None and options["repair"] else None
    if options["as_json"]:
        click.echo(json.dumps(reporting.as_json(found, verified, again)))
    else:
        click.echo(reporting.as_text(found, verified, again))
    sys.exit(1 if found.failed or found.unfinished or (verified is not None and not verified.ok) else 0)


@cli.command(short_help="Print what a bug report needs.")
@_scheduler
@_as_json
def info(scheduler: str | None, *, as_json: bool) -> None:
    """Print what a bug report needs: versions, the machine, codecs, settings, and the cluster if one is named."""
    from kaleidoscope import info as about

    with _cluster(scheduler):
        found = about.collect()
    click.echo(json.dumps(found, default=str) if as_json else about.as_text(found))


def _of_write(options: dict[str, Any], *more: str) -> dict[str, Any]:
    return {name: options[name] for name in ("format", "quality", "layout", "shard_bytes", *more)}


def _images(source: str, options: dict[str, Any]) -> Any:
    """Return the images, with their masks if a folder of them was given."""
    import kaleidoscope as ks

    masks = options["masks"]
    labels = None if masks is None else ks.labels.Masks(masks, suffix=options["mask_suffix"])
    return ks.read_images(source, labels=labels, root=options["root"], key_column=options["key_column"])


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """Use the cluster at an address, if one was given."""
    if address is None:
        yield
        return
    from distributed import Client

    from kaleidoscope.errors import ResourceError

    try:
        client = Client(address, timeout=3)
    except (OSError, ValueError) as error:
        raise ResourceError(f"there is no Dask scheduler at {address}: {error}") from None
    with client:
        yield


def _show(report: Any, *, as_json: bool) -> None:
    if not as_json:
        from kaleidoscope.report import of_command

        click.echo(of_command(report))
        return
    names = ("url", "inputs", "outputs", "skipped", "failed", "bytes", "seconds", "counts")
    click.echo(json.dumps({name: getattr(report, name) for name in names}))


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    """Say a warning as a user reads it: in a line, and not where in the code it arose."""
    click.echo(f"kaleidoscope: {message}", err=True)


def main(run: Callable[[], None] = cli) -> None:
    """Run the command line; errors of ours, and of the disk, are one line on stderr, not a traceback."""
    warnings.showwarning = _warn
    try:
        run()
    except (KaleidoscopeError, OSError) as error:
        for line in (f"kaleidoscope: {error}", *getattr(error, "__notes__", ())):
            click.echo(line, err=True)
        sys.exit(2)
