"""Pushing a folder to the Hugging Face Hub, and saying in one line why that was refused.

A push can be repeated: a repository that exists is used, unchanged files are not sent again, and a commit is
made whole or not at all. So faults of the server or of the connection are tried again, and what the server
refuses is not.
"""

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from data_gen.settings.api_keys import check_variable_name
from data_gen.settings.errors import InputError

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

logger = logging.getLogger(__name__)
DEFAULT_TOKEN_ENV = "HF_TOKEN"
# Before the second and the third attempt; the client's own retries of single requests come on top
PAUSES_SECONDS = (1.0, 4.0)


class HubError(InputError):
    """The Hub cannot be reached or refuses."""


class TemporaryHubError(HubError):
    """The same push may work later."""


@dataclass(frozen=True)
class HubRepository:
    """Where to push: `repo_id` is 'user/name', `token_env` names the environment variable that holds the
    token.
    """

    repo_id: str
    kind: Literal["model", "dataset"]
    is_private: bool
    token_env: str = DEFAULT_TOKEN_ENV

    def __post_init__(self) -> None:
        check_token_env(self.token_env)


def push_folder(folder: Path, repository: HubRepository, message: str, replaced: Sequence[str] = ()) -> str:
    """Make the repository if there is none and commit the folder to it; returns the commit's URL.

    Files of the repository that match a pattern of `replaced` and are not in the folder are removed. Raises
    HubError if the Hub cannot be reached or refuses, and where a repository that exists is public and a
    private one was asked for.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=find_token(repository.token_env))
    for pause in PAUSES_SECONDS:
        try:
            return _push(api, folder, repository, message, replaced)
        except TemporaryHubError as fault:
            logger.warning("%s; trying again in %.0f s", fault, pause)
            time.sleep(pause)
    return _push(api, folder, repository, message, replaced)


def check_token_env(name: str) -> None:
    """Raises ValueError for what looks like anything but a variable's name: it may be the token itself."""
    check_variable_name(name, "token_env", f"{DEFAULT_TOKEN_ENV}; never the token")


def find_token(token_env: str) -> str:
    """The token of that environment variable, or for HF_TOKEN the user's login. Raises HubError if there is
    none.
    """
    from huggingface_hub import get_token

    token = os.environ.get(token_env) or (get_token() if token_env == DEFAULT_TOKEN_ENV else None)
    if not token:
        login = ", or log in with `hf auth login`" if token_env == DEFAULT_TOKEN_ENV else ""
        raise HubError(
            f"no token: the environment variable {token_env} is not set; expected a token with write access "
            f"there{login}"
        )
    return token


def _push(
    api: "HfApi", folder: Path, repository: HubRepository, message: str, replaced: Sequence[str]
) -> str:
    """One attempt. Raises HubError where the Hub refuses, TemporaryHubError where it or the connection
    failed.
    """
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

    name, kind = repository.repo_id, repository.kind
    try:
        api.create_repo(name, repo_type=kind, private=repository.is_private, exist_ok=True)
        if repository.is_private and not api.repo_info(name, repo_type=kind).private:
            raise HubError(
                f"{name}: this {kind} exists and is public, expected a private one; choose another name or "
                "private false"
            )
        commit = api.upload_folder(
            repo_id=name,
            repo_type=kind,
            folder_path=folder,
            commit_message=message,
            delete_patterns=list(replaced) or None,
        )
    except OfflineModeIsEnabled:
        raise HubError(f"{name}: HF_HUB_OFFLINE is set; unset it to push") from None
    except (HTTPError, RuntimeError, ValueError) as error:
        # The client wraps some of its own errors
        cause = error if isinstance(error, HTTPError) else error.__cause__
        if not isinstance(cause, HTTPError):
            raise
        if not isinstance(cause, HfHubHTTPError):
            raise TemporaryHubError(
                f"{name}: {api.endpoint} cannot be reached ({_one_line(cause)})"
            ) from error
        if cause.response.status_code >= 500:
            raise TemporaryHubError(f"{name}: {api.endpoint} failed ({_said(cause)})") from error
        if cause is not error and cause.response.status_code == 400:
            raise HubError(f"{name}: {api.endpoint} refused: {_one_line(error)}") from error
        raise HubError(_explain(cause, api, repository)) from error
    return str(commit.commit_url)


def _explain(error: "HfHubHTTPError", api: "HfApi", repository: HubRepository) -> str:
    """One line for a person: what was refused, what the Hub says, and what would help."""
    status, name, token_env = error.response.status_code, repository.repo_id, repository.token_env
    said = f"({_said(error)})"
    if status == 401:
        return (
            f"{name}: {api.endpoint} does not know the token of {token_env} {said}; expected a valid "
            "access token"
        )
    if status == 403:
        return (
            f"{name}: the token of {token_env} may not write there {said}; expected a token with write "
            "access to that namespace"
        )
    if status == 404:
        return (
            f"{name}: no such {repository.kind} at {api.endpoint}, or the token of {token_env} may not "
            f"see it {said}"
        )
    if status in (409, 412):
        return (
            f"{name}: something else changed the repository at the same time {said}; run the same "
            "command "
            "again"
        )
    return f"{name}: {api.endpoint} refused {said}"


def _said(error: "HfHubHTTPError") -> str:
    return f"{error.response.status_code}: {error.server_message or error.response.reason_phrase}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
