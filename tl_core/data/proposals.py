"""What a finding comes to as remedies: which of its pictures would be left out, and which moved where."""

from __future__ import annotations

from tl_core.data.checks import Finding, leaked_rows
from tl_core.data.split import group_keys
from tl_core.documents.manifest import Manifest
from tl_core.documents.remedies import Remedies


def proposed(manifest: Manifest, finding: Finding) -> Remedies:
    """The remedies for all pictures of `finding` together, by `ImageEntry.file`; none where each has to be looked at.

    Of near-copies the picture with the most pixels stays, the first of several; of copies in several parts of the user's own split, that
    which is learned from. A suspect label is moved to the class that was answered.
    """
    images = manifest.images
    if finding.move_to:
        return Remedies(move={images[row].file: name for row, name in zip(finding.rows, finding.move_to, strict=True)})
    if finding.remedy != "leave_out":
        return Remedies()
    if finding.kind == "near_copy":
        rows = _all_but_the_largest(manifest, finding.rows)
    elif finding.kind == "copy_across_splits":
        rows = leaked_rows(manifest)
    else:
        rows = list(finding.rows)
    return Remedies(leave_out=tuple(images[row].file for row in rows))


def kept(manifest: Manifest, finding: Finding) -> Remedies:
    """All pictures of `finding` as they are, so that it is found no more."""
    return Remedies(keep=tuple(manifest.images[row].file for row in finding.rows))


def _all_but_the_largest(manifest: Manifest, rows: tuple[int, ...]) -> list[int]:
    keys = group_keys(manifest)
    stays: dict[int, int] = {}
    for row in rows:
        image, best = manifest.images[row], stays.get(int(keys[row]))
        if best is None or image.width * image.height > manifest.images[best].width * manifest.images[best].height:
            stays[int(keys[row])] = row
    return [row for row in rows if row not in stays.values()]
