"""Batches of crops: decoding, cutting and augmenting, the same whatever the number of workers.

The pixels of a flipped sample are mirrored, while its keypoints stay in the frame of the crop as it was cut, with left
and right as labelled: `Batch.flipped` tells the model, which mirrors its prediction back before scoring it.
"""

from __future__ import annotations

__all__ = ["Batch", "CropDataset", "loader", "make_loader", "readable"]

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, Sampler, SequentialSampler

from probpose.arrays import Array, Index
from probpose.data.crops import (
    Augmentation,
    Jitter,
    apply_affine,
    crop_from_box,
    cut,
    half_body_box,
    invert_affine,
    jitter_colour,
    lower_body,
    move,
    picture_frame,
    reductions,
)
from probpose.data.images import Picture
from probpose.data.persons import Persons
from probpose.data.surroundings import Seen, Surroundings, room, seen

_CACHE_BYTES = 10**9
_NO_CHANGE = (1.0, 1.0, 1.0)
_REDUCED = (".jpg", ".jpeg")
"""Names of the images that are decoded at less than their size where a crop has no use for more."""
_WIDEST = 100
"""Images that a box may be as wide, or high, as: in a wider one there is nothing to be seen."""


@dataclass
class Batch:
    """N crops with K joints each. N may be 0, when no image of the batch could be read.

    Attributes:
        image: (N, 3, H, W) uint8, RGB; mirrored where `flipped`. Where `uncut` is given, `to` fills it.
        keypoints: (N, K, 2) float32, network coordinates u in the frame before mirroring; 0 where unlabelled.
        labelled: (N, K) bool.
        visibility: (N, K) int64: 0 unlabelled, 1 labelled but occluded, 2 visible.
        flipped: (N,) bool.
        to_image: (N, 2, 3) float64, [A | b] with x_image = A u + b, of the frame before mirroring.
        person: (N,) int64, the row in the table of persons.
        unreadable: one "file: reason" for each sample that is left out.
        uncut: what the crops are to be cut from, on the device that the batch goes to; None where they are cut.
    """

    image: Tensor
    keypoints: Tensor
    labelled: Tensor
    visibility: Tensor
    flipped: Tensor
    to_image: Tensor
    person: Tensor
    unreadable: list[str]
    uncut: Surroundings | None = None

    def __len__(self) -> int:
        return len(self.person)

    @property
    def visible(self) -> Tensor:
        """(N, K) bool, labelled and visible."""
        return self.visibility == 2

    def to(self, device: torch.device | str) -> Batch:
        """The batch on a device that has float64, with its crops cut there where they are not cut yet."""
        moved = self._map(lambda tensor: tensor.to(device, non_blocking=True))
        return moved if moved.uncut is None else replace(moved, image=moved.uncut.cut(), uncut=None)

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory, for a DataLoader that feeds a GPU."""
        return self._map(Tensor.pin_memory)

    def tensors(self) -> list[Tensor]:
        """All tensors of a batch whose crops are cut."""
        return [value for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)]

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("unreadable", "uncut")}
        return Batch(
            **{name: change(tensor) for name, tensor in tensors.items()},
            unreadable=self.unreadable,
            uncut=None if self.uncut is None else self.uncut.map(change),
        )


class CropDataset(Dataset[Batch]):
    """Crops of persons, indexed by a list of rows: `dataset[[3, 1]]` is a Batch.

    A sample's augmentation is drawn from the generator of (seed, epoch, row) alone. When the decoded images are
    estimated to fit in 1 GB they are kept in memory, for all epochs, and with them the smaller ones (at most a third
    more) that JPEGs are decoded at for crops that shrink them by 2, 4 or 8 at least.

    Args:
        persons: the table.
        input_size: height and width of the crops.
        augmentation: None cuts the crops as they are.
        seed: of the augmentation and of the order.
        cache: False never keeps decoded images.
        uncut: leave it to `Batch.to` to cut the crops and vary their colours, all at once where the batch goes.
    """

    def __init__(
        self,
        persons: Persons,
        input_size: tuple[int, int],
        *,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        cache: bool = True,
        uncut: bool = False,
    ) -> None:
        self.persons = persons
        self.input_size = input_size
        self.augmentation = augmentation or Augmentation.none()
        self.seed = seed
        self.epoch = 0
        self.uncut = uncut
        self._lower = lower_body(persons.skeleton.joints)
        self._cache: dict[tuple[str, int], Picture | str] | None = {} if cache and _fits(persons) else None

    def __len__(self) -> int:
        return len(self.persons)

    def at_epoch(self, epoch: int) -> CropDataset:
        """The same dataset, with the same cache, in another epoch."""
        dataset = copy.copy(self)
        dataset.epoch = epoch
        return dataset

    def preload(self) -> None:
        """Fill the cache with what the epoch needs, so that worker processes share it; nothing when it does not fit."""
        if self._cache is not None:
            rows = range(len(self))
            blocks = self._blocks(rows, self._frames(rows, self._jitters(rows))).tolist()
            wanted = dict.fromkeys(zip(self.persons.file_name, blocks, strict=True))
            for _ in self._images(list(wanted)):
                pass

    def __getitem__(self, rows: Sequence[int]) -> Batch:
        jitters = self._jitters(rows)
        frames = self._frames(rows, jitters)
        image, uncut, faults = (self._surroundings if self.uncut else self._crops)(rows, frames, jitters)
        kept = [place for place in range(len(rows)) if place not in faults]
        to_image = frames[kept]
        table = self.persons.select([rows[place] for place in kept])
        points = apply_affine(invert_affine(to_image), table.keypoints)
        return Batch(
            image=image,
            keypoints=torch.from_numpy(np.where(table.labelled[..., None], points, 0.0).astype(np.float32)),
            labelled=torch.from_numpy(table.labelled),
            visibility=torch.from_numpy(table.visibility),
            flipped=torch.tensor([jitters[place].flipped for place in kept], dtype=torch.bool),
            to_image=torch.from_numpy(to_image),
            person=torch.tensor([rows[place] for place in kept], dtype=torch.int64),
            unreadable=[f"{self.persons.path(rows[place])}: {faults[place]}" for place in sorted(faults)],
            uncut=uncut,
        )

    def _jitters(self, rows: Sequence[int]) -> list[Jitter]:
        return [self.augmentation.draw(np.random.default_rng([self.seed, self.epoch, row])) for row in rows]

    def _crops(self, rows: Sequence[int], frames: Array, jitters: list[Jitter]) -> tuple[Tensor, None, dict[int, str]]:
        """The pixels (N, 3, H, W) of those that have some, and the faults of the others (see `_look`)."""
        crops = np.empty((len(rows), 3, *self.input_size), dtype=np.uint8)
        faults = self._look(rows, frames, lambda at, picture: _fill(crops[at], picture, frames[at], jitters[at]))
        kept = [place for place in range(len(rows)) if place not in faults]
        return torch.from_numpy(crops[kept] if faults else crops), None, faults

    def _surroundings(
        self, rows: Sequence[int], frames: Array, jitters: list[Jitter]
    ) -> tuple[Tensor, Surroundings, dict[int, str]]:
        """No pixels yet, what they are to be cut from, and the faults (see `_look`)."""
        found: dict[int, Seen] = {}

        def keep(at: int, picture: Picture) -> None:
            found[at] = seen(picture.pixels, picture_frame(frames[at], picture), self.input_size)

        faults = self._look(rows, frames, keep)
        order = sorted(found)
        parts, drawn = [found[at] for at in order], [jitters[at] for at in order]
        space = room(self.input_size, self.augmentation.rotation)
        uncut = Surroundings.of(parts, drawn, self.input_size, space)
        return torch.empty(len(order), 3, 0, 0, dtype=torch.uint8), uncut, faults

    def _look(self, rows: Sequence[int], frames: Array, use: Callable[[int, Picture], None]) -> dict[int, str]:
        """Use the picture of each sample, and return the fault of each that has none, by its place.

        An image is decoded once for all its persons that need it at the same size, and let go before the next one is.
        """
        faults: dict[int, str] = {}
        places: dict[tuple[str, int], list[int]] = {}
        for place, (row, block) in enumerate(zip(rows, self._blocks(rows, frames).tolist(), strict=True)):
            places.setdefault((self.persons.file_name[row], block), []).append(place)
        images = self._images(list(places))
        for persons in places.values():
            picture = next(images)
            for place in persons:
                fault = picture if isinstance(picture, str) else _beside(self.persons.box[rows[place]], picture.size)
                if isinstance(picture, str) or fault is not None:
                    faults[place] = str(fault)
                else:
                    use(place, picture)
            del picture
        return faults

    def _blocks(self, rows: Sequence[int], frames: Array) -> Index:
        """(N,) what each sample's image is decoded at, by nothing but the sample: the same in any batch."""
        if self.persons.packed is not None:
            return np.ones(len(rows), dtype=np.int64)
        jpeg = [self.persons.file_name[row].lower().endswith(_REDUCED) for row in rows]
        return np.where(jpeg, reductions(frames, self.input_size), 1)

    def _images(self, wanted: Sequence[tuple[str, int]]) -> Iterator[Picture | str]:
        """Those of names and blocks, each once, in their order; from the cache where there is one."""
        if self._cache is None:
            yield from self.persons.reduced_pictures(wanted)
            return
        new = [key for key in wanted if key not in self._cache]
        read = self.persons.reduced_pictures(new)
        for key in wanted:
            if key not in self._cache:
                self._cache[key] = next(read)
            yield self._cache[key]

    def _frames(self, rows: Sequence[int], jitters: list[Jitter]) -> Array:
        """(N, 2, 3) maps from u to image pixels."""
        box = self.persons.box[list(rows)].reshape(-1, 4)
        for i, (row, jitter) in enumerate(zip(rows, jitters, strict=True)):
            if jitter.half is not None and self._lower is not None:
                half = self._lower if jitter.half == "lower" else ~self._lower
                found = half_body_box(self.persons.keypoints[row], self.persons.labelled[row] & half)
                box[i] = box[i] if found is None else found
        crop = crop_from_box(box, self.input_size)
        return move(crop, jitters).to_image


