"""An installation of the archive: directories, settings and a bucket, on which runs are made and examined."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from kingfisher_salt.archive import config, run
from kingfisher_salt.archive.bucket import connect

from tests.services.seaweedfs import REGION, SeaweedFS

Snapshot = dict[str, Any]


def settings(root: Path, bucket: str, **more: Any) -> dict[str, Any]:
    """Return pillar kingfisher_archive for directories that :func:`tests.crawls.make_crawl` makes."""
    return {
        "bucket": bucket,
        "data_directory": f"{root}/data",
        "logs_directory": f"{root}/logs",
        "cache_file": f"{root}/cache.sqlite",
        "lock_file": f"{root}/lock",
        "workers": 1,
        **more,
    }


def s3_settings(server: SeaweedFS, identity: str = "archive", **more: Any) -> dict[str, Any]:
    keys = server.identities[identity]
    return {
        "endpoint_url": server.endpoint_url,
        "region": REGION,
        "access_key_id": keys.access_key,
        "secret_access_key": keys.secret_key,
        "attempts": 2,
        **more,
    }


class Installation:
    """
    A data directory, a logs directory and a bucket.

    :param s3: the setting of the same name
    :param admin: a client that may do everything, to examine the bucket
    :param client: the client that runs use, if not one that is made from the settings
    """

    def __init__(
        self, root: Path, bucket: str, s3: dict[str, Any], admin: Any, client: Any = None, **more: Any
    ) -> None:
        self.root = root
        self.bucket = bucket
        self.admin = admin
        for name in ("data", "logs"):
            (root / name).mkdir(exist_ok=True)
        loaded, problems = config.load(settings(root, bucket, s3=s3, **more), {})
        assert loaded, problems
        self.config = loaded
        self.client: Any = client or connect(self.config.s3)
        #: A client that only child processes use, since no two processes may share a connection.
        self.child_client: Any = None

    def run(self, **options: Any) -> dict[str, Any]:
        return run.archive(self.config, run.Options(**options), client=self.client)

    def objects(self) -> Snapshot:
        """Return all that is in the bucket: content, labels and storage class of each object, and open uploads."""
        found: Snapshot = {}
        for page in self.admin.get_paginator("list_objects_v2").paginate(Bucket=self.bucket):
            for item in page.get("Contents", []):
                answer = self.admin.get_object(Bucket=self.bucket, Key=item["Key"])
                found[item["Key"]] = answer["Body"].read(), answer["Metadata"], answer.get("StorageClass", "STANDARD")
        for upload in self.admin.list_multipart_uploads(Bucket=self.bucket).get("Uploads", []):
            found[f"upload of {upload['Key']}"] = upload["UploadId"]
        return found

    def listing(self) -> Snapshot:
        """Return the entity tag of each object, and uploads under way, in two requests."""
        found: Snapshot = {
            item["Key"]: item["ETag"] for item in self.admin.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        }
        for upload in self.admin.list_multipart_uploads(Bucket=self.bucket).get("Uploads", []):
            found[f"upload of {upload['Key']}"] = upload["UploadId"]
        return found

    def disk(self) -> list[str]:
        """Return what is in the data and logs directories."""
        return sorted(
            str(path.relative_to(self.root)) for name in ("data", "logs") for path in (self.root / name).rglob("*")
        )


def stat_tree(root: Path) -> Snapshot:
    """Return all that would tell that somebody wrote to a directory, or into it."""
    found = {}
    for path in [root, *root.rglob("*")]:
        status = path.lstat()
        found[str(path)] = (status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return found


def copy_tree(source: Path, target: Path) -> None:
    """Copy directories, with their times. Files are hard links: nobody here writes to a file that exists."""
    shutil.copytree(source, target, copy_function=os.link, symlinks=True, dirs_exist_ok=True)
