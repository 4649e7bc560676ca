"""The servers that other tests rely on do what those tests rely on."""

from __future__ import annotations

import base64
import subprocess
import sys
import textwrap
import time
import zlib
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from botocore.exceptions import ClientError

from demo.crawls import PROJECT
from tests.services.postgresql import PostgreSQL
from tests.services.process import NotStartedError, Process
from tests.services.scrapyd import Scrapyd
from tests.services.seaweedfs import Identity, SeaweedFS

ROOT = Path(__file__).parents[2]
PART = 5 * 2**20


def refusal(error: pytest.ExceptionInfo[ClientError]) -> int:
    return error.value.response["ResponseMetadata"]["HTTPStatusCode"]


def upload_in_parts(client: Any, bucket: str, key: str, parts: list[bytes], **options: Any) -> Any:
    target = {"Bucket": bucket, "Key": key}
    upload = client.create_multipart_upload(**target, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    target["UploadId"] = upload["UploadId"]
    done = []
    for number, body in enumerate(parts, 1):
        part = client.upload_part(**target, PartNumber=number, Body=body, ChecksumAlgorithm="CRC32")
        done.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]})
    return client.complete_multipart_upload(
        **target, MultipartUpload={"Parts": done}, ChecksumType="FULL_OBJECT", **options
    )


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def test_an_object_is_written_only_if_absent(seaweedfs: SeaweedFS, bucket: str) -> None:
    client = seaweedfs.client()
    client.put_object(Bucket=bucket, Key="lock", Body=b"first", IfNoneMatch="*")
    with pytest.raises(ClientError) as error:
        client.put_object(Bucket=bucket, Key="lock", Body=b"second", IfNoneMatch="*")
    assert refusal(error) == 412
    assert client.get_object(Bucket=bucket, Key="lock")["Body"].read() == b"first"


def test_an_object_is_replaced_only_if_unchanged(seaweedfs: SeaweedFS, bucket: str) -> None:
    client = seaweedfs.client()
    first = client.put_object(Bucket=bucket, Key="lock", Body=b"first")["ETag"]
    client.put_object(Bucket=bucket, Key="lock", Body=b"second", IfMatch=first)
    with pytest.raises(ClientError) as error:
        client.put_object(Bucket=bucket, Key="lock", Body=b"third", IfMatch=first)
    assert refusal(error) == 412


def test_a_whole_object_checksum_is_kept_of_an_upload_in_parts(seaweedfs: SeaweedFS, bucket: str) -> None:
    client = seaweedfs.client()
    parts = [b"1" * PART, b"2"]
    upload_in_parts(client, bucket, "data", parts, ChecksumCRC32=crc32(b"".join(parts)))
    head = client.head_object(Bucket=bucket, Key="data", ChecksumMode="ENABLED")
    assert head["ContentLength"] == PART + 1
    assert head["ChecksumCRC32"] == crc32(b"".join(parts))
    assert head["ChecksumType"] == "FULL_OBJECT"


def test_an_upload_in_parts_with_a_wrong_checksum_is_refused(seaweedfs: SeaweedFS, bucket: str) -> None:
    client = seaweedfs.client()
    with pytest.raises(ClientError) as error:
        upload_in_parts(client, bucket, "data", [b"1"], ChecksumCRC32=crc32(b"2"))
    assert refusal(error) == 400
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)


def test_an_upload_in_parts_is_completed_only_if_absent(seaweedfs: SeaweedFS, bucket: str) -> None:
    client = seaweedfs.client()
    client.put_object(Bucket=bucket, Key="data", Body=b"first")
    with pytest.raises(ClientError) as error:
        upload_in_parts(client, bucket, "data", [b"second"], IfNoneMatch="*")
    assert refusal(error) == 412


def test_the_four_permissions_are_enough_for_an_archive(seaweedfs: SeaweedFS, bucket: str) -> None:
    client = seaweedfs.client("archive")
    upload_in_parts(client, bucket, "data", [b"1"])
    assert client.get_object(Bucket=bucket, Key="data")["Body"].read() == b"1"
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    client.delete_object(Bucket=bucket, Key="data")
    with pytest.raises(ClientError) as error:
        client.create_bucket(Bucket=f"{bucket}-2")
    assert refusal(error) == 403


def test_an_identity_may_write_and_not_delete(seaweedfs: SeaweedFS, bucket: str) -> None:
    client = seaweedfs.client("limited")
    client.put_object(Bucket=bucket, Key="data", Body=b"1")
    with pytest.raises(ClientError) as error:
        client.delete_object(Bucket=bucket, Key="data")
    assert refusal(error) == 403


@pytest.mark.parametrize("identity", [Identity("admin", "wrong"), Identity("unknown", "wrong")])
def test_wrong_credentials_are_refused(seaweedfs: SeaweedFS, bucket: str, identity: Identity) -> None:
    with pytest.raises(ClientError) as error:
        seaweedfs.client(identity).list_objects_v2(Bucket=bucket)
    assert refusal(error) == 403


def test_twenty_buckets(seaweedfs: SeaweedFS, bucket: str) -> None:
    client = seaweedfs.client()
    names = [f"{bucket[:40]}-{number}" for number in range(20)]
    for name in names:
        client.create_bucket(Bucket=name)
        client.put_object(Bucket=name, Key="data", Body=name.encode())
    assert [client.get_object(Bucket=name, Key="data")["Body"].read().decode() for name in names] == names


def test_credentials_files_are_private(seaweedfs: SeaweedFS, postgresql: PostgreSQL, tmp_path: Path) -> None:
    for path in (seaweedfs.credentials_file(tmp_path / "credentials"), postgresql.passfile(tmp_path / "pgpass")):
        assert path.stat().st_mode & 0o777 == 0o600


def test_postgresql_has_collections(postgresql: PostgreSQL) -> None:
    postgresql.add_collection("test_services", "2026-01-05 04:05:06")
    connection = postgresql.connect()
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT sample, transform_type, deleted_at FROM collection WHERE source_id = 'test_services'"
            )
            assert cursor.fetchall() == [(False, "", None)]
    finally:
        connection.close()


def test_postgresql_reads_a_passfile(postgresql: PostgreSQL, tmp_path: Path) -> None:
    passfile = postgresql.passfile(tmp_path / "pgpass")
    postgresql.connect(password=None, passfile=str(passfile)).close()


def test_postgresql_refuses_a_wrong_password(postgresql: PostgreSQL) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        postgresql.connect(password="wrong")


def test_scrapyd_has_the_spiders_of_the_demo(scrapyd: Scrapyd) -> None:
    assert scrapyd.spiders(PROJECT) == ["borduria", "freedonia", "ruritania", "syldavia"]


def test_a_server_that_ends_says_why(tmp_path: Path) -> None:
    process = Process(["sh", "-c", "echo no disk; exit 3"], tmp_path / "log")
    with pytest.raises(NotStartedError, match="sh ended with 3:\nno disk"):
        process.start(lambda: 1 / 0)


def is_running(pid: str) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "(zombie)" not in status.read_text()


def test_a_server_does_not_outlive_a_killed_run(tmp_path: Path) -> None:
    script = f"""
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(ROOT)!r})
        from tests.services.process import Process
        process = Process(["sleep", "600"], Path({str(tmp_path / "log")!r}))
        process.start(lambda: Path(f"/proc/{{process.pid}}/comm").read_text().index("sleep"))
        print(process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    deadline = time.monotonic() + 5
    while is_running(run.stdout.strip()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
