"""
What people use today, to compare with.

:func:`archive` is a stand-in for kingfisher-archive in its last form: for a crawl that it has decided on, it computes
XXH3-128 in chunks of 64 KB, adds up the sizes, writes data.tar.lz4 with Python's tarfile over LZ4FrameFile to a
temporary file, uploads data, log and metadata to ``staging/``, has the store copy each to its place in the wanted
storage class, deletes those in ``staging/``, then the temporary files, the crawl and its log. Nothing is verified.

:func:`pipeline` is ``tar c | lz4 -1 | rclone rcat``. It sends the data, and that is all it does: no checksum of the
data, no log, no metadata, no deletion.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import lz4.frame
import xxhash

from bench.store import Place, connect

CHUNK = 64 << 10


def archive(place: dict[str, Any], crawl: str, log: str, prefix: str) -> None:
    directory = Path(crawl)
    there = Place(**place)
    client = connect(there)
    metadata = {"id": f"{directory.parent.name}/{directory.name}", "checksum": _checksum(directory)}
    metadata["bytes"] = sum(
        os.path.getsize(os.path.join(root, name)) for root, _, names in os.walk(directory) for name in names
    )
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data.tar.lz4"
        with lz4.frame.LZ4FrameFile(data, "w") as compressed, tarfile.open(fileobj=compressed, mode="w") as tar:
            tar.add(directory, arcname=metadata["id"])
        document = Path(temporary) / "metadata.json"
        document.write_text(json.dumps(metadata, indent=2), encoding="utf-8")
        keys = {f"{prefix}/data.tar.lz4": data, f"{prefix}/scrapy.log": Path(log), f"{prefix}/metadata.json": document}
        for key, file in keys.items():
            client.upload_file(str(file), there.bucket, f"staging/{key}")
        for key in keys:
            source = {"Bucket": there.bucket, "Key": f"staging/{key}"}
            client.copy(source, there.bucket, key, ExtraArgs={"StorageClass": "STANDARD_IA"})
        for key in keys:
            client.delete_object(Bucket=there.bucket, Key=f"staging/{key}")
    shutil.rmtree(directory)
    Path(log).unlink()


def _checksum(directory: Path) -> str:
    hasher = xxhash.xxh3_128()
    for root, directories, names in os.walk(directory):
        directories.sort()
        for name in sorted(names):
            with open(os.path.join(root, name), "rb") as file:
                while chunk := file.read(CHUNK):
                    hasher.update(chunk)
    return hasher.hexdigest()


def pipeline(place: dict[str, Any], crawl: str, prefix: str) -> None:
    there = Place(**place)
    directory = Path(crawl)
    rclone = Path(sys.executable).with_name("rclone")
    environment = {
        **os.environ,
        "RCLONE_CONFIG": "",
        "RCLONE_CONFIG_STORE_TYPE": "s3",
        "RCLONE_CONFIG_STORE_PROVIDER": "SeaweedFS",
        "RCLONE_CONFIG_STORE_ENDPOINT": there.endpoint_url,
        "RCLONE_CONFIG_STORE_REGION": there.region,
        "RCLONE_CONFIG_STORE_ACCESS_KEY_ID": there.access_key,
        "RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY": there.secret_key,
        "RCLONE_CONFIG_STORE_STORAGE_CLASS": "STANDARD_IA",
    }
    subprocess.run(
        [
            "bash",
            "-o",
            "pipefail",
            "-c",
            'tar -C "$1" -cf - "$2" | lz4 -1 | "$3" rcat "store:$4"',
            "pipeline",
            directory.parent.parent,
            f"{directory.parent.name}/{directory.name}",
            rclone,
            f"{there.bucket}/{prefix}/data.tar.lz4",
        ],
        check=True,
        env=environment,
    )
