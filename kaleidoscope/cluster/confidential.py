"""What must not stand in a file that goes under version control: the value of a secret."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kaleidoscope.plain_yaml import Place

INSTEAD = (
    "looks like the value of a secret, which has no place in a file that is kept and shared: put it into a Kubernetes "
    "Secret and name that under kubernetes.secrets, or leave it where the machines already have it "
    "(~/.aws/credentials, an IAM role, ssh-agent)"
)

_WORDS = {"password", "passwd", "passphrase", "secret", "secrets", "token", "tokens", "credential", "credentials"}
_WORDS |= {"apikey", "pat", "pwd"}
_KEYS = {"access", "api", "private", "account", "signing", "encryption", "master", "auth"}
#: What ends like this names a secret and is none: AWS_WEB_IDENTITY_TOKEN_FILE, secretName.
_NAMES = {"file", "path", "dir", "name", "arn", "ref", "url", "uri", "endpoint", "type", "policy", "class"}
_VALUES = re.compile(
    r"\b(AKIA|ASIA)[A-Z0-9]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY|://[^/@\s:]*:[^/@\s]+@|\bgh[oprsu]_[A-Za-z0-9]{30,}"
    r"|\bgithub_pat_[A-Za-z0-9_]{20,}|\beyJ[\w-]{10,}\.eyJ|\bxox[abprs]-[\w-]{10,}|\bhf_[A-Za-z0-9]{30,}|\bAIza[\w-]{35}"
)
#: A variable of the pod's, filled in by Kubernetes.
_REFERENCE = re.compile(r"\$\([A-Za-z_]\w*\)")
#: Where the file's own form asks for the names of Secrets.
_OF_OURS = (("kubernetes", "secrets"), ("kubernetes", "image_pull_secrets"))


def names_a_secret(name: str) -> bool:
    """Return whether a variable or field of this name would hold a secret.

    Examples
    --------
    >>> [names_a_secret(name) for name in ("AWS_SECRET_ACCESS_KEY", "dbPassword", "API_KEY")]
    [True, True, True]
    >>> [names_a_secret(name) for name in ("AWS_WEB_IDENTITY_TOKEN_FILE", "secretName", "KEYBOARD", "key")]
    [False, False, False, False]
    """
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    if not words or words[-1] in _NAMES:
        return False
    return not _WORDS.isdisjoint(words) or any(
        first in _KEYS and second == "key" for first, second in itertools.pairwise(words)
    )


def secret_values(content: Any, place: Place = ()) -> Iterator[Place]:
    """Yield the places of texts that look like the value of a secret, by their name or by themselves.

    >>> list(secret_values({"env": {"TOKEN": "abc", "MODE": "fast", "PROXY": "http://me:pw@proxy"}}))
    [('env', 'TOKEN'), ('env', 'PROXY')]
    """
    if isinstance(content, Mapping):
        named = content.get("name")
        for key, value in content.items():
            known_as = named if key == "value" and isinstance(named, str) else str(key)
            yield from _at((*place, key), value, known_as)
    elif isinstance(content, list):
        known_as = next((name for name in reversed(place) if isinstance(name, str)), "")
        for index, value in enumerate(content):
            yield from _at((*place, index), value, known_as)


def _at(place: Place, value: Any, known_as: str) -> Iterator[Place]:
    if not isinstance(value, str):
        yield from secret_values(value, place)
    elif _VALUES.search(value) or (
        value and names_a_secret(known_as) and not _REFERENCE.fullmatch(value) and place[:2] not in _OF_OURS
    ):
        yield place
