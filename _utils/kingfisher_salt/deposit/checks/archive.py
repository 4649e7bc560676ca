"""What a check deposits: a ZIP file of two small files, and an Atom entry that describes it."""

from __future__ import annotations

import io
import zipfile
from datetime import datetime
from xml.sax.saxutils import escape, quoteattr

#: The loader makes a release of each version, and loads them all with each deposit. One version stays one release.
_VERSION = "check"

_README = (
    "A monitoring check deposits this file regularly, to see that software can be deposited. It may be ignored.\n"
)

_ENTRY = """\
<?xml version="1.0" encoding="utf-8"?>
<entry xmlns="http://www.w3.org/2005/Atom"
       xmlns:codemeta="https://doi.org/10.5063/SCHEMA/CODEMETA-2.0"
       xmlns:schema="http://schema.org/"
       xmlns:swh="https://www.softwareheritage.org/schema/2018/deposit">
  <title>Monitoring check</title>
  <author><name>{author}</name></author>
  <codemeta:name>Monitoring check</codemeta:name>
  <codemeta:author><codemeta:name>{author}</codemeta:name></codemeta:author>
  <codemeta:softwareVersion>{version}</codemeta:softwareVersion>
  <swh:deposit>
    <swh:create_origin><swh:origin url={origin} /></swh:create_origin>
    <swh:metadata-provenance><schema:url>{provenance}</schema:url></swh:metadata-provenance>
  </swh:deposit>
</entry>
"""


def archive(now: datetime) -> bytes:
    """Return a ZIP file whose content is new, so that the loader has something to do."""
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("README", _README)
        file.writestr("date", f"{now.isoformat()}\n")
    return output.getvalue()


def entry(origin_url: str, author: str) -> bytes:
    """Return the metadata."""
    return _ENTRY.format(
        author=escape(author),
        version=_VERSION,
        origin=quoteattr(origin_url),
        provenance=escape(origin_url),
    ).encode()