def loader(
    dataset: CropDataset,
    batch_size: int,
    *,
    shuffle: bool = False,
    epoch: int = 0,
    workers: int = 0,
    drop_last: bool = False,
    pin_memory: bool = False,
    part: tuple[int, int] = (0, 1),
) -> DataLoader[Batch]:
    """Batches of one epoch of a dataset; build the dataset once and a loader every epoch, and the cache lasts.

    The order of a shuffled epoch depends on the dataset's seed and the epoch alone. There are no more workers than the
    process has cores, which torch warns of and nothing gains from. With `part` r, R each batch holds every R-th of its
    rows from the r-th on, for one of R processes that share it.
    """
    workers = min(workers, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if workers:
        dataset.at_epoch(epoch).preload()
    order = torch.Generator().manual_seed(int(np.random.SeedSequence([dataset.seed, epoch]).generate_state(1)[0]))
    rows = RandomSampler(dataset, generator=order) if shuffle else SequentialSampler(dataset)
    return DataLoader(
        dataset.at_epoch(epoch),
        sampler=_Part(BatchSampler(rows, batch_size, drop_last), *part),
        batch_size=None,
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
        generator=torch.Generator().manual_seed(0),
    )


class _Part(Sampler[list[int]]):
    """One process's part of each batch of rows."""

    def __init__(self, batches: BatchSampler, rank: int, size: int) -> None:
        self.batches, self.rank, self.size = batches, rank, size

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return (batch[self.rank :: self.size] for batch in self.batches)


def make_loader(
    persons: Persons,
    input_size: tuple[int, int],
    batch_size: int,
    *,
    augmentation: Augmentation | None = None,
    shuffle: bool = False,
    seed: int = 0,
    epoch: int = 0,
    workers: int = 0,
    cache: bool = True,
) -> DataLoader[Batch]:
    """Batches of one pass over the persons: a `CropDataset` and its `loader` in one."""
    dataset = CropDataset(persons, input_size, augmentation=augmentation, seed=seed, cache=cache)
    return loader(dataset, batch_size, shuffle=shuffle, epoch=epoch, workers=workers)


def readable(persons: Persons) -> Persons:
    """Those who can be predicted: of an image that can be read and that their box meets."""
    batches = make_loader(persons, (16, 16), 64, cache=False)
    return persons.select([row for batch in batches for row in batch.person.tolist()])


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)


