"""What must not stand in a file that goes under version control: the value of a secret."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kaleidoscope.cluster.destinations import holds_password
from kaleidoscope.plain_yaml import Place

_LOOKS = "looks like the value of a secret, which has no place in a file that is kept and shared: "
_HELPS = {
    "local": "workers on this machine have the environment and the files of the process that starts them, so leave it "
    "there (export the variable, ~/.aws/credentials, an IAM role)",
    "ssh": "leave it where the hosts have it already (~/.aws/credentials there, an IAM role)",
    "kubernetes": "put it into a Kubernetes Secret and name that under kubernetes.secrets, or use a service account "
    "with a role of the cloud",
}
_REACHED = "hosts are reached by SSH keys only: run `ssh-copy-id HOST` once, and let `key` be the name of a key's file"
_ANYWHERE = "leave it where the machines already have it (~/.aws/credentials, an IAM role, ssh-agent)"

_WORDS = {"password", "passwd", "passphrase", "secret", "secrets", "token", "tokens", "credential", "credentials"}
_WORDS |= {"apikey", "pat", "pwd"}
_KEYS = {"access", "api", "private", "account", "signing", "encryption", "master", "auth"}
#: What ends like this names a secret and is none: AWS_WEB_IDENTITY_TOKEN_FILE, secretName.
_NAMES = {"file", "path", "dir", "name", "arn", "ref", "url", "uri", "endpoint", "type", "policy", "class", "seconds"}
#: Keys that open nothing: PUBLIC_KEY, SORT_KEY, S3_OBJECT_KEY.
_PLAIN_KEYS = {"public", "sort", "primary", "foreign", "partition", "object", "cache", "group", "index", "label"}
_PLAIN_KEYS |= {"topology", "row", "hash", "shard", "file", "path", "record"}
_VARIABLE_OF_A_KEY = re.compile(r"_key[_\d]*$", re.IGNORECASE)
_KEY_ID = re.compile(r"key[-_]?id$", re.IGNORECASE)
_A_PATH = re.compile(r"(~|\.{0,2})/[\w.@-]+(/[\w.@-]+)+")

_AN_ID = re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b")
_VALUES = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|://[^/@\s:]*:[^/@\s]+@|\bgh[oprsu]_[A-Za-z0-9]{30,}"
    r"|\bgithub_pat_[A-Za-z0-9_]{20,}|\beyJ[\w-]{10,}\.eyJ|\bxox[abprs]-[\w-]{10,}|\bhf_[A-Za-z0-9]{30,}|\bAIza[\w-]{35}"
    # user:password@host; but not mailto:me@there, nor an image's python:3.12@sha256:...
    r"|^(?!mailto:)[^/@\s:]+:[^/@\s]+@(?!sha\d+:)[\w\[]"
    r"|(?i:\bauthorization[\"']?\s*[:=]\s*[\"']?(bearer|basic|token|digest)\s+[^\s'\"]|^\s*bearer\s+\S+\s*$)"
)
#: name=value and "name": "value" in a text: --password=..., ;AccountKey=...==, ?sig=...
_SETTINGS = re.compile(r"""(?<!\w)([A-Za-z_][\w.-]*)(?:=(?=["']?[^\s&;,'"=])|["']\s*:\s*(?=["'][^"']))""")
_OPTIONS = re.compile(r"(?:^|\s)--?([A-Za-z][\w-]*)\s+(?=[\"']?[^\s'\"-])")
_OPTION = re.compile(r"--?[A-Za-z][\w-]*")
#: Of a URL that gives access by itself.
_SIGNATURES = {"sig", "signature", "x-amz-signature", "x-goog-signature", "sharedaccesssignature"}
#: A variable of the pod's, filled in by Kubernetes; and one that a shell fills in.
_REFERENCE = re.compile(r"\$\([A-Za-z_]\w*\)")
_SHELLS_REFERENCE = re.compile(r"\$\{[A-Z_][A-Z0-9_]*\}|\$[A-Z_][A-Z0-9_]*\b")
#: Where the file's own form asks for the names of Secrets.
NAMES_OF_SECRETS = (("kubernetes", "secrets"), ("kubernetes", "image_pull_secrets"))


def instead(kind: Any, place: Place) -> str:
    """Return what is said of the value of a secret, with what helps where the cluster runs.

    Parameters
    ----------
    kind : object
        Of the cluster, as the file has it.
    place : tuple of str and int
        Where it stands. What is under ``kubernetes`` or ``ssh`` is about these, whatever the kind.
    """
    if place[:1] == ("ssh",):
        return _LOOKS + _REACHED
    about = "kubernetes" if place[:1] == ("kubernetes",) else kind
    return _LOOKS + (_HELPS.get(about, _ANYWHERE) if isinstance(about, str) else _ANYWHERE)


def names_a_secret(name: str) -> bool:
    """Return whether a variable or field of this name would hold a secret.

    Examples
    --------
    >>> [names_a_secret(name) for name in ("AWS_SECRET_ACCESS_KEY", "dbPassword", "API_KEY", "S3_KEY")]
    [True, True, True, True]
    >>> [names_a_secret(name) for name in ("AWS_WEB_IDENTITY_TOKEN_FILE", "secretName", "KEYBOARD", "key")]
    [False, False, False, False]
    >>> [names_a_secret(name) for name in ("AWS_ACCESS_KEY_ID", "SORT_KEY_COLUMN", "topologyKey")]
    [False, False, False]
    """
    words = _words(name)
    if not words or words[-1] in _NAMES:
        return False
    if not _WORDS.isdisjoint(words):
        return True
    if words[-2:] == ["key", "id"]:
        return False
    pairs = list(itertools.pairwise(words))
    if any(first in _KEYS and second == "key" for first, second in pairs):
        return True
    return _VARIABLE_OF_A_KEY.search(name) is not None and bool(pairs) and pairs[-1][0] not in _PLAIN_KEYS


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def holds_a_secret(text: str) -> bool:
    """Return whether a text looks like the value of a secret by itself, or has one in it.

    Examples
    --------
    >>> [holds_a_secret(text) for text in ("https://a/b?sv=2020&sig=abc", "run --token=abc", "me:pw@registry/image")]
    [True, True, True]
    >>> [holds_a_secret(text) for text in ("run --token=$(TOKEN)", "me/image:1@sha256:0", "--token-file=/run/token")]
    [False, False, False]
    """
    text = _SHELLS_REFERENCE.sub("", _REFERENCE.sub("", text))
    if _VALUES.search(text):
        return True
    settings = (found[1] for found in _SETTINGS.finditer(text))
    options = (found[1] for found in _OPTIONS.finditer(text))
    return any(names_a_secret(name) or name.lower() in _SIGNATURES for name in itertools.chain(settings, options))


def secret_values(content: Any, place: Place = ()) -> Iterator[Place]:
    """Yield the places of texts that look like the value of a secret, by their name or by themselves.

    >>> list(secret_values({"env": {"TOKEN": "abc", "MODE": "fast", "PROXY": "http://me:pw@proxy"}}))
    [('env', 'TOKEN'), ('env', 'PROXY')]
    >>> list(secret_values({"args": ["--password", "swordfish", "--verbose", "yes"]}))
    [('args', 1)]
    """
    if isinstance(content, Mapping):
        named = content.get("name")
        for key, value in content.items():
            known_as = named if key == "value" and isinstance(named, str) else str(key)
            yield from _at((*place, key), value, known_as)
    elif isinstance(content, list):
        known_as = next((name for name in reversed(place) if isinstance(name, str)), "")
        for index, value in enumerate(content):
            option = content[index - 1] if index and isinstance(content[index - 1], str) else ""
            of_an_option = _OPTION.fullmatch(option) and not str(value).startswith("-")
            yield from _at((*place, index), value, option if of_an_option else known_as)


def _at(place: Place, value: Any, known_as: str) -> Iterator[Place]:
    if isinstance(value, int | float) and "env" in place and not isinstance(value, bool):
        value = str(value)  # a password of digits only; elsewhere an amount, such as {TOKENS: 4}
    if not isinstance(value, str):
        yield from secret_values(value, place)
    elif (
        holds_a_secret(value)
        or (_AN_ID.search(value) and not _KEY_ID.search(known_as))
        or (place[:1] == ("ssh",) and _is_password_of_a_host(place, value))
        or (_is_named_one(value, known_as) and place[:2] not in NAMES_OF_SECRETS)
    ):
        yield place


def _is_named_one(value: str, known_as: str) -> bool:
    if not value or not names_a_secret(known_as) or _REFERENCE.fullmatch(value):
        return False
    # SSL_KEY=/etc/tls/tls.key
    return not (_WORDS.isdisjoint(_words(known_as)) and _A_PATH.fullmatch(value))


def _is_password_of_a_host(place: Place, value: str) -> bool:
    field = next((name for name in reversed(place) if isinstance(name, str)), "")
    return ":" in value if field == "user" else field in {"hosts", "host", "scheduler"} and holds_password(value)


def shortened(text: str) -> str:
    """Return a text as it may be shown: of what is long and random or set to a value, its beginning only.

    >>> shortened("nodeSelector"), shortened("cloud.google.com/gke-accelerator")
    ('nodeSelector', 'cloud.google.com/gke-accelerator')
    >>> shortened("hunter2wJalrXUtn"), shortened("DB=swordfish")
    ('hunt...', 'DB=...')
    """
    shown, is_set, value = text.partition("=")
    if holds_a_secret(shown) or _AN_ID.search(shown) or _is_random(shown):
        return f"{shown[:4]}..."
    return f"{shown}=..." if is_set and value else text


def _is_random(text: str) -> bool:
    for part in re.findall(r"[A-Za-z0-9+/=_]+", text):
        # Of words of one kind of letter each, the random has many short ones.
        runs = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+", part)
        letters = sum(map(len, runs))
        if letters >= 16 and letters < 3.5 * len(runs):
            return True
    return False
