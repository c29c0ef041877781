"""Opening a bucket of S3 in obstore, with the options and the credentials that s3fs would take."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

#: For how long credentials of the machine, a role or a profile are used before they are asked for again.
_CREDENTIALS_HOLD = timedelta(minutes=5)
#: For how long a server may say nothing, and how long a request may take: a shard on a slow line takes minutes.
_SILENCE, _LONGEST_REQUEST = timedelta(seconds=60), timedelta(minutes=10)


def open_bucket(bucket: str, options: Mapping[str, Any]) -> Any:
    """Return obstore's store of a bucket, opened with s3fs's options."""
    from botocore.session import Session  # type: ignore[import-untyped]
    from obstore.store import S3Store

    inside = options.get("client_kwargs") or {}
    session = Session(profile=options.get("profile"))
    endpoint = options.get("endpoint_url") or inside.get("endpoint_url") or _endpoint(session)
    config: dict[str, Any] = {
        "region": inside.get("region_name") or session.get_config_variable("region") or "us-east-1",
        "virtual_hosted_style_request": endpoint is None and "." not in bucket,  # a certificate covers no more dots
    }
    if endpoint is not None:
        config["endpoint"] = endpoint
    if options.get("requester_pays"):
        config["request_payer"] = True
    more: dict[str, Any] = {}
    if options.get("anon"):
        config["skip_signature"] = True
    elif options.get("key") is not None:
        config |= {"access_key_id": options["key"], "secret_access_key": options.get("secret")}
        if options.get("token"):
            config["session_token"] = options["token"]
    else:
        more["credential_provider"] = partial(_credentials, session)
    return S3Store(
        bucket,
        config=config,  # type: ignore[arg-type]  # a TypedDict of these very names
        client_options={
            "allow_http": bool(endpoint and endpoint.startswith("http://")),
            "timeout": _LONGEST_REQUEST,
            "read_timeout": _SILENCE,
        },
        retry_config={"max_retries": 0},  # `retried` does that, for all libraries alike
        **more,
    )


def _endpoint(session: Any) -> str | None:
    """Return where the environment or the profile says that S3 is."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if os.environ.get(name):
            return os.environ[name]
    found: str | None = session.get_scoped_config().get("endpoint_url")
    return found


def _credentials(session: Any) -> dict[str, Any]:
    """Return what the environment, the profile, or the machine's role has: what botocore, and so s3fs, would find."""
    found = session.get_credentials()
    if found is None:
        raise PermissionError("no AWS credentials were found: give key and secret, a profile, or anon=True")
    frozen = found.get_frozen_credentials()
    return {
        "access_key_id": frozen.access_key,
        "secret_access_key": frozen.secret_key,
        "token": frozen.token,
        "expires_at": datetime.now(UTC) + _CREDENTIALS_HOLD,
    }