def _fits(persons: Persons) -> bool:
    """Whether the decoded images are expected to fit in the cache, judged by a few of them."""
    names = sorted(set(persons.file_name))
    sizes: list[int] = []
    for name in names[:: max(1, len(names) // 8)]:  # one at a time
        picture = persons.reduced_picture(name, 1)
        sizes += [] if isinstance(picture, str) else [picture.pixels.nbytes]
        del picture
        if sum(sizes) >= _CACHE_BYTES:
            return False
    return bool(sizes) and float(np.mean(sizes)) * len(names) < _CACHE_BYTES


def _beside(box: Array, image: tuple[int, int]) -> str | None:
    """What is wrong with a box that an image of that width and height cannot have; None where it can."""
    width, height = image
    x, y, w, h = box.tolist()
    meets = x < width and y < height and x + w > 0 and y + h > 0
    if meets and max(w / width, h / height) <= _WIDEST:
        return None
    fault = f"is more than {_WIDEST} images wide" if meets else "does not meet the image"
    return f"box {[round(number, 1) for number in box.tolist()]} in {width} x {height} pixels {fault}"


def _fill(pixels: npt.NDArray[np.uint8], picture: Picture, to_image: Array, jitter: Jitter) -> None:
    """Put one crop into its place (3, H, W) of a batch."""
    crop = cut(picture.pixels, picture_frame(to_image, picture), (pixels.shape[1], pixels.shape[2]))
    crop = crop if jitter.colour == _NO_CHANGE else jitter_colour(crop, jitter.colour)
    cv2.split(cv2.flip(crop, 1) if jitter.flipped else crop, list(pixels))
