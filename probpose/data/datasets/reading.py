"""What the files of a data set say: the persons that can be used, the records that cannot, and the images."""

from __future__ import annotations

__all__ = ["Finding", "Reading"]


from collections import Counter
from dataclasses import dataclass, replace
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
    """

    reason: str
    file: Path
    record: str = ""
    annotation_id: int | None = None
    image_id: int | None = None
    image: str | None = None
    joint: str | None = None
    note: str = ""

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
        known = {name: value for name, value in self._asdict().items() if value not in (None, "") and name != "reason"}
        return known | {"file": str(self.file)}


@dataclass(frozen=True)
class Reading:
    """The files of one split, read record by record; images are not opened.

    Attributes:
        persons: the usable ones, possibly none.
        file: the annotation file.
        records: number of annotations in it.
        images: file name by id of the images that it lists.
        left_out: one finding for each annotation and listed image that is not used.
    """

    persons: Persons
    file: Path
    records: int
    images: dict[int, str]
    left_out: list[Finding]

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
        persons = replace(self.persons, skipped=dict(Counter(f.reason for f in self.left_out)), first_skipped=first)
        if not len(persons):
            found = "; ".join(persons.left_out) or "nothing is left out"
            raise DataError(f"{self.file}: no usable person in {self.records} records of {persons.name} ({found}).")
        return persons
