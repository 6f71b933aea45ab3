"""What the files of a data set say: the persons that can be used, the records that cannot, and the images."""

from __future__ import annotations

__all__ = ["Finding", "Reading", "label_finding"]


from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from probpose.data.persons import Persons
from probpose.errors import DataError


class Finding(NamedTuple):
    """What is wrong with one record or image; as text, where it is.

    Attributes:
        reason: what is wrong, the same text for all records with this fault.
        file: the annotation file, or the image where the image is at fault.
        record: place in the annotation file, such as "annotations[4]" (from 0); empty where it is not known.
        annotation_id: as the file states it; None where there is none.
        image_id: likewise.
        image: file name of the image, as the data set names it.
        joint: name of the joint.
        note: what was found there.
        flagged: of a person without labels, joints that have a place although they are flagged as unlabelled.
    """

    reason: str
    file: Path
    record: str = ""
    annotation_id: int | None = None
    image_id: int | None = None
    image: str | None = None
    joint: str | None = None
    note: str = ""
    flagged: int = 0

    def __str__(self) -> str:
        if self.annotation_id is None and not self.record:
            return f"{self.file}: {self.note}"
        details = [self.image, self.joint, self.note]
        head = self.record if self.annotation_id is None else f"annotation {self.annotation_id}"
        if head != self.record:
            details.insert(0, self.record)
        text = ", ".join(detail for detail in details if detail)
        return f"{head} in {self.file.name}" + (f" ({text})" if text else "")

    def to_json(self) -> dict[str, object]:
        """What is known of the place; the reason is left to the list that holds the finding."""
        known = {
            name: value
            for name, value in self._asdict().items()
            if value not in (None, "") and name not in ("reason", "flagged")
        }
        return known | {"file": str(self.file)}


def label_finding(persons: Persons, reason: str, row: int, joint: int | None, note: str = "") -> Finding:
    """What is wrong with one person of a table, or one label.

    Args:
        persons: the table.
        reason: what is wrong.
        row: of the person.
        joint: of the label; None for the whole person.
        note: what was found there; the label's place by default.
    """
    if joint is not None and not note:
        x, y = persons.keypoints[row, joint]
        note = f"({x:g}, {y:g})"
    name = None if joint is None else persons.skeleton.joints[joint]
    file = persons.annotations or persons.image_dir
    annotation, image = int(persons.annotation_id[row]), int(persons.image_id[row])
    record, known = ("", annotation) if annotation >= 0 else (f"annotations[{-1 - annotation}]", None)
    return Finding(reason, file, record, known, image, persons.file_name[row], name, note)


@dataclass(frozen=True)
class Reading:
    """The files of one split, read record by record; images are not opened.

    Attributes:
        persons: the usable ones, possibly none.
        file: the annotation file.
        records: number of annotations in it.
        images: file name by id of the images that it lists.
        left_out: one finding for each annotation, label and listed image that is not used.
        kept: findings about records that are used as they are.
    """

    persons: Persons
    file: Path
    records: int
    images: dict[int, str]
    left_out: list[Finding]
    kept: list[Finding] = field(default_factory=list)

    @property
    def files(self) -> list[str]:
        """The listed image files, each once."""
        return list(dict.fromkeys(self.images.values()))

    def usable(self) -> Persons:
        """The persons, with the number of records left out and the first of them by reason.

        Raises:
            DataError: no person can be used.
        """
        first: dict[str, str] = {}
        for finding in self.left_out:
            if finding.reason not in first:
                first[finding.reason] = str(finding)
        said: dict[str, list[Finding]] = {}
        for finding in self.kept:
            said.setdefault(finding.reason, []).append(finding)
        remarks = (f"{len(found)} x {reason}, the first: {found[0]}" for reason, found in said.items())
        persons = replace(
            self.persons,
            skipped=dict(Counter(f.reason for f in self.left_out)),
            first_skipped=first,
            remarks=(*self.persons.remarks, *remarks),
        )
        if not len(persons):
            found = "; ".join(persons.left_out) or "nothing is left out"
            raise DataError(f"{self.file}: no usable person in {self.records} records of {persons.name} ({found}).")
        return persons
