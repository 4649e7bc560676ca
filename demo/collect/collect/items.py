"""What a spider yields."""

from dataclasses import dataclass


@dataclass
class File:
    """A file that was retrieved."""

    file_name: str
    url: str
    data_type: str
    data: bytes


@dataclass
class FileError:
    """A file that was not retrieved, as Kingfisher Collect reported it before 2024."""

    file_name: str
    url: str
    errors: dict[str, int]
