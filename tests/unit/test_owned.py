"""What states own: memberships in groups."""

from __future__ import annotations

from pathlib import Path

import pytest
from kingfisher_salt import manifest
from kingfisher_salt.roles import owned


def test_a_membership_that_others_gave_is_never_owned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"james:games"}
    monkeypatch.setattr(owned, "_is_member", there.__contains__)
    path, removed = tmp_path / "owned.json", []

    def prune(role: str, *names: str) -> list[str]:
        removed.clear()
        assert owned.prune(path, role, {"memberships": list(names)}, lambda _, name: removed.append(name)) == {}
        there.update(names)
        return removed

    assert prune("core", "james:games", "james:docker") == []
    assert manifest.read(path) == {"core": {"memberships": ["james:docker"]}}
    assert prune("core", "james:games", "james:docker") == []
    assert prune("docker", "james:docker") == []
    assert prune("core") == []  # another role gives it, too
    assert prune("docker") == ["james:docker"]
    assert manifest.read(path) == {}
