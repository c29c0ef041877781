"""The peers' virtual environments."""

from __future__ import annotations

import subprocess
import sys

from contenders import CONTENDERS, ENVIRONMENTS, Contender, pip_line


def install(contenders: tuple[Contender, ...] = CONTENDERS) -> dict[str, str]:
    """Make the environments that are not there; return, by its name, why one could not be made."""
    failed: dict[str, str] = {}
    for contender in contenders:
        if contender.installed or contender.environment in failed:
            continue
        folder = ENVIRONMENTS / contender.environment
        print(f"installing {contender.environment}: {pip_line(contender)}", file=sys.stderr)
        pip = [contender.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in ([sys.executable, "-m", "venv", folder], [*pip, *contender.requirements]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                failed[contender.environment] = done.stderr.strip()[-500:]
                break
        else:
            (folder / "installed").touch()
    return failed
